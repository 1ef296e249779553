"""Whether one system is better than another, on the same clips: the paired bootstrap.

Both systems are scored on the same draws of clips, so that a clip hard for both does not count as
a difference between them (Efron, Tibshirani, "An Introduction to the Bootstrap", 1993, chapter 13).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from earmark.core.errors import ScoreError
from earmark.score.best import SweepStatistics
from earmark.score.bootstrap import Statistics, interval, resampled_values
from earmark.score.events import check_clips
from earmark.score.f1 import F1Statistics
from earmark.score.statistics import PsdsStatistics
from earmark.score.tagging import PrecisionStatistics


@dataclass(frozen=True)
class Comparison:
    """One metric of two systems, A and B.

    Args:
        first: Score of A.
        second: Score of B.
        difference: A minus B.
        low: Lower end of the interval of the difference.
        high: Upper end; if 0 is outside the interval, the difference is more than chance of clips.
        better: Share of the resamples in which A is above B; ties count half.
    """

    first: float
    second: float
    difference: float
    low: float
    high: float
    better: float


def compare_systems(
    first: Mapping[str, Statistics],
    second: Mapping[str, Statistics],
    *,
    resamples: int = 1000,
    rng: np.random.Generator,
    level: float = 0.95,
    progress: Callable[[int, int], None] | None = None,
) -> dict[str, Comparison]:
    """Compare two systems by every metric that both have statistics of.

    Args:
        first: Statistics of system A by metric, all of the same clips.
        second: Those of system B; the order of the clips may be another.
        resamples: Number of draws.
        rng: Source of the draws.
        level: Share of the draws that the interval holds.
        progress: Called with draws done and draws in all.

    Returns:
        By metric, macro and micro (``collar_f1``, ``collar_f1_micro``), in the order of ``first``.

    Raises:
        ScoreError: If the clips differ (they are named), if truth or parameters do, or if the
            systems share no metric.
    """
    names = [name for name in first if name in second]
    if not names:
        raise ScoreError(
            "the two systems have no metric in common",
            mend=f"One has {', '.join(first) or 'none'}, the other {', '.join(second) or 'none'}.",
        )
    for name in names:
        _check_alike(name, first[name], second[name])
    order = _places(first[names[0]].clips, second[names[0]].clips)
    systems: list[dict[str, Statistics]] = [
        {name: first[name] for name in names},
        {name: _Reordered(second[name], first[names[0]].clips, order) for name in names},
    ]
    once = np.ones((1, len(order)), dtype=np.int64)
    values = resampled_values(systems, resamples=resamples, rng=rng, level=level, progress=progress)
    found = {}
    for name in names:
        whole = [statistics[name].resampled(once) for statistics in systems]
        for ending in whole[0]:
            one, other = (score[ending].item() for score in whole)
            a, b = (drawn[f"{name}{ending}"] for drawn in values)
            low, high = interval(a - b, level)
            better = float(np.mean((a > b) + 0.5 * (a == b)))
            found[f"{name}{ending}"] = Comparison(one, other, one - other, low, high, better)
    return found


@dataclass(frozen=True)
class _Reordered:
    """Statistics that take weights of clips in another order."""

    statistics: Statistics
    clips: tuple[str, ...]
    order: NDArray[np.int64]  # for each of the statistics' clips its place in ``clips``

    def eventful(self) -> NDArray[np.bool_]:
        found = np.zeros(len(self.clips), dtype=np.bool_)
        found[self.order] = self.statistics.eventful()
        return found

    def resampled(self, weights: NDArray[np.int64]) -> dict[str, NDArray[np.float64]]:
        return self.statistics.resampled(weights[:, self.order])


def _places(clips: tuple[str, ...], wanted: tuple[str, ...]) -> NDArray[np.int64]:
    place = {clip: number for number, clip in enumerate(clips)}
    return np.array([place[clip] for clip in wanted], dtype=np.int64)


def _check_alike(name: str, first: Statistics, second: Statistics) -> None:
    check_clips(first.clips, set(second.clips), "first system", "second")
    check_clips(second.clips, set(first.clips), "second system", "first")
    order = _places(first.clips, second.clips)
    one, other = _truth(first), _truth(second)
    if one is None or other is None:
        return
    if sorted(one[0]) != sorted(other[0]):
        raise ScoreError(f"the two systems have other classes: {_unlike(one[0], other[0])}")
    columns = [one[0].index(label) for label in other[0]]
    differing = np.flatnonzero((one[1][order][:, columns] != other[1]).any(axis=1))
    if len(differing):
        raise ScoreError(
            f"the truth of {second.clips[differing[0]]} differs between the two systems in {name} "
            f"({len(differing)} clips in all)"
        )
    if isinstance(first, PsdsStatistics) and isinstance(second, PsdsStatistics):
        if first.parameters != second.parameters:
            raise ScoreError(f"{name} of the two systems was measured with other parameters")
        if not np.allclose(first.durations[order], second.durations, rtol=0, atol=1e-6):
            raise ScoreError(f"the durations of the two systems differ in {name}")


def _unlike(first: tuple[str, ...], second: tuple[str, ...]) -> str:
    return ", ".join(sorted(set(first) ^ set(second)))


def _truth(
    statistics: Statistics,
) -> tuple[tuple[str, ...], NDArray[np.float64]] | None:  # fmt: skip
    """Classes, and what is true in each clip: number of events or seconds, ``[N, C]``."""
    if isinstance(statistics, PrecisionStatistics):
        return _truth(statistics.ranking)
    if isinstance(statistics, F1Statistics | SweepStatistics):
        return statistics.labels, statistics.true.astype(np.float64)
    if not isinstance(statistics, PsdsStatistics):
        return None
    truth = statistics.truth
    seconds = np.zeros((len(statistics.clips), len(statistics.labels)))
    np.add.at(seconds, (truth.clip, truth.label), truth.seconds)
    return statistics.labels, np.round(seconds, 6)
