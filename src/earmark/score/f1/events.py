"""F1 of detections at one threshold: by collars, by segments, by intersection.

One function counts by any criterion (`f1_statistics`); the others are it with the usual settings.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Literal

import numpy as np

from earmark.core.errors import ScoreError
from earmark.core.event import Event
from earmark.core.tables.scores import ScoreTable
from earmark.score.events import TIME_DECIMALS, Events, Floats, check_clips, tidy
from earmark.score.f1.collars import CollarCriterion
from earmark.score.f1.counts import F1Result, F1Statistics
from earmark.score.f1.intersections import IntersectionCriterion
from earmark.score.f1.segments import SegmentCriterion

Criterion = CollarCriterion | IntersectionCriterion | SegmentCriterion
"""When detections and true events agree. ``count`` counts them at one threshold, ``steps`` (of
intersections `psds_statistics`) at all; ``merge`` says whether overlaps of a class are made one."""
CriterionName = Literal["collar", "intersection", "segment"]
CRITERIA: dict[CriterionName, Criterion] = {
    "collar": CollarCriterion(),
    "intersection": IntersectionCriterion(),
    "segment": SegmentCriterion(),
}
"""With the settings that are usual, which are those of every report."""


def detections_from_scores(
    scores: Mapping[str, ScoreTable], threshold: float | Mapping[str, float] = 0.5
) -> dict[str, list[Event]]:
    """Detections: the maximal runs of frames with score > threshold.

    Args:
        scores: Score table of each clip, by clip id.
        threshold: One for all classes, or one per label.

    Returns:
        Detections of each clip by onset; every clip is a key.

    Raises:
        ScoreError: If a label has no threshold.
    """
    found: dict[str, list[Event]] = {}
    for clip, table in scores.items():
        limits = thresholds_of(table.labels, threshold)
        active = np.pad(table.values > limits, ((1, 1), (0, 0))).astype(np.int8)  # [T + 2, C]
        edges = np.diff(active, axis=0).T  # [C, T + 1]
        label, start = np.nonzero(edges == 1)
        _, end = np.nonzero(edges == -1)
        onsets, offsets = table.boundaries[start].tolist(), table.boundaries[end].tolist()
        names = [table.labels[number] for number in label]
        found[clip] = sorted(map(Event, onsets, offsets, names))
    return found


def thresholds_of(labels: Sequence[str], threshold: float | Mapping[str, float]) -> Floats:
    """One threshold for each label ``[C]``.

    Raises:
        ScoreError: If a label has none.
    """
    if not isinstance(threshold, Mapping):
        return np.full(len(labels), threshold, dtype=np.float64)
    missing = [label for label in labels if label not in threshold]
    if missing:
        raise ScoreError(
            f"no threshold for {', '.join(missing)}",
            hint="Give one for every label, or one number.",
        )
    return np.array([threshold[label] for label in labels], dtype=np.float64)


def f1_statistics(
    detections: Events,
    truth: Events,
    labels: Sequence[str],
    criterion: Criterion,
    *,
    clips: Collection[str] | None = None,
) -> F1Statistics:
    """Counts of each clip and class, from which an F1 can be computed with any weights.

    Args:
        detections: Detections by clip id.
        truth: Ground truth by clip id.
        labels: The classes.
        criterion: When a detection is right.
        clips: The clips that count; any other id is an error. All that occur, if not given.

    Raises:
        ScoreError: If clips, classes or times do not fit together.
    """
    if clips is None:
        clips = sorted({*detections, *truth})
    check_clips(detections, clips, "detections", "clips that count")
    check_clips(truth, clips, "truth", "clips that count")
    names = list(dict.fromkeys(clips))
    found, changed = tidy(detections, names, labels, "detections", merge=criterion.merge)
    true, more = tidy(truth, names, labels, "truth", merge=criterion.merge)
    owners = criterion.count(found, true, names, len(labels))
    return F1Statistics.count(labels, names, owners, changed + more)


def collar_f1(
    detections: Events,
    truth: Events,
    labels: Sequence[str],
    *,
    clips: Collection[str] | None = None,
    onset_collar: float = 0.2,
    offset_collar: float = 0.2,
    offset_share: float = 0.2,
    decimals: int | None = TIME_DECIMALS,
) -> F1Result:
    """Event-based F1: a detection hits an event of its class if both its ends are near enough.

    Detections and events are matched one to one, as many as possible.

    Args:
        detections: Detections by clip id.
        truth: Ground truth by clip id.
        labels: The classes.
        clips: The clips that count; any other id is an error. All that occur, if not given.
        onset_collar: Largest difference of onsets in seconds.
        offset_collar: Largest difference of offsets in seconds, or …
        offset_share: … this fraction of the true event's length, whichever is larger.
        decimals: Rounding of compared times; ``None`` compares raw floats, as sed_eval does.

    Raises:
        ScoreError: If clips, classes or times do not fit together, or no class has truth.
    """
    criterion = CollarCriterion(onset_collar, offset_collar, offset_share, decimals)
    return f1_statistics(detections, truth, labels, criterion, clips=clips).result()


def segment_f1(
    detections: Events,
    truth: Events,
    labels: Sequence[str],
    *,
    clips: Collection[str] | None = None,
    durations: Mapping[str, float] | None = None,
    segment_seconds: float = 1.0,
) -> F1Result:
    """Segment-based F1: a class is active in a segment if any stretch of an event lies in it.

    Args:
        detections: Detections by clip id.
        truth: Ground truth by clip id.
        labels: The classes.
        clips: The clips that count; any other id is an error. All that occur, if not given.
        durations: Seconds of each clip; segments that start later do not count (sed_scores_eval's
            convention). Without them every segment counts (sed_eval's convention).
        segment_seconds: Length of a segment.

    Raises:
        ScoreError: If clips, classes or times do not fit together, or no class has truth.
    """
    criterion = SegmentCriterion(segment_seconds, durations)
    return f1_statistics(detections, truth, labels, criterion, clips=clips).result()


def intersection_f1(
    detections: Events,
    truth: Events,
    labels: Sequence[str],
    *,
    clips: Collection[str] | None = None,
    dtc: float = 0.5,
    gtc: float = 0.5,
    decimals: int | None = TIME_DECIMALS,
) -> F1Result:
    """Intersection-based F1, with the criteria of PSDS at one threshold.

    Args:
        detections: Detections by clip id.
        truth: Ground truth by clip id.
        labels: The classes.
        clips: The clips that count; any other id is an error. All that occur, if not given.
        dtc: Detection tolerance criterion ρ_DTC.
        gtc: Ground-truth intersection criterion ρ_GTC.
        decimals: Rounding of compared times; ``None`` compares as psds_eval does.

    Raises:
        ScoreError: If clips, classes or times do not fit together, or no class has truth.
    """
    criterion = IntersectionCriterion(dtc, gtc, decimals)
    return f1_statistics(detections, truth, labels, criterion, clips=clips).result()
