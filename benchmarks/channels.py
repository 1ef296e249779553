"""Which channels to detect in: the mean, the louder one, or the average of the channels' scores.

    python benchmarks/channels.py                  # a few minutes
    python benchmarks/channels.py --clips 100 --bundle home --recipe home

Soundscapes of `earmark synth` are made stereo: two alike, with noise of their own, the second
delayed, turned over (so that they cancel), dead, or farther away. What `--channels auto` does is
measured as it is. Results: benchmarks/results/channels.json.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from earmark import Detector
from earmark.core.audio.audio import load_audio
from earmark.core.tables.scores import ScoreTable
from earmark.score.files import read_truth
from earmark.score.psds import PSDS1, PSDS2, psds

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks/results/channels.json"
MAIN = "import sys; from earmark.cli import main; main()"
RATE = 16_000


def stereo(name: str, mono: NDArray[np.float32], rng: np.random.Generator) -> NDArray[np.float32]:
    """Both channels [S, 2] of a clip."""
    noise = rng.normal(size=(len(mono), 2)) * 10 ** (-60 / 20)
    left, right = mono.astype(np.float64), mono.astype(np.float64)
    if name == "alike, noisy":
        noise *= 10 ** (25 / 20)  # -35 dB, in each channel another
    elif name.startswith("delayed"):
        late = round(float(name.split()[1]) * RATE / 1000)
        right = np.concatenate([np.zeros(late), mono[: len(mono) - late]])
    elif name == "cancelled":
        right = -mono
    elif name == "dead":
        right = np.zeros(len(mono))
    elif name == "far away":
        right = mono * 10 ** (-20 / 20)
        noise[:, 1] *= 10 ** (20 / 20)
    samples: NDArray[np.float32] = (np.stack([left, right], axis=1) + noise).astype(np.float32)
    return samples


KINDS = (
    *("alike", "alike, noisy", "delayed 1 ms", "delayed 5 ms", "delayed 20 ms"),
    *("cancelled", "dead", "far away"),
)


def ways(detector: Detector, samples: NDArray[np.float32]) -> dict[str, ScoreTable]:
    """The scores of a clip by each way to use its channels."""
    first, second = (detector.score((samples, RATE), channel=n) for n in (1, 2))
    level = np.square(samples, dtype=np.float64).sum(0)
    both = ScoreTable(first.boundaries, (first.values + second.values) / 2, first.labels)
    return {
        "mean": detector.score((samples, RATE)),
        "loudest": first if level[0] >= level[1] else second,
        "averaged scores": both,
    }


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bundle", default="mini")
    parser.add_argument("--recipe", default="mini")
    parser.add_argument("--clips", type=int, default=40)
    parser.add_argument("--out", type=Path, default=RESULTS)
    options = parser.parse_args()
    detector = Detector.from_pretrained(options.bundle, threads=1)
    auto = Detector.from_pretrained(options.bundle, threads=1, channels="auto")
    with tempfile.TemporaryDirectory() as folder:
        none = ",".join(f"{name}=0" for name in ("strong", "weak", "unlabelled", "validation"))
        arguments = ["synth", folder, "--recipe", options.recipe, "--seed", "77"]
        arguments += ["--clips", f"{none},test={options.clips}"]
        subprocess.run([sys.executable, "-c", MAIN, *arguments], check=True)
        truth = read_truth(Path(folder) / "metadata/eval/public.tsv").events
        paths = {path.stem: path for path in sorted(Path(folder).rglob("audio/eval/**/*.wav"))}
        clips = {name: load_audio(path) for name, path in paths.items()}
    lengths = {name: len(samples) / RATE for name, samples in clips.items()}
    found: dict[str, Mapping[str, float]] = {}
    for kind in KINDS:
        scores: dict[str, dict[str, ScoreTable]] = {}
        for number, (name, mono) in enumerate(clips.items()):
            samples = stereo(kind, mono, np.random.default_rng(number))
            tables = ways(detector, samples) | {"auto": auto.score((samples, RATE))}
            for way, scored in tables.items():
                scores.setdefault(way, {})[name] = scored
        found[kind] = {
            f"{way}, PSDS{n}": round(float(psds(tables, truth, lengths, parameters).value), 3)
            for way, tables in scores.items()
            for n, parameters in ((1, PSDS1), (2, PSDS2))
        }
        print(kind, found[kind], flush=True)
    settings = {"bundle": options.bundle, "recipe": options.recipe, "clips": options.clips}
    options.out.write_text(json.dumps({"settings": settings, "psds": found}, indent=1) + "\n")


if __name__ == "__main__":
    main()
