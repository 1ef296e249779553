"""Recordings with label files, imported without the command line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import soundfile

from earmark.core.config import parse_settings
from earmark.prepare.importing.annotations import Reading
from earmark.prepare.importing.class_map import load_class_map
from earmark.prepare.importing.importer import Import, read_import
from earmark.prepare.importing.settings import ImportSettings
from earmark.prepare.importing.writing import write_import

RATE = 16_000
ONE = {"train": 1, "validation": 0, "test": 0}  # a single recording cannot be divided
Events = list[tuple[float, float, str]]


def record(path: Path, seconds: float, rate: int = RATE, seed: int = 0) -> Path:
    """A recording of noise."""
    path.parent.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(seed).uniform(-0.3, 0.3, round(seconds * rate))
    soundfile.write(path, noise, rate)
    return path


def track(path: Path, events: Events, **how: Any) -> Path:
    """A label track of Audacity."""
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = (f"{onset:.6f}\t{offset:.6f}\t{label}\n" for onset, offset, label in events)
    path.write_text("".join(lines), **{"encoding": "utf-8", **how})
    return path


def read(
    labels: Path | list[Path],
    *audio: Path,
    reading: Reading | None = None,
    renames: tuple[str, ...] = (),
    drops: tuple[str, ...] = (),
    files: dict[str, Any] | None = None,
    **changes: Any,
) -> Import:
    """What an import of these files would do, with ``changes`` to its settings."""
    return read_import(
        labels if isinstance(labels, list) else [labels],
        list(audio),
        reading or Reading(),
        load_class_map(None, renames, drops),
        parse_settings(ImportSettings, changes),
        **(files or {}),
    )


def make(out: Path, job: Import, **how: Any) -> Path:
    """Do it."""
    write_import(out, job, **how)
    return out


def events_back(job: Import) -> dict[str, Events]:
    """Events of all clips in seconds of their recordings, pieces that touch joined again."""
    found: dict[str, Events] = {}
    for index, clips in job.plan.clips.items():
        one = job.prepared[index]
        pieces = sorted(
            (clip.span[0] / one.rate + onset, clip.span[0] / one.rate + offset, label)
            for clip in clips
            for onset, offset, label, _ in clip.events
        )
        joined: Events = []
        for onset, offset, label in pieces:
            touching = [e for e in joined if e[2] == label and abs(e[1] - onset) < 1e-6]
            if touching and any(abs(clip.span[0] / one.rate - onset) < 1e-6 for clip in clips):
                joined.remove(touching[0])
                onset = touching[0][0]
            joined.append((onset, offset, label))
        found[one.recording.key] = sorted(joined)
    return found


def bank_of(tmp_path: Path, count: int = 8, seconds: float = 25, rate: int = RATE) -> Path:
    """Recordings of noise, each with a label track beside it."""
    folder = tmp_path / "in"
    for number in range(count):
        record(folder / f"rec{number}.wav", seconds, rate, seed=number)
        track(folder / f"rec{number}.txt", [(1 + number, 2 + number, "Dog"), (9, 11, "Cat")])
    return folder
