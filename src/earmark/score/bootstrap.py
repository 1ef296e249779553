"""How sure a score is: percentile intervals over resampled clips.

Clips are drawn with replacement and the score is computed anew from the counts of the drawn clips
(Efron, Tibshirani, "An Introduction to the Bootstrap", 1993, chapter 13). Nothing is detected or
matched again: statistics that keep their counts by clip are only summed with other weights.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

import numpy as np

from earmark.core.errors import ScoreError
from earmark.score.events import Bools, Floats, Ints

TOGETHER = 100
"""Draws between two calls of a progress callback."""


class Statistics(Protocol):
    """Counts by clip, of which scores of resampled clips can be computed."""

    @property
    def clips(self) -> tuple[str, ...]:
        """The N clips."""
        ...

    def eventful(self) -> Bools:
        """Which clips have true events ``[N]``."""
        ...

    def resampled(self, weights: Ints) -> dict[str, Floats]:
        """Scores of R resamples ``[R]`` from how often each clip counts ``[R, N]``.

        The keys are endings of the metric's name: "" for the main one, ``"_micro"``, ….
        """
        ...


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
        level: Fraction of the draws that the interval holds.
        progress: Called with draws done and draws in all.

    Returns:
        Low and high end by name: of every score that the statistics give, such as ``collar_f1`` and
        ``collar_f1_micro`` for statistics named ``collar_f1``.

    Raises:
        ScoreError: If the clips differ, or a setting makes no sense.
    """
    [values] = resampled_values(
        [statistics], resamples=resamples, rng=rng, level=level, progress=progress
    )
    return {name: interval(found, level) for name, found in values.items()}


class ClassStatistics(Statistics, Protocol):
    """Counts by clip, of which scores of each class can be computed, too."""

    @property
    def labels(self) -> tuple[str, ...]:
        """The C classes."""
        ...

    def resampled_classes(self, weights: Ints) -> Floats:
        """Scores ``[C, R]`` of R resamples ``[R, N]``; NaN where a class has no truth."""
        ...


def class_intervals(
    statistics: Mapping[str, ClassStatistics],
    *,
    resamples: int,
    rng: np.random.Generator,
    level: float = 0.95,
) -> dict[str, dict[str, tuple[float, float]]]:
    """Percentile intervals by metric and class, of the draws in which the class has truth.

    Arguments as of `bootstrap`.
    """
    drawn: dict[str, list[Floats]] = {name: [] for name in statistics}
    for done in range(0, resamples, TOGETHER):
        size = min(TOGETHER, resamples - done)
        weights = draw_clips(rng, next(iter(statistics.values())).eventful(), size)
        for name, one in statistics.items():
            drawn[name].append(one.resampled_classes(weights))
    found: dict[str, dict[str, tuple[float, float]]] = {}
    for name, parts in drawn.items():
        rows = zip(statistics[name].labels, np.concatenate(parts, axis=1), strict=True)
        found[name] = {
            label: interval(row[~np.isnan(row)], level)
            for label, row in rows
            if not np.isnan(row).all()
        }
    return found


def interval(values: Floats, level: float) -> tuple[float, float]:
    """The range that holds the fraction ``level`` of the values, as much left out at either end."""
    low, high = np.quantile(values, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def resampled_values(
    systems: Sequence[Mapping[str, Statistics]],
    *,
    resamples: int,
    rng: np.random.Generator,
    level: float,
    progress: Callable[[int, int], None] | None = None,
) -> list[dict[str, Floats]]:
    """Every score of every system on the same draws of clips ``[R]``.

    Arguments and errors as for `bootstrap`.
    """
    everything = [found for statistics in systems for found in statistics.values()]
    if len({found.clips for found in everything}) != 1:
        raise ScoreError("intervals need statistics of the same clips in the same order")
    if resamples < 1 or not 0 < level < 1:
        raise ScoreError(
            f"{resamples} resamples at level {level}",
            hint="Give at least one resample and a level between 0 and 1.",
        )
    eventful = everything[0].eventful()
    if not eventful.any():
        raise ScoreError("no class has ground truth", hint="Intervals need a true event.")
    drawn: list[list[dict[str, Floats]]] = [[] for _ in systems]
    for done in range(0, resamples, TOGETHER):
        weights = draw_clips(rng, eventful, min(TOGETHER, resamples - done))
        for statistics, found in zip(systems, drawn, strict=True):
            found.append(
                {
                    f"{name}{ending}": values
                    for name, one in statistics.items()
                    for ending, values in one.resampled(weights).items()
                }
            )
        if progress is not None:
            progress(done + len(weights), resamples)
    return [
        {name: np.concatenate([values[name] for values in found]) for name in found[0]}
        for found in drawn
    ]


def draw_clips(rng: np.random.Generator, eventful: Bools, size: int) -> Ints:
    """How often each of N clips comes up in N draws with replacement, ``[size, N]``.

    Args:
        rng: Source of the draws.
        eventful: Which clips have events ``[N]``; every draw has one of them.
        size: Number of draws.
    """
    chance = np.full(len(eventful), 1 / len(eventful))
    weights = rng.multinomial(len(eventful), chance, size=size)
    while len(empty := np.flatnonzero(~(weights[:, eventful] > 0).any(axis=1))):
        weights[empty] = rng.multinomial(len(eventful), chance, size=len(empty))
    return weights
