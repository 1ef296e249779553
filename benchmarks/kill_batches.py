"""A batch of 200 recordings, killed with SIGKILL at random moments, ten times, then finished.

    python benchmarks/kill_batches.py                 # some minutes
    python benchmarks/kill_batches.py --workers 1 --kills 3 --recordings 40

Whatever the last run leaves (events in four formats, score tables, tables of the run, the journal)
is compared byte by byte with what a run leaves that nothing disturbed, in one process.
Results: benchmarks/results/kill_batches.json.
"""

from __future__ import annotations

import argparse
import json
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import soundfile

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks/results/kill_batches.json"
MAIN = "import sys; from earmark.cli import main; main()"


def write_recordings(folder: Path, count: int) -> None:
    """Bursts of noise of 2 to 40 seconds."""
    folder.mkdir()
    for number in range(count):
        rng = np.random.default_rng(number)
        seconds = int(rng.integers(2, 41))
        level = np.repeat(rng.random(seconds * 2) ** 3, 8000)
        audio = (0.3 * rng.normal(size=len(level)) * level).clip(-1, 1)
        soundfile.write(folder / f"{number:03d}.wav", audio, 16_000)


def command(source: Path, out: Path, workers: int) -> list[str]:
    """What is killed."""
    options = ["--format", "tsv,json,raven,elan", "--scores", "npz", "--threshold", "0.1"]
    arguments = ["detect", "mini", str(source), "--out", str(out), "--workers", str(workers)]
    return [sys.executable, "-c", MAIN, *arguments, *options]


def lines(journal: Path) -> int:
    """Recordings entered in a journal."""
    return journal.read_bytes().count(b"\n") if journal.is_file() else 0


def kill_one(arguments: list[str], journal: Path, more: int, later: float) -> bool:
    """Kill a run when so many more recordings are done; False if it ended before."""
    target = lines(journal) + more
    process = subprocess.Popen(arguments, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while process.poll() is None:
        if lines(journal) >= target:
            time.sleep(later)
            process.kill()
            process.wait()
            return process.returncode < 0
        time.sleep(0.001)
    return False


def content(folder: Path) -> dict[str, bytes]:
    """Every file of a folder."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


def main() -> None:
    """Kill, finish, compare and write the result."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--recordings", type=int, default=200)
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    rng = random.Random(options.seed)
    done: list[int] = []
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        write_recordings(folder / "in", options.recordings)
        out, whole = folder / "out", folder / "whole"
        arguments = command(folder / "in", out, options.workers)
        most = 2 * options.recordings // (options.kills + 2) - 1
        while len(done) < options.kills:
            more = rng.randrange(0, max(1, most))
            if not kill_one(arguments, out / "detect.jsonl", more, rng.random() * 0.2):
                break
            done.append(lines(out / "detect.jsonl"))
            print(f"killed, {done[-1]} of {options.recordings} recordings done", flush=True)
        subprocess.run(arguments, check=True)
        subprocess.run(command(folder / "in", whole, 1), check=True)
        same = content(out) == content(whole)
        files = len(content(whole))
    result = {
        "command": "python benchmarks/kill_batches.py " + " ".join(sys.argv[1:]),
        "recordings": options.recordings,
        "workers": options.workers,
        "kills": len(done),
        "done_at_each_kill": done,
        "files_compared": files,
        "identical": same,
    }
    print(json.dumps(result))
    RESULTS.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    if not same or len(done) < options.kills:
        sys.exit(1)


if __name__ == "__main__":
    main()
