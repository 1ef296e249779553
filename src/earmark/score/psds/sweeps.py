"""Counts of one class as the threshold falls, with any weights on the clips."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from earmark.score.events import Floats, Ints, ratio
from earmark.score.psds.steps import COST, CT, FP, TP, Steps


@dataclass(frozen=True)
class Levels:
    """S steps in L levels of equal score, from the highest down.

    Args:
        scores: The distinct scores, falling ``[L]``.
        starts: The first step of each level ``[L]``.
        clip: Clip of each step ``[S]``.
        kind: Kind of each step ``[S]``.
        change: Change of the count at each step ``[S]``.
    """

    scores: Floats
    starts: Ints
    clip: NDArray[np.int32]
    kind: NDArray[np.int16]
    change: NDArray[Any]

    @classmethod
    def of(cls, steps: Steps) -> Levels:
        """Levels of steps of one class."""
        order = np.argsort(-steps.score)
        score = steps.score[order]
        starts = np.flatnonzero(np.diff(score, prepend=np.inf) != 0)
        return cls(score[starts], starts, steps.clip[order], steps.kind[order], steps.change[order])

    def counts(self, weights: Floats | None = None, factors: Floats | None = None) -> Floats:
        """The count above the highest score and below each, ``[L + 1, R]``.

        Args:
            weights: How often each clip counts in each of R resamples, ``[N, R]``; once if not
                given.
            factors: What a step of each kind is multiplied with, ``[K, R]``.
        """
        change = self.change.astype(np.float64)[:, None]
        if weights is not None:
            change = weights[self.clip] * change
        if factors is not None:
            change = change * factors[self.kind]
        found = np.zeros((len(self.starts) + 1, change.shape[1]))
        if len(self.starts):
            np.cumsum(np.add.reduceat(change, self.starts, axis=0), axis=0, out=found[1:])
        return found

    def down_to(self, floor: float) -> Levels:
        """Only the levels above a score."""
        size = int(np.searchsorted(-self.scores, -floor, side="left"))
        end = int(self.starts[size]) if size < len(self.starts) else len(self.clip)
        steps = (self.clip[:end], self.kind[:end], self.change[:end])
        return Levels(self.scores[:size], self.starts[:size], *steps)

    def above(self, scores: Floats, *, equal: bool) -> Ints:
        """How many levels are above each of some scores, or at least equal."""
        return np.searchsorted(-self.scores, -scores, side="right" if equal else "left")


@dataclass(frozen=True)
class ClassSweep:
    """One class: true positives, false positives and cross triggers as the threshold falls.

    A curve needs, for every number of true positives, only the fewest false positives that come
    with it. So points are made where true positives change, and not at every score.

    Args:
        tp: Steps of true positives.
        fp: Steps of false positives.
        ct: Steps of cross triggers, ``kind`` being ``CT + k``, or ``COST``.
        grid: Every score at which false positives or cross triggers change, falling ``[G]``.
    """

    tp: Levels
    fp: Levels
    ct: Levels
    grid: Floats

    @classmethod
    def of(cls, steps: Steps) -> ClassSweep:
        """The sweep of one class's steps."""
        tp, fp = (Levels.of(steps.at(steps.kind == kind)) for kind in (TP, FP))
        ct = Levels.of(steps.at((steps.kind >= CT) | (steps.kind == COST)))
        grid = fp.scores if not len(ct.scores) else -np.unique(-np.append(fp.scores, ct.scores))
        return cls(tp, fp, ct, grid)

    def down_to(self, floor: float) -> ClassSweep:
        """Only what happens at scores above ``floor``."""
        grid = self.grid[: int(np.searchsorted(-self.grid, -floor, side="left"))]
        return ClassSweep(
            self.tp.down_to(floor), self.fp.down_to(floor), self.ct.down_to(floor), grid
        )

    def __len__(self) -> int:
        return len(self.tp.clip) + len(self.fp.clip) + len(self.ct.clip)

    def points(
        self, hours: Floats, events: Floats, factors: Floats | None, weights: Floats | None
    ) -> tuple[Floats, Floats]:
        """Candidates for the class's curve: eFPR and true-positive rate, ``[M, R]`` each.

        The first is (0, 0).

        Args:
            hours: Hours of audio in each of R resamples ``[R]``.
            events: True events of the class ``[R]``; the rate is 0 where there are none.
            factors: What a cross trigger of each kind adds to the eFPR ``[K, R]``, if any do.
            weights: Weight of each clip in each resample ``[N, R]``, or once each.
        """
        efpr = self.fp.counts(weights) / hours
        if factors is not None and len(self.ct.scores):
            spent = self.ct.counts(weights, factors)
            efpr = efpr[self.fp.above(self.grid, equal=True)]
            efpr += np.maximum(spent[self.ct.above(self.grid, equal=True)], 0.0)
            efpr = np.concatenate([np.zeros((1, efpr.shape[1])), efpr])
        lowest = self._fewest(efpr)
        return lowest, self.tp.counts(weights) / np.maximum(events, 1e-300)

    def fewest(self, weights: Floats | None) -> tuple[Floats, Floats]:
        """Each number of true positives and the fewest false positives with it, ``[M, R]``.

        The first are those of no detection at all.
        """
        return self.tp.counts(weights), self._fewest(self.fp.counts(weights))

    def average_precision(self, weights: Floats | None, true: Floats) -> Floats:
        """Mean precision over the true positives, each at its score ``[R]``; 0 without any."""
        tp = self.tp.counts(weights)
        fp = self.fp.counts(weights)[self.fp.above(self.tp.scores, equal=True)]
        found = tp[1:] + fp
        gained = np.sum(np.diff(tp, axis=0) * ratio(tp[1:], found), axis=0)
        return np.asarray(gained / np.maximum(true, 1e-300))

    def _fewest(self, cost: Floats) -> Floats:
        """The least of ``cost`` while true positives stay the same, ``[M, R]``.

        Args:
            cost: Above the highest score of the grid and below each, ``[G + 1, R]``.
        """
        # cost[n] holds below n scores of the grid. While true positives stay at the count below
        # tp.scores[j], n goes from the scores that are at least that to those above the next one.
        first = np.searchsorted(-self.grid, -self.tp.scores, side="right")
        last = np.append(
            np.searchsorted(-self.grid, -self.tp.scores[1:], side="left"), len(self.grid)
        )
        none = np.zeros((1, cost.shape[1]))
        if not len(first):
            return none
        ranges = np.stack([first, last + 1], axis=1).ravel()
        cost = np.append(cost, np.full((1, cost.shape[1]), np.inf), axis=0)
        return np.append(none, np.minimum.reduceat(cost, ranges, axis=0)[::2], axis=0)


def class_sweeps(steps: Steps, labels: int) -> tuple[ClassSweep, ...]:
    """Sweeps of each class from steps of all."""
    order = np.argsort(steps.label, kind="stable")
    bounds = np.searchsorted(steps.label, np.arange(labels + 1), sorter=order)
    return tuple(
        ClassSweep.of(steps.at(order[bounds[label] : bounds[label + 1]])) for label in range(labels)
    )
