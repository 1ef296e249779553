"""Try as many spoiled files as there is time for; what a parser does not stand becomes a test.

Run ``PYTHONPATH=tests nice -n 19 python tests/fuzz/run.py --cases 200000 --log fuzz.jsonl``; it
goes on where it stopped. A case that fails is kept in ``tests/fuzz/corpus``, where the tests find
it.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
import tempfile
import time
from pathlib import Path

import torch

from fuzz.targets import TARGETS
from fuzz.trial import CORPUS, bounded_memory, fault_of, lay_out, quiet, spoiled_file

FIRST = 1_000_000
"""Seeds of the tests lie below."""


def main() -> int:
    """Tries cases target by target, round after round."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cases", type=int, default=200_000)
    parser.add_argument("--seconds", type=float, default=float("inf"))
    parser.add_argument("--log", type=Path, required=True)
    parser.add_argument("--target", action="append", choices=TARGETS)
    options = parser.parse_args()
    torch.set_num_threads(1)
    done = _done(options.log)
    began, total, faults = time.monotonic(), sum(done.values()), 0
    names = options.target or list(TARGETS)
    with quiet(), tempfile.TemporaryDirectory() as root, options.log.open("a") as log:
        for name in names:
            lay_out(TARGETS[name], Path(root) / name)
            (Path(root) / name).mkdir(exist_ok=True)
        with bounded_memory():
            while total < options.cases and time.monotonic() - began < options.seconds:
                for name in names:
                    count = max(1, round(40 * TARGETS[name].weight))
                    for seed in range(done.get(name, 0), done.get(name, 0) + count):
                        faults += _try(name, FIRST + seed, Path(root) / name)
                    done[name] = done.get(name, 0) + count
                    total += count
                log.write(json.dumps({"done": done, "total": total, "faults": faults}) + "\n")
                log.flush()
    sys.stdout.write(f"{total} cases, {faults} faults in this run\n")
    return int(faults > 0)


def _done(log: Path) -> dict[str, int]:
    lines = log.read_text().splitlines() if log.exists() else []
    return dict(json.loads(lines[-1])["done"]) if lines else {}


def _try(target: str, seed: int, folder: Path) -> int:
    name, data = spoiled_file(target, seed)
    fault = fault_of(target, name, data, folder)
    if fault is None:
        return 0
    sys.stderr.write(f"{target} {seed} {name}: {fault[:300]}\n")
    kept = CORPUS / target / f"{hashlib.sha256(data).hexdigest()[:8]}-{name}"
    kept.parent.mkdir(parents=True, exist_ok=True)
    kept.write_bytes(data)
    return 1


if __name__ == "__main__":
    raise SystemExit(main())
