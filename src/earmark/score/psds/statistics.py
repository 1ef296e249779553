"""All that a PSDS is computed from, and the PSDS computed from it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

import numpy as np

from earmark.core.errors import ScoreError
from earmark.score.events import Bools, EventArrays, Floats, Ints, left_out, sum_by
from earmark.score.psds.curves import (
    Curve,
    best_curve,
    class_areas,
    effective_areas,
    effective_curve,
)
from earmark.score.psds.parameters import HOUR, PsdsParameters
from earmark.score.psds.steps import CT
from earmark.score.psds.sweeps import ClassSweep

CELLS = 1_000_000
"""Steps × resamples handled together."""


@dataclass(frozen=True)
class PsdsResult:
    """A PSDS with what is needed to read it.

    Args:
        value: The score, 0…1.
        per_class: Each class's own score: the normalised area under its curve.
        curves: Each class's PSD-ROC curve, up to ``max_efpr``.
        effective: The PSD-ROC curve over classes: mean minus ``alpha_st`` standard deviations.
        parameters: What was measured with.
        clips: Number of clips that counted.
        left_out: Classes without truth; they do not count in ``value``.
        warnings: What was changed or left out, in words.
    """

    value: float
    per_class: dict[str, float]
    curves: dict[str, Curve]
    effective: Curve
    parameters: PsdsParameters
    clips: int
    left_out: tuple[str, ...]
    warnings: tuple[str, ...]


@dataclass(frozen=True)
class OperatingPoints:
    """Counts of one class just below each score at which any of them changes, ``[L]`` each.

    Args:
        scores: The scores, falling.
        tp: True positives.
        fp: False positives.
        ct: Cross triggers by the class they are with; empty if they have no weight.
    """

    scores: Floats
    tp: Floats
    fp: Floats
    ct: dict[str, Floats]


@dataclass(frozen=True)
class PsdsStatistics:
    """All that a PSDS of these clips is computed from; clips can be weighted afterwards.

    Args:
        labels: The C classes.
        truth: True events.
        durations: Seconds of each of the N clips ``[N]``.
        clips: The N clips.
        warnings: What was changed or left out, in words.
        parameters: What is measured with.
        sweeps: Counts of each class.
        guards: If counts are known only down to some score of each class: the clips without truth
            of the class that are active there, ``[N, C]``. As long as these alone are too many
            false positives, nothing below matters. ``None`` if every score was counted.
        curves: Each class's curve instead of counts, if clips cannot be weighted any more.
    """

    labels: tuple[str, ...]
    truth: EventArrays
    durations: Floats
    clips: tuple[str, ...]
    warnings: tuple[str, ...]
    parameters: PsdsParameters
    sweeps: tuple[ClassSweep, ...] = ()
    guards: Bools | None = None
    curves: Mapping[str, Curve] | None = None

    def once(self, sweeps: Iterable[ClassSweep]) -> PsdsStatistics:
        """The same for one result, without the counts, in which ``COST`` stands for triggers."""
        events, hours, factors = self._totals(None)
        if factors is not None:
            factors[-1] = 1.0
        return replace(self, curves=self._curves(sweeps, events, hours, factors, None))

    def result(self, weights: Floats | None = None) -> PsdsResult:
        """The score, with each clip counted ``weights`` times (once by default).

        Raises:
            ScoreError: If no class has truth, or counts are not known as far as these weights
                need them.
        """
        if self.curves is not None:
            if weights is not None:
                raise ScoreError("these statistics were made for one result: no weights apply")
            return self.result_of(self.curves)
        column = None if weights is None else np.asarray(weights, dtype=np.float64)[:, None]
        curves = self._curves(self.sweeps, *self._totals(column), column)
        if not curves:
            raise ScoreError(
                "no class has ground truth", hint="PSDS needs at least one true event."
            )
        return self.result_of(curves)

    def _curves(
        self,
        sweeps: Iterable[ClassSweep],
        events: Floats,
        hours: Floats,
        factors: Floats | None,
        weights: Floats | None,
    ) -> dict[str, Curve]:
        """Curves of the classes that have truth."""
        found = {}
        for name, sweep, true in zip(self.labels, sweeps, events, strict=True):
            if true[0] > 0:
                efpr, tpr = sweep.points(hours, true, factors, weights)
                found[name] = best_curve(efpr[:, 0], tpr[:, 0], self.parameters.max_efpr)
        return found

    def resampled(self, weights: Ints) -> dict[str, Floats]:
        """The score of each of R resamples, ``[R]``, under the name "".

        Args:
            weights: How often each clip counts ``[R, N]``; some event in each.
        """
        if self.curves is not None:
            raise ScoreError("these statistics were made for one result: no weights apply")
        size = max(1, CELLS // max(1, *(len(sweep) for sweep in self.sweeps)))
        areas = [self._areas(weights[k : k + size])[0] for k in range(0, len(weights), size)]
        return {"": np.concatenate(areas)}

    def resampled_classes(self, weights: Ints) -> Floats:
        """Each class's own score in each resample ``[C, R]``; NaN where it has no truth."""
        return self._areas(weights)[1]

    def eventful(self) -> Bools:
        """Which clips have true events ``[N]``."""
        return np.isin(np.arange(len(self.clips)), self.truth.clip)

    def operating_points(self, label: str) -> OperatingPoints:
        """Counts of one class at every threshold that was counted.

        Raises:
            ScoreError: If the class is unknown, or cross triggers were summed up.
        """
        if label not in self.labels or self.curves is not None:
            raise ScoreError(f"no counts by threshold for {label}")
        sweep = self.sweeps[self.labels.index(label)]
        scores = -np.unique(-np.concatenate([sweep.tp.scores, sweep.grid]))
        factors = np.zeros((CT + len(self.labels) + 1, len(self.labels)))
        factors[CT:-1] = np.eye(len(self.labels))
        tp, fp = (
            level.counts()[level.above(scores, equal=True), 0] for level in (sweep.tp, sweep.fp)
        )
        ct = sweep.ct.counts(None, factors)[sweep.ct.above(scores, equal=True)]
        triggers = {}
        if self.parameters.alpha_ct > 0:
            others = [c for c, name in enumerate(self.labels) if name != label]
            triggers = {self.labels[c]: ct[:, c] for c in others}
        return OperatingPoints(scores, tp, fp, triggers)

    def _areas(self, weights: Ints) -> tuple[Floats, Floats]:
        """Scores of the resamples ``[R]``, and those of each class ``[C, R]``."""
        points = self.points_of(weights)
        classes = np.full((len(self.labels), len(weights)), np.nan)
        for label, (efpr, tpr, present) in points.items():
            area = class_areas(efpr, tpr, self.parameters.max_efpr)
            classes[label] = np.where(present, area, np.nan)
        return areas_of(points, self.parameters), classes

    def points_of(self, weights: Ints) -> dict[int, tuple[Floats, Floats, Bools]]:
        """Operating points of the classes that have truth in some of R resamples.

        Args:
            weights: How often each clip counts ``[R, N]``.

        Returns:
            By number of the class: effective false positives per hour and true-positive rates
            ``[M, R]``, and in which resamples the class has truth ``[R]``.
        """
        columns = np.ascontiguousarray(weights.T, dtype=np.float64)  # [N, R]
        events, hours, factors = self._totals(columns)
        return {
            label: (
                *self.sweeps[label].points(hours, events[label], factors, columns),
                events[label] > 0,
            )
            for label in np.flatnonzero(events.any(axis=1)).tolist()
        }

    def _totals(self, weights: Floats | None) -> tuple[Floats, Floats, Floats | None]:
        """Events of each class ``[C, R]``, hours ``[R]``, and factors of kinds ``[K, R]``."""
        once = np.ones((len(self.clips), 1)) if weights is None else weights
        events = _by_label(once, self.truth, np.ones(len(self.truth.clip)), len(self.labels))
        hours = (self.durations @ once) / HOUR
        self._check_guards(once, events, hours)
        if not self.parameters.alpha_ct > 0:
            return events, hours, None
        seconds = _by_label(once, self.truth, self.truth.seconds, len(self.labels))
        factors = np.ones((CT + len(self.labels) + 1, once.shape[1]))
        classes = np.count_nonzero(events, axis=0)
        weight = np.array([self.parameters.trigger_weight(int(number)) for number in classes])
        with np.errstate(divide="ignore"):
            rate = np.where(events > 0, HOUR / seconds, 0.0)
        factors[CT:-1] = weight * rate
        return events, hours, factors

    def _check_guards(self, weights: Floats, events: Floats, hours: Floats) -> None:
        if self.guards is None:
            return
        alarms = self.guards.T.astype(np.float64) @ weights  # [C, R]
        known = ~np.asarray(self.guards.any(axis=0))  # every score of the class was counted
        enough = alarms > self.parameters.max_efpr * hours
        if not (enough | known[:, None] | (events == 0)).all():
            raise ScoreError(
                "counts are not known down to the scores that these weights need",
                hint='Make the statistics with thresholds="every".',
            )

    def result_of(self, curves: Mapping[str, Curve]) -> PsdsResult:
        """The score of curves by class."""
        limit = self.parameters.max_efpr
        effective = effective_curve(list(curves.values()), self.parameters.alpha_st)
        without, said = left_out(self.labels, curves)
        return PsdsResult(
            value=effective.area(limit),
            per_class={label: curve.area(limit) for label, curve in curves.items()},
            curves=dict(curves),
            effective=effective,
            parameters=self.parameters,
            clips=len(self.clips),
            left_out=without,
            warnings=(*self.warnings, *said),
        )


def areas_of(
    points: Mapping[int, tuple[Floats, Floats, Bools]], parameters: PsdsParameters
) -> Floats:
    """The score of each resample ``[R]``, of points as of `PsdsStatistics.points_of`."""
    efpr, tpr, present = zip(*points.values(), strict=True)
    limit, alpha_st = parameters.max_efpr, parameters.alpha_st
    return effective_areas(efpr, tpr, np.array(present), alpha_st, limit)


def cross_trigger_costs(truth: EventArrays, labels: int, parameters: PsdsParameters) -> Floats:
    """What one cross trigger with each class adds to the eFPR, every clip counted once ``[C]``."""
    seconds = sum_by(truth.label, truth.seconds, labels)
    weight = parameters.trigger_weight(int(np.count_nonzero(seconds)))
    return np.where(seconds > 0, weight * HOUR / np.where(seconds > 0, seconds, 1.0), 0.0)


def _by_label(weights: Floats, truth: EventArrays, values: Floats, labels: int) -> Floats:
    """Weighted sums over each class's events ``[C, R]``."""
    found = np.zeros((labels, weights.shape[1]))
    order = np.argsort(truth.label, kind="stable")
    if len(order):
        label = truth.label[order]
        starts = np.flatnonzero(np.diff(label, prepend=-1))
        weighted = weights[truth.clip[order]] * values[order, None]
        found[label[starts]] = np.add.reduceat(weighted, starts, axis=0)
    return found
