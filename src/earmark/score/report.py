"""The metrics of one evaluation, under the keys that every report of the project uses."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from typing import Any, Literal, TypedDict

import numpy as np

from earmark.core.errors import ScoreError
from earmark.core.scores import ScoreTable, common_labels
from earmark.score.best import (
    BestF1,
    SweepStatistics,
    best_collar_statistics,
    best_intersection_statistics,
    best_segment_statistics,
)
from earmark.score.bootstrap import Statistics, bootstrap
from earmark.score.events import Events, check_clips
from earmark.score.f1 import (
    F1Statistics,
    collar_statistics,
    intersection_statistics,
    segment_statistics,
)
from earmark.score.fingerprint import evaluation_fingerprint
from earmark.score.psds import PSDS1, PSDS2, PsdsStatistics, several_statistics
from earmark.score.tagging import PrecisionStatistics, tag_statistics, tagging_statistics


class _Collar(TypedDict):
    onset_collar: float
    offset_collar: float
    offset_share: float


class _Intersection(TypedDict):
    dtc: float
    gtc: float


class _Segment(TypedDict):
    segment_seconds: float


COLLAR: _Collar = {"onset_collar": 0.2, "offset_collar": 0.2, "offset_share": 0.2}
INTERSECTION: _Intersection = {"dtc": 0.5, "gtc": 0.5}
SEGMENT: _Segment = {"segment_seconds": 1.0}
LEVEL = 0.95

Scores = Mapping[str, ScoreTable]
Progress = Callable[[int, int], None]


def metrics_dict(
    scores: Scores | None,
    detections: Events,
    truth: Events,
    durations: Mapping[str, float],
    labels: Sequence[str],
    *,
    of: int,
    fingerprint: str | None = None,
    resamples: int = 0,
    seed: int = 0,
    drop_eventless: bool = False,
    ct_mean: Literal["others", "old"] = "others",
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Measure score tables and detections of the same clips.

    The clips that count are the keys of ``scores`` (of ``durations`` if there are only
    detections); truth and durations of other clips are left aside, and so are clips that were
    listed but could not be scored (``of`` says how many there should have been).

    Args:
        scores: Score table of each clip, for PSDS and best-threshold scores; ``None`` leaves out
            what cannot be had without.
        detections: Detections of the same clips, for the F1 scores.
        truth: Ground truth by clip id.
        durations: Seconds by clip id.
        labels: The classes, as in the score tables.
        of: Number of clips in the evaluation list.
        fingerprint: Identifies the data; that of the evaluation itself if not given.
        resamples: Draws for 95 % intervals over clips; 0 leaves ``intervals`` empty.
        seed: Seed of the draws.
        drop_eventless: Whether to leave out clips without truth, from every metric.
        ct_mean: Over which classes PSDS2 averages cross triggers: the ``"others"``, or all
            (``"old"``), as papers did until 2022.
        progress: Called with draws done and draws in all.

    Returns:
        Macro scores ``psds1``, ``psds2``, ``collar_f1``, ``intersection_f1``, ``segment_f1``,
        ``tagging_f1``, ``tagging_map``; of the F1 scores ``…_micro``, ``…_best`` (each class at its
        best threshold) and ``…_best_micro``; ``per_class`` (metric → class → number; classes
        without truth are missing), ``thresholds`` (metric → class → best threshold, ``None`` if
        not finite), ``intervals`` (metric → [low, high]), ``clips``, ``of``, ``fingerprint``,
        ``evaluation`` (fingerprint of clips, truth, durations, classes and parameters),
        ``parameters``, ``warnings``; fit for JSON.

    Raises:
        ScoreError: If clips, classes or times do not fit together, or no class has truth.
    """
    statistics, notes = _statistics(
        scores, detections, truth, durations, labels, drop_eventless, ct_mean
    )
    clips = next(iter(statistics.values())).clips
    parameters = _parameters(drop_eventless, ct_mean)
    found = measure(statistics)
    warnings = [*notes, *(line for line in found.warnings if line not in notes)]
    intervals = {}
    if resamples:
        rng = np.random.default_rng(seed)
        ends = bootstrap(statistics, resamples=resamples, rng=rng, level=LEVEL, progress=progress)
        intervals = {name: list(interval) for name, interval in ends.items()}
    evaluation = evaluation_fingerprint(clips, truth, durations, labels, parameters)
    drawn = {"resamples": resamples, "seed": seed, "level": LEVEL} if resamples else None
    return {
        **found.values,
        "per_class": found.per_class,
        "thresholds": found.thresholds,
        "intervals": intervals,
        "clips": len(clips),
        "of": of,
        "fingerprint": evaluation if fingerprint is None else fingerprint,
        "evaluation": evaluation,
        "parameters": {**parameters, "intervals": drawn, "warnings": warnings},
        "warnings": warnings,
    }


def metric_statistics(
    scores: Scores | None,
    detections: Events,
    truth: Events,
    durations: Mapping[str, float],
    labels: Sequence[str],
    *,
    drop_eventless: bool = False,
    ct_mean: Literal["others", "old"] = "others",
) -> dict[str, Statistics]:
    """What :func:`metrics_dict` computes its numbers from, by metric: to compare systems with.

    Arguments and errors as there.
    """
    return _statistics(scores, detections, truth, durations, labels, drop_eventless, ct_mean)[0]


@dataclasses.dataclass(frozen=True)
class Measured:
    """Numbers of several metrics: macro and micro, by class, best thresholds, and warnings."""

    values: dict[str, float]
    per_class: dict[str, dict[str, float]]
    thresholds: dict[str, dict[str, float | None]]
    warnings: list[str]


def measure(statistics: Mapping[str, Statistics]) -> Measured:
    """The numbers of each metric, every clip counted once."""
    found = Measured({}, {}, {}, [])
    for name, given in statistics.items():
        warnings: tuple[str, ...] = ()
        if isinstance(given, F1Statistics | SweepStatistics):
            f1 = given.result()
            found.values[name], found.values[f"{name}_micro"] = f1.macro, f1.micro
            found.per_class[name], warnings = f1.per_class, f1.warnings
            if isinstance(f1, BestF1):
                found.thresholds[name] = {
                    label: value if math.isfinite(value) else None
                    for label, value in f1.thresholds.items()
                }
        if isinstance(given, PsdsStatistics):
            psds = given.result()
            found.values[name], found.per_class[name] = psds.value, psds.per_class
            warnings = psds.warnings
        if isinstance(given, PrecisionStatistics):
            precision = given.result()
            found.values[name], found.per_class[name] = precision.mean, precision.per_class
        found.warnings.extend(line for line in warnings if line not in found.warnings)
    return found


def _statistics(
    scores: Scores | None,
    detections: Events,
    truth: Events,
    durations: Mapping[str, float],
    labels: Sequence[str],
    drop_eventless: bool,
    ct_mean: Literal["others", "old"],
) -> tuple[dict[str, Statistics], list[str]]:
    """Statistics by metric, and what was left out before any was made."""
    labels = tuple(labels)
    if scores is not None:
        found = common_labels(scores.items())
        if labels != found:
            raise ScoreError(
                f"the score tables have the classes {', '.join(found)}, not {', '.join(labels)}"
            )
        check_clips(scores, durations, "scores", "durations")
    clips = tuple(durations if scores is None else scores)
    check_clips(detections, set(clips), "detections", "clips that count")
    notes = []
    if drop_eventless:
        kept = tuple(clip for clip in clips if any(b > a for a, b, _ in truth.get(clip, ())))
        notes.append(f"{len(clips) - len(kept)} clips without events dropped")
        clips = kept
    truth = {clip: truth.get(clip, ()) for clip in clips}
    detections = {clip: detections.get(clip, ()) for clip in clips}
    statistics = _of_detections(detections, truth, labels, clips)
    if scores is None:
        return statistics, notes
    tables = {clip: scores[clip] for clip in clips}
    seconds = {clip: durations[clip] for clip in clips}
    return _of_scores(tables, truth, seconds, ct_mean) | statistics | _best(
        tables, truth, seconds
    ), notes  # fmt: skip


def _of_scores(
    scores: Scores, truth: Events, durations: Mapping[str, float], ct_mean: Literal["others", "old"]
) -> dict[str, Statistics]:
    second = dataclasses.replace(PSDS2, ct_mean=ct_mean)
    psds1, psds2 = several_statistics(scores, truth, durations, [PSDS1, second])
    return {"psds1": psds1, "psds2": psds2}


def _of_detections(
    detections: Events, truth: Events, labels: Sequence[str], clips: Sequence[str]
) -> dict[str, Statistics]:
    given = detections, truth, labels
    return {
        "collar_f1": collar_statistics(*given, clips=clips, **COLLAR),
        "intersection_f1": intersection_statistics(*given, clips=clips, **INTERSECTION),
        "segment_f1": segment_statistics(*given, clips=clips, **SEGMENT),
        "tagging_f1": tag_statistics(*given, clips),
    }


def _best(scores: Scores, truth: Events, durations: Mapping[str, float]) -> dict[str, Statistics]:
    given = scores, truth, durations
    tags = tagging_statistics(scores, truth)
    return {
        "collar_f1_best": best_collar_statistics(*given, **COLLAR),
        "intersection_f1_best": best_intersection_statistics(*given, **INTERSECTION),
        "segment_f1_best": best_segment_statistics(*given, **SEGMENT),
        "tagging_f1_best": tags.best,
        "tagging_map": tags.average_precision,
    }


def _parameters(drop_eventless: bool, ct_mean: Literal["others", "old"]) -> dict[str, Any]:
    return {
        "psds1": asdict(PSDS1),
        "psds2": asdict(dataclasses.replace(PSDS2, ct_mean=ct_mean)),
        "collar_f1": dict(COLLAR),
        "intersection_f1": dict(INTERSECTION),
        "segment_f1": dict(SEGMENT),
        "clips_without_events": "dropped" if drop_eventless else "counted",
    }
