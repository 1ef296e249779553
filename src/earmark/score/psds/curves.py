"""PSD-ROC curves: true-positive rate over effective false positives, by class and over classes.

Definitions: Bilen et al., "A Framework for the Robust Evaluation of Sound Event Detection",
ICASSP 2020 (arXiv:1910.08440), section 3.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from earmark.score.events import Bools, Floats

CELLS = 2_000_000
"""Classes × points handled together."""


@dataclass(frozen=True)
class Curve:
    """A step curve that holds each value to the right: rates ``[N]``, and values ``[N]``."""

    efpr: Floats  # effective false positives per hour, strictly increasing from 0
    tpr: Floats  # true-positive rate from there on

    def area(self, limit: float) -> float:
        """Mean height over ``[0, limit]``."""
        width = np.diff(np.append(self.efpr, limit))
        return float(np.sum(width * self.tpr) / limit)

    def at(self, rates: Floats) -> Floats:
        """Values at rates ≥ 0."""
        return np.asarray(self.tpr[np.searchsorted(self.efpr, rates, side="right") - 1])


def best_curve(efpr: Floats, tpr: Floats, limit: float) -> Curve:
    """The best rate reachable with at most so many false positives, from operating points.

    Args:
        efpr: Effective false positives per hour of each point, in any order ``[N]``.
        tpr: True-positive rate of each point ``[N]``.
        limit: Points with more false positives are left out.
    """
    efpr, tpr = np.append(0.0, efpr), np.append(0.0, tpr)
    order = np.lexsort((tpr, efpr))
    efpr, tpr = efpr[order], np.maximum.accumulate(tpr[order])
    last = np.append(efpr[1:] > efpr[:-1], True) & (efpr <= limit)
    efpr, tpr = efpr[last], tpr[last]
    rising = np.append(True, tpr[1:] > tpr[:-1])
    return Curve(efpr[rising], tpr[rising])


def effective_curve(curves: Sequence[Curve], alpha_st: float) -> Curve:
    """Mean over classes less ``alpha_st`` population standard deviations, at least 0."""
    grid = np.unique(np.concatenate([curve.efpr for curve in curves]))
    size = max(1, CELLS // len(curves))
    steady = []
    for first in range(0, len(grid), size):
        rates = grid[first : first + size]
        heights = np.stack([curve.at(rates) for curve in curves])  # [C, N]
        steady.append(heights.mean(axis=0) - alpha_st * heights.std(axis=0))
    return Curve(grid, np.maximum(np.concatenate(steady), 0.0))


def effective_areas(
    efpr: Sequence[Floats],
    tpr: Sequence[Floats],
    present: Bools,
    alpha_st: float,
    limit: float,
) -> Floats:
    """Mean height of the effective curve of each of R resamples ``[R]``.

    The same as `best_curve` and `effective_curve` one by one.

    Args:
        efpr: Of each class the points' effective false positives per hour ``[M_c, R]``.
        tpr: And their true-positive rates.
        present: Which classes have truth in which resample ``[C, R]``; one at least in each.
        alpha_st: Weight of the standard deviation.
        limit: Where the curves end.
    """
    owner = np.concatenate([np.full(len(points), c) for c, points in enumerate(efpr)])
    rates, heights = np.concatenate(efpr), np.concatenate(tpr)  # [M, R]
    size = max(1, CELLS // max(1, len(owner) * len(efpr)))
    areas = np.zeros(present.shape[1])
    for first in range(0, present.shape[1], size):
        some = slice(first, first + size)
        order = np.argsort(rates[:, some], axis=0, kind="stable")
        edges = np.minimum(np.take_along_axis(rates[:, some], order, 0), limit)
        sorted_heights = np.take_along_axis(heights[:, some], order, 0)
        # Heights of all classes between neighbouring edges, [C, M, r].
        own = owner[order] == np.arange(len(efpr))[:, None, None]
        levels = np.maximum.accumulate(np.where(own, sorted_heights, 0.0), axis=1)
        there = present[:, None, some]
        count = there.sum(axis=0)
        mean = np.sum(levels, axis=0, where=there) / count
        spread = np.sum((levels - mean) ** 2, axis=0, where=there) / count
        steady = np.maximum(mean - alpha_st * np.sqrt(spread), 0.0)
        width = np.diff(edges, axis=0, append=np.full((1, edges.shape[1]), limit))
        areas[some] = np.sum(width * steady, axis=0) / limit
    return areas


def class_areas(efpr: Floats, tpr: Floats, limit: float) -> Floats:
    """Mean height of one class's curve in each of R resamples ``[R]``, from points ``[M, R]``."""
    order = np.argsort(efpr, axis=0, kind="stable")
    edges = np.minimum(np.take_along_axis(efpr, order, 0), limit)
    heights = np.maximum.accumulate(np.take_along_axis(tpr, order, 0), axis=0)
    width = np.diff(edges, axis=0, append=np.full((1, edges.shape[1]), limit))
    return np.asarray(np.sum(width * heights, axis=0) / limit)
