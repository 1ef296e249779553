"""Whether one system is better than another, on the same clips: the paired bootstrap.

Both systems are scored on the same draws of clips, so that a clip hard for both does not count as
a difference between them (Efron, Tibshirani, "An Introduction to the Bootstrap", 1993, chapter 13).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from earmark.core.errors import ScoreError
from earmark.score.bootstrap import Statistics, interval, resampled_values
from earmark.score.report.aligned import check_alike, reordered


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
    systems = aligned_systems(first, second)
    values = resampled_values(systems, resamples=resamples, rng=rng, level=level, progress=progress)
    return compare_resampled(systems, values, level)


def aligned_systems(
    first: Mapping[str, Statistics], second: Mapping[str, Statistics]
) -> list[dict[str, Statistics]]:
    """Both systems' statistics of the metrics they share, for clips in the same order.

    Raises:
        ScoreError: As `compare_systems`.
    """
    names = [name for name in first if name in second]
    if not names:
        raise ScoreError(
            "the two systems have no metric in common",
            hint=f"One has {', '.join(first) or 'none'}, the other {', '.join(second) or 'none'}.",
        )
    for name in names:
        check_alike(name, first[name], second[name], ("first", "second", "system"))
    clips = first[names[0]].clips
    return [
        {name: first[name] for name in names},
        {name: reordered(second[name], clips) for name in names},
    ]


def compare_resampled(
    systems: Sequence[Mapping[str, Statistics]],
    values: Sequence[Mapping[str, NDArray[np.float64]]],
    level: float,
) -> dict[str, Comparison]:
    """Two systems by their scores on the same draws of clips.

    Args:
        systems: Of `aligned_systems`.
        values: Every score of either system on each draw, as of ``bootstrap.resampled_values``.
        level: Share of the draws that the interval holds.
    """
    clips = next(iter(systems[0].values())).clips
    once = np.ones((1, len(clips)), dtype=np.int64)
    found = {}
    for name in systems[0]:
        whole = [statistics[name].resampled(once) for statistics in systems]
        for ending in whole[0]:
            one, other = (score[ending].item() for score in whole)
            a, b = (drawn[f"{name}{ending}"] for drawn in values)
            low, high = interval(a - b, level)
            better = float(np.mean((a > b) + 0.5 * (a == b)))
            found[f"{name}{ending}"] = Comparison(one, other, one - other, low, high, better)
    return found
