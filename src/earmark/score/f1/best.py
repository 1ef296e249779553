"""F1 at the threshold that is best for each class: what tuning on the same clips could reach.

Such a score is an oracle's, as nobody knows the best threshold of clips before their truth. Use it
to compare systems whose thresholds were never tuned, or to choose thresholds on a development set.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from earmark.core.errors import ScoreError
from earmark.core.tables.scores import ScoreTable, common_labels
from earmark.score.events import (
    TIME_DECIMALS,
    Bools,
    Events,
    Floats,
    Ints,
    known_clips,
    ratio,
    tidy,
)
from earmark.score.f1.counts import F1Counts, F1Result, Owners, count_owners
from earmark.score.f1.events import CRITERIA, Criterion, CriterionName
from earmark.score.f1.intersections import IntersectionCriterion
from earmark.score.f1.segments import SegmentCriterion
from earmark.score.psds.parameters import PsdsParameters
from earmark.score.psds.score import psds_statistics
from earmark.score.psds.steps import Steps
from earmark.score.psds.sweeps import ClassSweep, class_sweeps

CELLS = 1_000_000
"""Steps × resamples handled together."""
SMALL = 1e-3
"""A ``dtc`` above this is more than rounding for any frame of a millisecond."""
CAUTION = 0.7
"""Resamples are first swept only as far down as could give this fraction of the best F1."""


@dataclass(frozen=True)
class BestF1Result(F1Result):
    """F1 at each class's best threshold; ``counts`` are of the classes that have truth.

    Args:
        thresholds: The threshold that gives it, midway between the lowest score that must be above
            it and the next lower one at which a count changes; the highest of equals. ``inf`` if
            no threshold gives a true positive, ``-inf`` if every frame must be active.
    """

    thresholds: dict[str, float]


@dataclass(frozen=True)
class SweepStatistics:
    """True and false positives over all thresholds, from which a best F1 is computed.

    Args:
        labels: The C classes.
        clips: The N clips.
        sweeps: Counts of each class.
        true: True events (segments, tags) of each clip ``[N, C]``.
        warnings: What was changed, in words.
        highest: The highest score of each clip ``[N, C]``, if every clip without truth is a false
            positive below it: resamples are then computed in less time, with the same result.
    """

    labels: tuple[str, ...]
    clips: tuple[str, ...]
    sweeps: tuple[ClassSweep, ...]
    true: Ints
    warnings: tuple[str, ...]
    highest: Floats | None = None

    def result(self, weights: Ints | None = None) -> BestF1Result:
        """Best F1 with each clip counted ``weights`` times (once by default).

        Raises:
            ScoreError: If no class has truth.
        """
        once = np.ones(len(self.clips), dtype=np.int64) if weights is None else weights
        true = dict(zip(self.labels, (once @ self.true).tolist(), strict=True))
        column = once.astype(np.float64)[:, None]
        best = {
            label: _best(sweep, true[label], column)
            for label, sweep in zip(self.labels, self.sweeps, strict=True)
            if true[label]
        }
        thresholds = {label: threshold for label, (_, threshold) in best.items()}
        counts = {label: count for label, (count, _) in best.items()}
        return BestF1Result.of(counts, true, self.warnings, thresholds=thresholds)

    def eventful(self) -> Bools:
        """Which clips have true events ``[N]``."""
        return np.asarray(self.true.any(axis=1))

    def resampled(self, weights: Ints) -> dict[str, Floats]:
        """Macro ("") and micro ("_micro") best F1 of R resamples, from weights ``[R, N]``.

        Thresholds are chosen anew in each resample.
        """
        size = max(1, CELLS // max(1, *(len(sweep) for sweep in self.sweeps)))
        found = [self._resampled(weights[k : k + size]) for k in range(0, len(weights), size)]
        return {name: np.concatenate([some[name] for some in found]) for name in found[0]}

    def _resampled(self, weights: Ints) -> dict[str, Floats]:
        columns = np.ascontiguousarray(weights.T, dtype=np.float64)
        true = (weights @ self.true).T.astype(np.float64)  # [C, R]
        best = np.zeros(true.shape)
        tp, fp = np.zeros(len(weights)), np.zeros(len(weights))
        for c in range(len(self.labels)):
            best[c], hits, alarms = self._best_of(c, columns, true[c])
            tp += np.where(true[c] > 0, hits, 0)
            fp += np.where(true[c] > 0, alarms, 0)
        present = true > 0
        return {
            "": np.sum(best, axis=0, where=present) / np.count_nonzero(present, axis=0),
            "_micro": _f1(tp, fp, np.sum(true, axis=0)),
        }

    def _best_of(self, c: int, columns: Floats, true: Floats) -> tuple[Floats, Floats, Floats]:
        """Best F1 of a class in each resample, with its true and false positives ``[R]``."""
        floor = self._floors[c]
        best, tp, fp = _highest(self.sweeps[c].down_to(floor), columns, true)
        if self.highest is None or floor == -np.inf:
            return best, tp, fp
        # Below the floor at least so many clips are false alarms: no F1 can be above this bound.
        quiet = (self.highest[:, c] >= floor) & (self.true[:, c] == 0)
        bound = _f1(true, quiet @ columns, true)
        unsure = np.flatnonzero(best <= bound)
        if len(unsure):
            again = _highest(self.sweeps[c], columns[:, unsure], true[unsure])
            best[unsure], tp[unsure], fp[unsure] = again
        return best, tp, fp

    @cached_property
    def _floors(self) -> Floats:
        """Scores of each class that are most likely too low for the best F1 ``[C]``."""
        floors = np.full(len(self.labels), -np.inf)
        once = np.ones((len(self.clips), 1))
        for c, sweep in enumerate(self.sweeps):
            true = self.true[:, c]
            best = _highest(sweep, once, np.array([float(true.sum())]))[0][0]
            if self.highest is None or not best > 0:
                continue
            alarms = math.ceil(2 * float(true.sum()) * (1 / (CAUTION * best) - 1))
            quiet = np.sort(self.highest[true == 0, c])[::-1]
            if 0 < alarms <= len(quiet):
                floors[c] = quiet[alarms - 1]
        return floors


def _highest(sweep: ClassSweep, columns: Floats, true: Floats) -> tuple[Floats, Floats, Floats]:
    """Highest F1 of a sweep in each resample, with its true and false positives ``[R]``."""
    tp, fp = sweep.fewest(columns)  # [M, R]
    f1 = _f1(tp, fp, true)
    chosen = np.argmax(f1, axis=0)[None]
    found = [np.take_along_axis(values, chosen, 0)[0] for values in (f1, tp, fp)]
    return found[0], found[1], found[2]


def best_f1(
    scores: Mapping[str, ScoreTable],
    truth: Events,
    durations: Mapping[str, float],
    criterion: CriterionName = "collar",
) -> BestF1Result:
    """F1 of each class at its best threshold, with the settings that are usual.

    `best_statistics` takes other settings, and its ``result`` is the same.

    Args:
        scores: Score table of each clip, by clip id.
        truth: Ground truth by clip id.
        durations: Seconds of each clip.
        criterion: Which F1: by collars (0.2 s, 20 %), by intersection (0.5) or by segments (1 s).

    Raises:
        ScoreError: If clips, classes or times do not fit together, or no class has truth.
    """
    if criterion not in CRITERIA:
        raise ScoreError(
            f"there is no F1 by {criterion}", hint="Choose collar, intersection or segment."
        )
    return best_statistics(scores, truth, durations, CRITERIA[criterion]).result()


def best_statistics(
    scores: Mapping[str, ScoreTable],
    truth: Events,
    durations: Mapping[str, float],
    criterion: Criterion,
) -> SweepStatistics:
    """Counts over all thresholds, by any criterion.

    Args:
        scores: Score table of each clip, by clip id.
        truth: Ground truth by clip id.
        durations: Seconds of each clip.
        criterion: When a detection is right.

    Raises:
        ScoreError: If clips, classes or times do not fit together.
    """
    if isinstance(criterion, IntersectionCriterion):
        return _best_intersections(scores, truth, durations, criterion)
    labels, clips = common_labels(scores.items()), known_clips(scores, truth, durations, "scores")
    true, warnings = tidy(truth, clips, labels, "truth", merge=criterion.merge)
    steps, owners = criterion.steps([scores[clip] for clip in clips], true, clips)
    found = sweep_statistics(steps, owners, clips, labels, warnings)
    # Where segments end with the clip, what is detected after its end is no false positive.
    limited = isinstance(criterion, SegmentCriterion) and criterion.durations is not None
    return found if limited else replace(found, highest=_maxima(scores, clips))


def _best_intersections(
    scores: Mapping[str, ScoreTable],
    truth: Events,
    durations: Mapping[str, float],
    criterion: IntersectionCriterion,
) -> SweepStatistics:
    if criterion.decimals != TIME_DECIMALS:
        raise ScoreError(
            f"intersections over all thresholds are compared at {TIME_DECIMALS} decimals",
            hint="Leave `decimals` out, or give the F1 a threshold.",
        )
    found = psds_statistics(scores, truth, durations, PsdsParameters(criterion.dtc, criterion.gtc))
    owners = found.truth.clip, found.truth.label
    true = count_owners(owners, len(found.clips), len(found.labels))
    # With a larger dtc nothing but truth makes a detection relevant, even if times are rounded.
    highest = _maxima(scores, found.clips) if criterion.dtc > SMALL else None
    return SweepStatistics(found.labels, found.clips, found.sweeps, true, found.warnings, highest)


def sweep_statistics(
    steps: Steps,
    true: Owners,
    clips: Sequence[str],
    labels: Sequence[str],
    warnings: Sequence[str] = (),
) -> SweepStatistics:
    """Statistics from steps of all classes, and clip and label of everything that is true."""
    sweeps = class_sweeps(steps, len(labels))
    actual = count_owners(true, len(clips), len(labels))
    return SweepStatistics(tuple(labels), tuple(clips), sweeps, actual, tuple(warnings))


def _maxima(scores: Mapping[str, ScoreTable], clips: Sequence[str]) -> Floats:
    """The highest score of each clip ``[N, C]``."""
    return np.stack([scores[clip].values.max(axis=0) for clip in clips]).astype(np.float64)


def _best(sweep: ClassSweep, true: int, weights: Floats) -> tuple[F1Counts, float]:
    """Counts and threshold of the highest F1 of one class."""
    grid = -np.unique(-np.append(sweep.tp.scores, sweep.fp.scores))
    tp, fp = (
        np.append(0.0, level.counts(weights)[level.above(grid, equal=True), 0])
        for level in (sweep.tp, sweep.fp)
    )
    place = int(np.argmax(_f1(tp, fp, np.array(float(true)))))
    edges = np.concatenate([[np.inf], grid, [-np.inf]])
    with np.errstate(invalid="ignore"):
        threshold = float((edges[place] + edges[place + 1]) / 2)
    if place == 0:
        threshold = math.inf
    return F1Counts(int(tp[place]), int(fp[place]), true - int(tp[place])), threshold


def _f1(tp: Floats, fp: Floats, true: Floats) -> Floats:
    return ratio(2 * tp, tp + fp + true)
