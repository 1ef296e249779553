"""How long commands take before they do anything: the help's first page, and a clip's first events.

    python benchmarks/start_time.py [--repeats 5] [--bundle home]

Commands that are compared take turns. Of each, the least seconds of the processor (its own and
the system's work for it) and of the clock are printed; on a machine with other work the former say
more, and the ratios are theirs. `earmark --help` is held against an import of Typer and Rich, the
events of five seconds on ONNX Runtime against those on PyTorch.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from earmark.core.audio.audio import write_audio
from earmark.synth.scene import make_soundscape
from earmark.synth.settings import load_synth_settings
from earmark.synth.sources import SynthesisedSources

RATE = 16_000


def seconds(command: list[str]) -> tuple[float, float]:
    """Of the processor and of the clock."""
    before, began = os.times(), time.perf_counter()
    subprocess.run(command, check=True, capture_output=True)
    clock, after = time.perf_counter() - began, os.times()
    used = after.children_user + after.children_system
    return used - before.children_user - before.children_system, clock


def compare(commands: dict[str, list[str]], repeats: int) -> None:
    """Prints the least seconds of each, and its ratio to the last."""
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in commands}
    for _ in range(repeats):
        for name, command in commands.items():
            found[name].append(seconds(command))
    least = {
        name: [min(column) for column in zip(*own, strict=True)] for name, own in found.items()
    }
    base = [*least.values()][-1][0]
    for name, (used, clock) in least.items():
        print(f"{name:28} {used:6.2f} s of the processor, {clock:6.2f} s, ratio {used / base:.2f}")


def main() -> None:
    """Both comparisons."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--bundle", default="home")
    options = parser.parse_args()
    earmark = [sys.executable, "-m", "earmark"]
    compare(
        {
            "earmark --help": [*earmark, "--help"],
            "import typer, rich": [sys.executable, "-c", "import typer, rich"],
        },
        options.repeats,
    )
    rng, settings = np.random.default_rng(3), load_synth_settings("demo")
    scene = make_soundscape(SynthesisedSources(), "test", settings, rng, subset="test")
    with tempfile.TemporaryDirectory() as folder:
        clip = Path(folder) / "five.wav"
        write_audio(clip, scene.audio[: 5 * RATE], RATE)
        detect = [*earmark, "detect", options.bundle, str(clip), "--no-plot", "--fresh"]
        out = ["--out", folder]
        compare(
            {f"events on {name}": [*detect, *out, "--runtime", name] for name in ("onnx", "torch")},
            options.repeats,
        )


if __name__ == "__main__":
    main()
