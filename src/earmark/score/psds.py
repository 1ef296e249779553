"""PSDS: the polyphonic sound detection score, exact over all decision thresholds.

Definitions: Bilen et al., "A Framework for the Robust Evaluation of Sound Event Detection",
ICASSP 2020 (arXiv:1910.08440). All thresholds at once: Ebbers et al., "Threshold-Independent
Evaluation of Sound Event Detection Scores", ICASSP 2022 (arXiv:2201.13148).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from earmark.core.errors import ScoreError
from earmark.core.scores import ScoreTable, common_labels
from earmark.score.events import TIME_DECIMALS, EventArrays, Events, check_clips, sum_by, tidy
from earmark.score.intersections import Intersections, intersect
from earmark.score.thresholds import (
    CT,
    FP,
    TP,
    Steps,
    count_steps,
)

Floats = NDArray[np.float64]
HOUR = 3600.0


@dataclass(frozen=True)
class PsdsParameters:
    """What a PSDS is measured with; a value without them means nothing.

    Args:
        dtc: Detection tolerance criterion ρ_DTC.
        gtc: Ground-truth intersection criterion ρ_GTC.
        cttc: Cross-trigger tolerance criterion ρ_CTTC; needed only if ``alpha_ct`` > 0.
        alpha_ct: Weight of cross triggers in the effective false-positive rate.
        alpha_st: Weight of the standard deviation over classes.
        max_efpr: Effective false positives per hour up to which the curve is integrated.
    """

    dtc: float
    gtc: float
    cttc: float | None = None
    alpha_ct: float = 0.0
    alpha_st: float = 0.0
    max_efpr: float = 100.0

    def __post_init__(self) -> None:
        for name in ("dtc", "gtc", "cttc"):
            value = getattr(self, name)
            if value is not None and not 0 < value <= 1:
                raise ScoreError(f"PSDS parameter {name} is {value}", mend="It must be in (0, 1].")
        if self.alpha_ct > 0 and self.cttc is None:
            raise ScoreError("PSDS with alpha_ct > 0 needs cttc")
        if not (self.alpha_ct >= 0 and self.alpha_st >= 0 and 0 < self.max_efpr < math.inf):
            raise ScoreError("PSDS needs alpha_ct ≥ 0, alpha_st ≥ 0 and a finite max_efpr > 0")


PSDS1 = PsdsParameters(dtc=0.7, gtc=0.7, cttc=None, alpha_ct=0.0, alpha_st=1.0)
"""DCASE Task 4, scenario 1: rewards precise times."""

PSDS2 = PsdsParameters(dtc=0.1, gtc=0.1, cttc=0.3, alpha_ct=0.5, alpha_st=1.0)
"""DCASE Task 4, scenario 2: rewards the right class."""


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


@dataclass(frozen=True)
class PsdsResult:
    """A PSDS with what is needed to read it.

    Args:
        value: The score, 0…1.
        per_class: Each class's own score: the normalised area under its curve.
        curves: Each class's curve.
        effective: Mean over classes minus ``alpha_st`` standard deviations.
        parameters: What was measured with.
        clips: Number of clips that counted.
        left_out: Classes without truth; they have no part in ``value``.
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
class PsdsStatistics:
    """All that a PSDS of these clips is computed from; clips can be weighted afterwards."""

    labels: tuple[str, ...]
    steps: list[Steps]
    truth: EventArrays
    durations: Floats
    parameters: PsdsParameters
    clips: tuple[str, ...]
    warnings: tuple[str, ...]

    def result(self, weights: Floats | None = None) -> PsdsResult:
        """The score, with each clip counted ``weights`` times (once by default).

        Raises:
            ScoreError: If no class has truth.
        """
        size, truth = len(self.labels), self.truth
        once = np.ones(len(self.clips)) if weights is None else weights
        events = sum_by(truth.label, once[truth.clip], size)
        seconds = sum_by(truth.label, once[truth.clip] * truth.seconds, size)
        hours = float(np.sum(once * self.durations)) / HOUR
        present = [int(label) for label in np.flatnonzero(events)]
        points = {}
        for label in present:
            steps = self.steps[label]
            counts = {FP: steps.counts(FP, weights)}
            if self.parameters.alpha_ct > 0:
                kinds = [CT + other for other in present if other != label]
                counts |= {kind: steps.counts(kind, weights) for kind in kinds}
            tpr = steps.counts(TP, weights) / events[label]
            points[label] = _efpr(counts, seconds, hours, len(present), self.parameters), tpr
        curves = {self.labels[label]: _curve(*points[label], self.parameters) for label in present}
        return _result(curves, self.labels, self.parameters, len(self.clips), self.warnings)


def psds(
    scores: Mapping[str, ScoreTable],
    truth: Events,
    durations: Mapping[str, float],
    parameters: PsdsParameters = PSDS1,
    *,
    drop_eventless: bool = False,
) -> PsdsResult:
    """The polyphonic sound detection score over every decision threshold.

    A detection is a maximal run of frames with score > threshold; times are compared rounded to
    6 decimals. Cross triggers are averaged over the other classes that have truth.

    Args:
        scores: Score table of each clip, by clip id.
        truth: Ground-truth events by clip id; a clip without events may be absent.
        durations: Seconds of each clip.
        parameters: ``PSDS1``, ``PSDS2`` or others.
        drop_eventless: Whether to leave out clips without truth, as DCASE recipes since 2023 do.

    Returns:
        The score, per class, with curves and warnings.

    Raises:
        ScoreError: If clips, classes or times do not fit together, or no class has truth.
    """
    return psds_statistics(
        scores, truth, durations, parameters, drop_eventless=drop_eventless
    ).result()


def psds_statistics(
    scores: Mapping[str, ScoreTable],
    truth: Events,
    durations: Mapping[str, float],
    parameters: PsdsParameters = PSDS1,
    *,
    drop_eventless: bool = False,
) -> PsdsStatistics:
    """Count over all thresholds; arguments and errors as for :func:`psds`."""
    labels = common_labels(scores.items())
    clips = _clips(scores, truth, durations, "scores")
    warnings = []
    if drop_eventless:
        kept = tuple(clip for clip in clips if any(b > a for a, b, _ in truth.get(clip, ())))
        warnings.append(f"{len(clips) - len(kept)} clips without events dropped")
        clips = kept
    events, changed = tidy(truth, clips, labels, "truth", merge=True)
    if not len(events.clip):
        raise ScoreError("no class has ground truth", mend="PSDS needs at least one true event.")
    steps = count_steps(
        [scores[clip] for clip in clips],
        events,
        dtc=parameters.dtc,
        gtc=parameters.gtc,
        cttc=parameters.cttc if parameters.alpha_ct > 0 else None,
    )
    seconds = np.array([durations[clip] for clip in clips], dtype=np.float64)
    return PsdsStatistics(labels, steps, events, seconds, parameters, clips, (*warnings, *changed))


def psds_from_detections(
    operating_points: Iterable[Events],
    truth: Events,
    durations: Mapping[str, float],
    labels: Sequence[str],
    parameters: PsdsParameters = PSDS1,
    *,
    decimals: int | None = TIME_DECIMALS,
) -> PsdsResult:
    """PSDS from detections at a few thresholds: a lower bound of what all thresholds give.

    Args:
        operating_points: Detections by clip id, one mapping per threshold.
        truth: Ground-truth events by clip id.
        durations: Seconds of each clip; names the clips that count.
        labels: The classes.
        parameters: What to measure with.
        decimals: Rounding of compared times; ``None`` compares as psds_eval does.

    Raises:
        ScoreError: If clips, classes or times do not fit together, or no class has truth.
    """
    clips = tuple(durations)
    check_clips(truth, durations, "truth", "durations")
    _check_durations(durations)
    true_events, warnings = tidy(truth, clips, labels, "truth", merge=True)
    present = [int(label) for label in np.unique(true_events.label)]
    if not present:
        raise ScoreError("no class has ground truth", mend="PSDS needs at least one true event.")
    points = []
    for detections in operating_points:
        check_clips(detections, durations, "detections", "durations")
        found, changed = tidy(detections, clips, labels, "detections", merge=True)
        warnings += [line for line in changed if line not in warnings]
        met = intersect(
            found,
            true_events,
            dtc=parameters.dtc,
            gtc=parameters.gtc,
            cttc=parameters.cttc if parameters.alpha_ct > 0 else None,
            decimals=decimals,
        )
        points.append(_counts(found, true_events, met, len(labels)))
    counts = np.stack(points) if points else np.zeros((0, len(labels), CT + len(labels)))
    events = sum_by(true_events.label, None, len(labels))
    seconds = sum_by(true_events.label, true_events.seconds, len(labels))
    hours = float(sum(durations.values())) / HOUR
    curves = {}
    for label in present:
        kinds = [FP, *(CT + other for other in present if other != label)]
        efpr = _efpr(
            {kind: counts[:, label, kind] for kind in kinds},
            seconds,
            hours,
            len(present),
            parameters,
        )
        tpr = counts[:, label, TP] / events[label]
        curves[labels[label]] = _curve(efpr, tpr, parameters)
    return _result(curves, labels, parameters, len(clips), warnings)


def _counts(found: EventArrays, true: EventArrays, met: Intersections, labels: int) -> Floats:
    """Counts of one operating point by class and kind, ``[C, 2 + C]``."""
    counts = np.zeros((labels, CT + labels))
    counts[:, TP] = sum_by(true.label[met.hit], None, labels)
    counts[:, FP] = sum_by(found.label[~met.relevant], None, labels)
    np.add.at(counts, (found.label[met.trigger], CT + met.triggered_by), 1)
    return counts


def _clips(
    scores: Mapping[str, ScoreTable], truth: Events, durations: Mapping[str, float], what: str
) -> tuple[str, ...]:
    """The clips that count, after all ids were compared."""
    check_clips(truth, scores, "truth", what)
    check_clips(scores, durations, what, "durations")
    check_clips(durations, scores, "durations", what)
    _check_durations(durations)
    return tuple(scores)


def _check_durations(durations: Mapping[str, float]) -> None:
    for clip, seconds in durations.items():
        if not (seconds > 0 and math.isfinite(seconds)):
            raise ScoreError(f"the duration of {clip} is {seconds} s", mend="It must be positive.")


def _efpr(
    counts: Mapping[int, Floats],
    seconds: Floats,
    hours: float,
    classes: int,
    parameters: PsdsParameters,
) -> Floats:
    """Effective false positives per hour: those of all audio, and the mean of cross triggers.

    Args:
        counts: ``FP`` and ``CT + k`` counts at each operating point.
        seconds: Seconds of truth of each class.
        hours: Hours of audio.
        classes: Number of classes with truth.
        parameters: For ``alpha_ct``.
    """
    rate = counts[FP] / hours
    if parameters.alpha_ct > 0 and classes > 1:
        triggers = [
            count / (seconds[kind - CT] / HOUR) for kind, count in counts.items() if kind >= CT
        ]
        rate = rate + parameters.alpha_ct * np.sum(triggers, axis=0) / (classes - 1)
    return np.asarray(rate)


def _curve(efpr: Floats, tpr: Floats, parameters: PsdsParameters) -> Curve:
    """The best rate reachable with at most so many false positives, from operating points."""
    efpr, tpr = np.append(0.0, efpr), np.append(0.0, tpr)
    order = np.lexsort((tpr, efpr))
    efpr, tpr = efpr[order], np.maximum.accumulate(tpr[order])
    last = np.append(efpr[1:] > efpr[:-1], True) & (efpr <= parameters.max_efpr)
    efpr, tpr = efpr[last], tpr[last]
    rising = np.append(True, tpr[1:] > tpr[:-1])
    return Curve(efpr[rising], tpr[rising])


def _result(
    curves: dict[str, Curve],
    labels: Sequence[str],
    parameters: PsdsParameters,
    clips: int,
    warnings: Iterable[str],
) -> PsdsResult:
    grid = np.unique(np.concatenate([curve.efpr for curve in curves.values()]))
    heights = np.stack([curve.at(grid) for curve in curves.values()])  # [C, N]
    steady = heights.mean(axis=0) - parameters.alpha_st * heights.std(axis=0)
    effective = Curve(grid, np.maximum(steady, 0.0))
    left_out = tuple(label for label in labels if label not in curves)
    missing = [f"classes without truth left out of the mean: {', '.join(left_out)}"]
    return PsdsResult(
        value=effective.area(parameters.max_efpr),
        per_class={label: curve.area(parameters.max_efpr) for label, curve in curves.items()},
        curves=curves,
        effective=effective,
        parameters=parameters,
        clips=clips,
        left_out=left_out,
        warnings=(*warnings, *(missing if left_out else ())),
    )
