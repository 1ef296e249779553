"""Batches with a scorer of a few lines of NumPy; as a script, one that tests may kill.

python loud_batch.py IN OUT WORKERS
"""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

from earmark.core.spec import ModelSpec
from earmark.deliver.batch import DetectorSettings, Job, run_batch
from earmark.deliver.outputs import Outputs
from earmark.detect.detector import Detector

RATE = 16_000


class Loudness:
    """Says of every tenth of a second how loud it is."""

    spec = ModelSpec(("loud", "quiet"), frame_hop=1600, window=2 * RATE)

    def __init__(self, settings: LoudSettings) -> None:
        self.settings = settings

    def score_windows(self, waveforms: Any, lengths: Sequence[int]) -> Any:
        level = np.abs(waveforms).reshape(len(waveforms), 20, 1600).max(-1, keepdims=True)
        if self.settings.bundle == "deadly" and level.max() > 0.99:
            os.kill(os.getpid(), signal.SIGKILL)
        if self.settings.bundle == "odd" and level.max() > 0.99:
            raise ZeroDivisionError("no number")
        time.sleep(self.settings.seconds)
        return np.concatenate([level, 1 - level], axis=-1)


@dataclass(frozen=True)
class LoudSettings(DetectorSettings):
    """Settings of `Loudness`."""

    seconds: float = 0.0  # each call takes
    threshold: float = 0.5

    def load(self, threads: int | None = None) -> Detector:
        channels = "mean" if self.channels == "each" else self.channels
        return Detector(
            Loudness(self),
            {"threshold": self.threshold},
            threads=threads,
            channels=channels,
            fingerprint="loud",
            **self.options,
        )


def write_sound(path: Path, seed: int = 0, seconds: float = 2.0, peak: float = 0.9) -> Path:
    """A few bursts of noise, others for each seed."""
    rng = np.random.default_rng(seed)
    level = np.repeat(rng.random(int(seconds * 5) + 1), RATE // 5)[: int(seconds * RATE)]
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, (rng.uniform(-1, 1, len(level)) * level * peak).clip(-1, 1), RATE)
    return path


def make_job(out: Path, threads: int = 1, **options: Any) -> Job:
    formats = options.pop("formats", "tsv,json,audacity")
    scores, labels = options.pop("scores", ""), options.pop("scored_labels", False)
    settings = LoudSettings(options.pop("bundle", "loud"), **options)
    outputs = Outputs.named(out, formats, scores, scored_labels=labels)
    return Job(settings, outputs, settings.key(settings.load(1)), threads)


if __name__ == "__main__":
    source, out, workers = sys.argv[1:]
    run_batch(
        sorted(Path(source).iterdir()),
        make_job(Path(out), seconds=0.01, scores="npz"),
        workers=int(workers),
    )
