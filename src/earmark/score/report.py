"""The metrics of one evaluation, under the keys that every report of the project uses."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any, TypedDict

import numpy as np

from earmark.core.errors import ScoreError
from earmark.core.scores import ScoreTable, common_labels
from earmark.score.bootstrap import Statistics, bootstrap
from earmark.score.events import Events, check_clips
from earmark.score.f1 import (
    F1Statistics,
    collar_statistics,
    intersection_statistics,
    segment_statistics,
)
from earmark.score.psds import PSDS1, PSDS2, PsdsStatistics, psds_statistics


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


def metrics_dict(
    scores: Mapping[str, ScoreTable],
    detections: Events,
    truth: Events,
    durations: Mapping[str, float],
    labels: Sequence[str],
    *,
    of: int,
    fingerprint: str,
    resamples: int = 0,
    seed: int = 0,
) -> dict[str, Any]:
    """Measure score tables and detections of the same clips.

    The clips that count are the keys of ``scores``; truth and durations of other clips are left
    aside, and so are clips that were listed but could not be scored (``of`` says how many
    there should have been).

    Args:
        scores: Score table of each clip, for PSDS1 and PSDS2.
        detections: Detections of the same clips, for the F1 scores.
        truth: Ground truth by clip id.
        durations: Seconds by clip id.
        labels: The classes, as in the score tables.
        of: Number of clips in the evaluation list.
        fingerprint: Identifies the data.
        resamples: Draws for 95 % intervals over clips; 0 leaves ``intervals`` empty.
        seed: Seed of the draws.

    Returns:
        ``psds1``, ``psds2``, ``collar_f1``, ``intersection_f1``, ``segment_f1`` (macro),
        ``per_class`` (metric → class → number; classes without truth are missing), ``intervals``
        (metric → [low, high]), ``clips``, ``of``, ``fingerprint``, ``parameters``; fit for JSON.

    Raises:
        ScoreError: If clips, classes or times do not fit together, or no class has truth.
    """
    found = common_labels(scores.items())
    if tuple(labels) != found:
        raise ScoreError(
            f"the score tables have the classes {', '.join(found)}, not {', '.join(labels)}"
        )
    check_clips(scores, durations, "scores", "durations")
    clips = tuple(scores)
    truth = {clip: truth.get(clip, ()) for clip in clips}
    seconds = {clip: durations[clip] for clip in clips}
    statistics: dict[str, Statistics] = {
        "psds1": psds_statistics(scores, truth, seconds, PSDS1),
        "psds2": psds_statistics(scores, truth, seconds, PSDS2),
        "collar_f1": collar_statistics(detections, truth, labels, clips=clips, **COLLAR),
        "intersection_f1": intersection_statistics(
            detections, truth, labels, clips=clips, **INTERSECTION
        ),
        "segment_f1": segment_statistics(detections, truth, labels, clips=clips, **SEGMENT),
    }
    values, per_class, warnings = _measure(statistics)
    intervals = {}
    if resamples:
        rng = np.random.default_rng(seed)
        ends = bootstrap(statistics, resamples=resamples, rng=rng, level=LEVEL)
        intervals = {name: list(interval) for name, interval in ends.items()}
    return {
        **values,
        "per_class": per_class,
        "intervals": intervals,
        "clips": len(clips),
        "of": of,
        "fingerprint": fingerprint,
        "parameters": _parameters(warnings, resamples, seed),
    }


def _measure(
    statistics: Mapping[str, PsdsStatistics | F1Statistics],
) -> tuple[dict[str, float], dict[str, dict[str, float]], list[str]]:
    """Each metric's value, its values by class, and all warnings, each once."""
    values, per_class = {}, {}
    warnings: dict[str, None] = {}
    for name, found in statistics.items():
        if isinstance(found, F1Statistics):
            measured = found.result()
            values[name], per_class[name] = measured.macro, measured.per_class
            warnings |= dict.fromkeys(measured.warnings)
        else:
            score = found.result()
            values[name], per_class[name] = score.value, score.per_class
            warnings |= dict.fromkeys(score.warnings)
    return values, per_class, list(warnings)


def _parameters(warnings: Sequence[str], resamples: int, seed: int) -> dict[str, Any]:
    return {
        "psds1": asdict(PSDS1),
        "psds2": asdict(PSDS2),
        "collar_f1": dict(COLLAR),
        "intersection_f1": dict(INTERSECTION),
        "segment_f1": dict(SEGMENT),
        "clips_without_events": "counted",
        "intervals": {"resamples": resamples, "seed": seed, "level": LEVEL} if resamples else None,
        "warnings": list(warnings),
    }
