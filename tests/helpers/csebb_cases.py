"""Seeded score tables for boxes; NumPy alone, so that the oracle can make them too."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

SEEDS = range(240)


@dataclass(frozen=True)
class BoxCase:
    """One table and the settings its boxes are found with.

    Args:
        boundaries: Edges of the frames in seconds ``[T + 1]``.
        values: Scores ``[T, C]`` between 0 and 1, no two alike.
        labels: The C classes.
        step: Length of the step filter in seconds.
        absolute: Merge threshold A.
        relative: Merge threshold R.
    """

    boundaries: np.ndarray
    values: np.ndarray
    labels: tuple[str, ...]
    step: float
    absolute: float
    relative: float


def make_case(seed: int) -> BoxCase:
    """A random table: noise of some smoothness with some louder stretches."""
    rng = np.random.default_rng(seed)
    frames = int(rng.choice([1, 2, 5, 12, 30, 60]))
    classes = int(rng.integers(1, 4))
    noise = rng.normal(0, 1, (frames, classes))
    for _ in range(int(rng.integers(0, 4))):
        noise = (noise + np.roll(noise, 1, axis=0)) / 1.4
    for column in range(classes):
        for _ in range(int(rng.integers(0, 4))):
            first = int(rng.integers(0, frames))
            noise[first : first + int(rng.integers(1, 15)), column] += rng.uniform(1, 6)
    values = 1 / (1 + np.exp(2 - noise * rng.uniform(0.3, 2.0)))
    # A frame longer than the step is level ground, on which float noise decides: none is.
    uneven = rng.random() < 0.5
    if uneven:  # of four decimals; the others are of 64 ms
        edges = np.append(0.0, np.cumsum(rng.integers(100, 4000, frames))) / 10_000
    else:
        edges = np.round(np.arange(frames + 1) * 0.064, 6)
    merge = int(rng.integers(0, 4))
    return BoxCase(
        boundaries=edges,
        values=values,
        labels=tuple("abc"[:classes]),
        step=round(float(rng.uniform(0.45 if uneven else 0.1, 1.2)), 3),
        absolute=math.inf if merge == 1 else round(float(rng.uniform(0.05, 0.6)), 3),
        relative=math.inf if merge == 0 else round(float(rng.uniform(1.1, 5.0)), 3),
    )
