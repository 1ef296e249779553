"""Time and memory of the doctor on many small files: with content, headers alone, and from memory.

    python benchmarks/doctor_speed.py --out benchmarks/results/doctor_speed.json

makes 3,000 and 30,000 clips of a second in a temporary folder (1 GB) and examines each set three
times in processes of their own; some minutes on two cores.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import soundfile

RUN = """
import json, resource, sys, time
from pathlib import Path
from earmark.prepare.doctor.examine import examine
if __name__ == "__main__":
    data, cache, content, workers = sys.argv[1:]
    began = time.monotonic()
    found = examine(data, content=content == "1", workers=int(workers), cache=Path(cache))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    children = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
    print(json.dumps({
        "seconds": round(time.monotonic() - began, 2),
        "looked_at": found.inspected,
        "peak_mib": round(peak, 1),
        "largest_process_mib": round(children, 1),
        "errors": sum(one.severity == "error" for one in found.findings),
    }))
"""


def make(root: Path, clips: int, seconds: float) -> None:
    """Half of the clips unlabelled, half strongly labelled; one in a thousand breaks off."""
    rng = np.random.default_rng(0)
    rows = ["filename\tonset\toffset\tevent_label"]
    for number in range(clips):
        folder = "unlabel_in_domain" if number % 2 else "strong_label_real"
        path = root / "audio/train" / folder / f"{number:06d}.wav"
        path.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(path, 0.1 * rng.standard_normal(int(16_000 * seconds)), 16_000)
        if number % 2 == 0:
            rows += [f"{path.name}\t{at}\t{at + 0.2}\tDog" for at in (0.0, 0.3, 0.6)]
        if number % 1000 == 1:
            path.write_bytes(path.read_bytes()[:5000])
    table = root / "metadata/train/audioset_strong.tsv"
    table.parent.mkdir(parents=True)
    table.write_text("\n".join(rows) + "\n", encoding="utf-8")


def measure(folder: Path, clips: int, workers: int, seconds: float) -> dict[str, object]:
    """Three examinations of so many clips, each in a process of its own."""
    root, script = folder / f"clips{clips}", folder / "run.py"
    script.write_text(RUN, encoding="utf-8")
    make(root, clips, seconds)
    result: dict[str, object] = {"clips": clips}
    for name, cache, content in (
        ("headers", "headers", "0"),
        ("content", "content", "1"),
        ("again", "content", "1"),
    ):
        command = [sys.executable, str(script), str(root), str(folder / f"{cache}{clips}.sqlite")]
        done = subprocess.run(
            [*command, content, str(workers)], capture_output=True, text=True, check=True
        )
        result[name] = json.loads(done.stdout)
        print(clips, name, result[name], flush=True)
    return result


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clips", type=int, nargs="+", default=[3_000, 30_000])
    parser.add_argument("--seconds", type=float, default=1.0)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        sizes = [
            measure(Path(folder), clips, options.workers, options.seconds)
            for clips in options.clips
        ]
    small, large = sizes[0], sizes[-1]
    more = large["clips"] - small["clips"]  # type: ignore[operator]
    grown = large["content"]["peak_mib"] - small["content"]["peak_mib"]  # type: ignore[index]
    summary = {
        "command": "python benchmarks/doctor_speed.py --out benchmarks/results/doctor_speed.json",
        "seconds_a_clip": options.seconds,
        "workers": options.workers,
        "date": time.strftime("%Y-%m-%d"),
        "kib_a_clip": round(1024 * grown / more, 2) if more else None,
        "sizes": sizes,
    }
    text = json.dumps(summary, indent=1) + "\n"
    print(text)
    if options.out:
        options.out.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
