"""Small datasets on disk, with constant recordings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import soundfile


def clip(path: Path, value: float = 0.1, samples: int = 800, rate: int = 16_000) -> None:
    """A constant recording; equal values make equal files."""
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, np.full(samples, value), rate)


def table(path: Path, header: str, *rows: str) -> None:
    """A tab-separated file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join([header, *rows]) + "\n", encoding="utf-8")


def strong(path: Path, clips: Mapping[str, Sequence[tuple[float, float, str]]]) -> None:
    """Strong labels; a clip without events has a row of empty fields."""
    rows = []
    for name, events in clips.items():
        rows += [f"{name}\t{on}\t{off}\t{label}" for on, off, label in events] or [f"{name}\t\t\t"]
    table(path, "filename\tonset\toffset\tevent_label", *rows)


def weak(path: Path, clips: Mapping[str, str]) -> None:
    """Weak labels."""
    table(path, "filename\tevent_labels", *(f"{name}\t{own}" for name, own in clips.items()))
