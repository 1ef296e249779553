"""Soundscapes a second, by recipe, kind of sounds and number of workers.

    python benchmarks/synth_speed.py                # 300 clips of each case (or 3,000), best of 3
    python benchmarks/synth_speed.py --all 10000    # besides, 10,000 clips from a soundbank once

The soundbank is a folder of recordings made here from the synthesised sounds (12 of each of ten
classes, 12 backgrounds of 15 s). Cases are measured in alternating turns; a turn includes starting
the processes. Results: benchmarks/results/synth_speed.json.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

RESULTS = Path(__file__).resolve().parent / "results/synth_speed.json"
CASES = {  # sounds, recipe → clips as a multiple of --clips: fast ones need more to be timed
    ("synthesised", "mini"): 1,
    ("soundbank", "mini"): 10,
    ("soundbank", "scaper"): 1,
}


def write_soundbank(folder: Path) -> Path:
    """Isolated recordings of every class, and backgrounds."""
    from earmark.core.audio.audio import write_audio
    from earmark.synth.sources import SynthesisedSources

    sources, rng = SynthesisedSources(), np.random.default_rng(0)
    for label in sources.labels:
        for number in range(12):
            write_audio(folder / label / f"r{number}.flac", sources.event(label, "test", rng))
    for number in range(12):
        samples = sources.background("test", 15 * 16_000, rng)
        write_audio(folder / "background" / f"r{number}.flac", samples)
    return folder


def measure(kind: str, recipe: str, bank: Path, clips: int, workers: int) -> float:
    """Seconds for so many strongly labelled clips."""
    from earmark.core.config import apply_overrides, parse_settings
    from earmark.synth.settings import SUBSETS, SynthSettings, load_synth_mapping
    from earmark.synth.soundbank import Soundbank
    from earmark.synth.soundscapes import write_dataset
    from earmark.synth.sources import SynthesisedSources

    none = [f"{subset}.clips=0" for subset in SUBSETS[1:]]
    content = apply_overrides(load_synth_mapping(recipe), [f"strong.clips={clips}", *none])
    settings = parse_settings(SynthSettings, content)
    own = settings.soundbank
    supplier: Any = SynthesisedSources()
    if kind == "soundbank":
        supplier = Soundbank(bank, needed={"synthetic"}, events=own.events, lengthen=own.background)
    out = Path(tempfile.mkdtemp(dir=bank.parent))
    began = time.perf_counter()
    write_dataset(out, supplier, settings, 0, workers=workers)
    seconds = time.perf_counter() - began
    shutil.rmtree(out)
    return seconds


def main() -> None:
    """Measure every case and write the results."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--clips", type=int, default=300)
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--all", type=int, default=0, metavar="N", help="clips of one long run")
    options = parser.parse_args()
    cases = [(*case, workers) for case in CASES for workers in options.workers]
    best = dict.fromkeys(cases, float("inf"))
    with tempfile.TemporaryDirectory() as folder:
        bank = write_soundbank(Path(folder) / "bank")
        for _ in range(options.turns):
            for case in cases:
                clips = options.clips * CASES[case[:2]]
                best[case] = min(best[case], measure(*case[:2], bank, clips, case[2]))
        rows = [
            {
                "sounds": kind,
                "recipe": recipe,
                "workers": workers,
                "clips_per_second": round(options.clips * CASES[kind, recipe] / seconds, 1),
            }
            for (kind, recipe, workers), seconds in best.items()
        ]
        long_run = None
        if options.all:
            seconds = measure("soundbank", "scaper", bank, options.all, max(options.workers))
            long_run = {
                "clips": options.all,
                "workers": max(options.workers),
                "seconds": round(seconds),
            }
    for row in (*rows, long_run):
        print(row)
    result = {
        "command": f"python benchmarks/synth_speed.py --clips {options.clips} --all {options.all}",
        "cores": os.cpu_count(),
        "turns": options.turns,
        "rows": rows,
        "long_run": long_run,
    }
    RESULTS.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
