"""How sure a score is: percentile intervals over resampled clips.

Clips are drawn with replacement and the score is computed anew from the counts of the drawn clips
(Efron, Tibshirani, "An Introduction to the Bootstrap", 1993, chapter 13). Nothing is detected or
matched again: statistics that keep their counts by clip are only summed with other weights.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from earmark.core.errors import ScoreError
from earmark.score.f1 import F1Statistics
from earmark.score.psds import PsdsStatistics

Statistics = PsdsStatistics | F1Statistics


def bootstrap(
    statistics: Mapping[str, Statistics],
    *,
    resamples: int,
    rng: np.random.Generator,
    level: float = 0.95,
    progress: Callable[[int, int], None] | None = None,
) -> dict[str, tuple[float, float]]:
    """Percentile intervals of scores; all are computed on the same draws of clips.

    A draw that leaves out every event of a class leaves that class out of the mean; one without
    any event at all is drawn again.

    Args:
        statistics: Statistics by name, all of the same clips in the same order.
        resamples: Number of draws.
        rng: Source of the draws.
        level: Share of the draws that the interval holds.
        progress: Called with draws done and draws in all.

    Returns:
        Low and high end by name: of the PSDS value, or the macro F1.

    Raises:
        ScoreError: If the clips differ, or a setting makes no sense.
    """
    clips = {found.clips for found in statistics.values()}
    if len(clips) != 1:
        raise ScoreError("intervals need statistics of the same clips in the same order")
    if resamples < 1 or not 0 < level < 1:
        raise ScoreError(
            f"{resamples} resamples at level {level}",
            mend="Give at least one resample and a level between 0 and 1.",
        )
    size = len(next(iter(clips)))
    eventful = _clips_with_truth(next(iter(statistics.values())), size)
    values: dict[str, list[float]] = {name: [] for name in statistics}
    for done in range(1, resamples + 1):
        weights = _draw(rng, size)
        while not weights[eventful].any():
            weights = _draw(rng, size)
        for name, found in statistics.items():
            values[name].append(_value(found, weights))
        if progress is not None:
            progress(done, resamples)
    tails = [(1 - level) / 2, (1 + level) / 2]
    ends = {name: np.quantile(found, tails) for name, found in values.items()}
    return {name: (float(low), float(high)) for name, (low, high) in ends.items()}


def _draw(rng: np.random.Generator, size: int) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    """How often each clip comes up in ``size`` draws with replacement."""
    return rng.multinomial(size, np.full(size, 1 / size))


def _clips_with_truth(
    statistics: Statistics, size: int
) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
    if isinstance(statistics, F1Statistics):
        return np.asarray(statistics.true.any(axis=1))
    return np.isin(np.arange(size), statistics.truth.clip)


def _value(statistics: Statistics, weights: np.ndarray[tuple[int], np.dtype[np.int64]]) -> float:
    if isinstance(statistics, F1Statistics):
        return statistics.result(weights).macro
    return statistics.result(weights.astype(np.float64)).value
