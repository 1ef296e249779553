"""What it is worth on a CPU that training keeps the memory it frees.

    python benchmarks/kept_memory.py            # some six minutes on one core

Trains a recipe for some steps on synthesised soundscapes, each time in a process of its own, in
alternating turns with and without `earmark.core.memory.keep_freed_memory`. Reports the best
seconds of a step of each and the processes' peak resident memory. Writes
benchmarks/results/kept_memory.json.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).resolve().parents[1] / "benchmarks/results/kept_memory.json"
RECIPES = ("mini", "atst-sed-tiny-stage2")
CLIPS = {"strong": 24, "weak": 24, "unlabelled": 48, "validation": 0, "test": 0}


def make_data(folder: Path) -> None:
    """A small dataset."""
    from earmark.synth.settings import load_synth_settings
    from earmark.synth.soundscapes import write_dataset
    from earmark.synth.sources import SynthesisedSources

    settings = load_synth_settings("mini")
    changes = {
        name: settings.subset(name).model_copy(update={"clips": clips})
        for name, clips in CLIPS.items()
    }
    write_dataset(folder, SynthesisedSources(), settings.model_copy(update=changes), 0, workers=1)


def one_turn(recipe: str, keep: bool, data: Path, steps: int) -> None:
    """Two epochs in this process; the second one's seconds and the peak memory, printed."""
    from earmark.data.manifest import load_manifest
    from earmark.train import distributed
    from earmark.train.engine import train
    from earmark.train.recipe import load_recipe
    from earmark.train.record.journal import run_record

    if not keep:
        distributed.keep_freed_memory = lambda: False  # type: ignore[attr-defined]
    changes = ["train.epochs=2", f"train.steps_per_epoch={steps}", "train.select=last"]
    with tempfile.TemporaryDirectory() as out:
        train(load_recipe(recipe, changes), load_manifest(data), out)
        seconds = run_record(out)[-1]["seconds"] / steps
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps({"seconds": seconds, "peak_mib": peak}))


def main() -> None:
    """Alternating turns of every recipe."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=15)
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--one", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        recipe, keep, data = options.one
        one_turn(recipe, keep == "keep", Path(data), options.steps)
        return
    rows: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as data:
        make_data(Path(data))
        for recipe in RECIPES:
            turns: dict[str, list[dict[str, float]]] = {"keep": [], "leave": []}
            for _ in range(options.turns):
                for how, done in turns.items():
                    command = [sys.executable, __file__, "--steps", str(options.steps)]
                    command += ["--one", recipe, how, data]
                    environment = os.environ | {"OMP_NUM_THREADS": "1"}
                    result = subprocess.run(
                        command, capture_output=True, text=True, check=True, env=environment
                    )
                    done.append(json.loads(result.stdout.splitlines()[-1]))
            best = {how: min(turn["seconds"] for turn in done) for how, done in turns.items()}
            rows[recipe] = {
                "seconds_a_step": {how: round(value, 4) for how, value in best.items()},
                "times_faster": round(best["leave"] / best["keep"], 3),
                "peak_mib": {
                    how: round(max(turn["peak_mib"] for turn in done))
                    for how, done in turns.items()
                },
            }
            print(recipe, rows[recipe], flush=True)
    command_line = f"python benchmarks/kept_memory.py --steps {options.steps}"
    result = {"command": command_line, "threads": 1, "turns": options.turns, "recipes": rows}
    RESULTS.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
