"""Seeded random cases, made alike for the tests and for the reference libraries.

Only NumPy is imported, because the environment of the reference libraries has no Earmark.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

Event = tuple[float, float, str]
SEEDS = tuple(range(24))


@dataclass
class Case:
    """One evaluation: scores [T, C] and frame edges [T + 1] by clip, truth, and settings."""

    seed: int
    labels: tuple[str, ...]
    boundaries: dict[str, np.ndarray] = field(default_factory=dict)
    values: dict[str, np.ndarray] = field(default_factory=dict)
    truth: dict[str, list[Event]] = field(default_factory=dict)
    durations: dict[str, float] = field(default_factory=dict)
    parameters: list[dict[str, Any]] = field(default_factory=list)
    threshold: float = 0.5
    operating_points: tuple[float, ...] = ()


def make_case(seed: int) -> Case:
    """A case from its seed: sizes, frame lengths, ties and parameters all vary with it."""
    rng = np.random.default_rng([20_000, seed])
    classes = int(rng.choice([1, 2, 3, 5, 10, 25]))
    case = Case(seed, tuple(f"class {number:02d}" for number in range(classes)))
    levels = int(rng.choice([2, 6, 40, 0, 0]))  # 0: no ties; else so many distinct scores
    smooth = int(rng.choice([1, 3, 9]))
    grid = bool(rng.integers(2))  # frames of 64 ms, or of random lengths
    clips = int(rng.integers(max(3, classes // 2), 30))
    owners = rng.integers(clips, size=classes)  # every class has an event somewhere
    for number in range(clips):
        clip = f"clip.{number:03d}_{seed}"
        frames = int(rng.choice([1, 2, 20, 156, 156, 200]))
        edges = _edges(rng, frames, grid)
        seconds = float(edges[-1]) + float(rng.choice([0.0, 0.016]))
        wanted = [c for c in range(classes) if owners[c] == number]
        if rng.random() < 0.8:
            wanted += [int(c) for c in rng.integers(classes, size=rng.integers(1, 4))]
        case.boundaries[clip] = edges
        case.durations[clip] = round(seconds, 6)
        case.truth[clip] = _truth(rng, sorted(set(wanted)), seconds, case.labels, grid)
        case.values[clip] = _scores(rng, edges, case.truth[clip], case.labels, levels, smooth)
    case.parameters = [dict(given) for given in [*FIXED, _parameters(rng)]]
    if classes == 1:  # sed_scores_eval cannot look for cross triggers where there is no other class
        for given in case.parameters:
            given |= {"cttc": None, "alpha_ct": 0.0}
    everything = np.concatenate([values.ravel() for values in case.values.values()])
    # Between scores, so that no score equals a threshold by accident of rounding.
    case.threshold = round(float(np.quantile(everything, 0.85)), 3) + 1e-4
    case.operating_points = tuple(
        round(float(np.quantile(everything, q)), 3) + 1e-4 for q in (0.4, 0.7, 0.9)
    )
    return case


FIXED: list[dict[str, Any]] = [
    {"dtc": 0.7, "gtc": 0.7, "cttc": None, "alpha_ct": 0.0, "alpha_st": 1.0, "max_efpr": 100.0},
    {"dtc": 0.1, "gtc": 0.1, "cttc": 0.3, "alpha_ct": 0.5, "alpha_st": 1.0, "max_efpr": 100.0},
    # A wide range, so that small sets with many false alarms still have curves to compare.
    {"dtc": 0.3, "gtc": 0.3, "cttc": 0.3, "alpha_ct": 0.5, "alpha_st": 0.0, "max_efpr": 20000.0},
]


def _parameters(rng: np.random.Generator) -> dict[str, Any]:
    dtc, gtc, cttc = (round(float(value), 2) for value in rng.uniform(0.05, 1.0, size=3))
    alpha_ct = float(rng.choice([0.0, 0.3, 1.0]))
    return {
        "dtc": dtc,
        "gtc": gtc,
        "cttc": cttc if alpha_ct > 0 else None,
        "alpha_ct": alpha_ct,
        "alpha_st": float(rng.choice([0.0, 0.5, 1.0])),
        "max_efpr": float(rng.choice([100.0, 1000.0, 5000.0])),
    }


def _edges(rng: np.random.Generator, frames: int, grid: bool) -> np.ndarray:
    if grid:
        return np.round(np.arange(frames + 1) * 0.064, 6)
    return np.concatenate([[0.0], np.cumsum(np.round(rng.uniform(0.01, 0.4, frames), 4))]).round(4)


def _truth(
    rng: np.random.Generator,
    wanted: list[int],
    seconds: float,
    labels: tuple[str, ...],
    grid: bool,
) -> list[Event]:
    """Events of each wanted class, apart from each other; some end a little after the clip."""
    events = []
    for number in wanted:
        cuts = 2 * int(rng.integers(1, 4))
        times = np.sort(rng.uniform(0, seconds + 0.05, cuts))
        times = np.round(times, 3) if grid or rng.random() < 0.5 else times
        if np.all(np.diff(times) > 0.002):
            pairs = times.reshape(-1, 2).tolist()
        else:
            pairs = [[0.0, round(seconds / 2, 3)]]
        events += [(onset, offset, labels[number]) for onset, offset in pairs]
    return sorted(events)


def _scores(
    rng: np.random.Generator,
    edges: np.ndarray,
    truth: list[Event],
    labels: tuple[str, ...],
    levels: int,
    smooth: int,
) -> np.ndarray:
    """Noise that is higher where something sounds, [T, C]."""
    frames = len(edges) - 1
    noise = rng.random((frames + smooth - 1, len(labels)))
    values = np.mean([noise[k : k + frames] for k in range(smooth)], axis=0)
    for onset, offset, label in truth:
        # Detections start and end beside the truth, and some events are missed.
        first, last = onset + rng.normal(0, 0.1), offset + rng.normal(0, 0.1)
        inside = (edges[1:] > first) & (edges[:-1] < last)
        values[inside, labels.index(label)] += rng.choice([0.0, 0.5, 0.9])
    values /= 2
    return np.round(values * levels) / levels if levels else values


def detections(case: Case, threshold: float) -> dict[str, list[Event]]:
    """Runs of score > threshold, found frame by frame: slow, and obviously right."""
    found: dict[str, list[Event]] = {}
    for clip, values in case.values.items():
        edges = case.boundaries[clip].tolist()
        found[clip] = []
        for number, label in enumerate(case.labels):
            start = None
            for frame, score in enumerate([*values[:, number].tolist(), -np.inf]):
                if score > threshold and start is None:
                    start = frame
                elif not score > threshold and start is not None:
                    found[clip].append((edges[start], edges[frame], label))
                    start = None
        found[clip].sort()
    return found
