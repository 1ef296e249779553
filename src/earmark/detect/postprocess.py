"""From scores to events: class-wise median filter, threshold, runs; or boxes, threshold.

Everything here is a pure function of a whole recording's scores; nothing depends on windows.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import median_filter

from earmark.core.errors import ConfigError, ScoreError
from earmark.core.event import Event
from earmark.core.tables.scores import ScoreTable
from earmark.detect import csebb as boxes
from earmark.detect.postprocess_spec import LabelSettings
from earmark.detect.postprocess_spec import PostProcess as PostProcess

NOISE = 1e-9  # s; differences of boundaries are exact only up to float rounding


def odd_frames(seconds: float, frame_seconds: float) -> int:
    """Returns the odd number of frames nearest to a time; the smaller of two, at least 1.

    An even filter has no centre: it lengthens a pulse of N frames to N + 1, on the right only.

    Args:
        seconds: Filter length in seconds, 0 or more.
        frame_seconds: Length of a frame in seconds.
    """
    return 2 * max(0, math.ceil(seconds / (2.0 * frame_seconds) - 1.0 - NOISE)) + 1


def median_filtered(
    scores: NDArray[np.floating], widths: NDArray[np.integer] | list[int]
) -> NDArray[np.floating]:
    """Filters each class with a running median along time, reflecting at both ends.

    Args:
        scores: Scores [T, C].
        widths: Filter lengths in frames [C], all odd.

    Returns:
        Filtered scores [T, C] of the same type.

    Raises:
        ConfigError: If a length is even or less than 1.
    """
    filtered = scores.copy()
    for column, width in enumerate(widths):
        if width < 1 or width % 2 == 0:
            raise ConfigError(f"a median filter of {width} frames has no centre")
        if width > 1:
            filtered[:, column] = median_filter(scores[:, column], size=int(width), mode="reflect")
    return filtered


def filter_table(table: ScoreTable, settings: PostProcess) -> ScoreTable:
    """Returns the table that metrics over all thresholds are computed on.

    The scores median-filtered class by class; or, with cSEBB, frames between the edges of all
    boxes, with the confidence inside a box and -inf outside. Thresholds, gaps and durations have
    no part in it.

    Args:
        table: Scores of a whole recording; for the median filter in frames of equal length (the
            last may be shorter).
        settings: Of which ``method`` and ``median_seconds`` or ``csebb`` are used.

    Raises:
        ConfigError: If a class has no setting.
        ScoreError: If the frames are of unequal length and a class is to be filtered, or the
            scores are negative or infinite and boxes are to be found.
    """
    if settings.method == "csebb":
        return boxes.box_table(table, boxes.table_boxes(table, settings.csebb))
    seconds = [settings.for_label(label).median_seconds for label in table.labels]
    if len(table.values) < 2 or not any(seconds):
        return table
    frame = _frame_seconds(table)
    values = median_filtered(table.values, [odd_frames(s, frame) for s in seconds])
    return ScoreTable(boundaries=table.boundaries, values=values, labels=table.labels)


def _frame_seconds(table: ScoreTable) -> float:
    """The common length of a table's frames."""
    lengths = np.diff(table.boundaries)
    frame = float(np.median(lengths[:-1]))
    if np.abs(lengths[:-1] - frame).max() > 0.01 * frame or lengths[-1] > 1.01 * frame:
        raise ScoreError(
            "a median filter needs frames of equal length",
            hint="Resample the score table, or set median_seconds to 0",
        )
    return frame


def active_runs(active: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Returns first frame and end (one past the last frame) of each run of True, [N, 2]."""
    edges = np.diff(np.concatenate([[False], active, [False]]).astype(np.int8))
    runs = np.stack([np.flatnonzero(edges == 1), np.flatnonzero(edges == -1)], axis=1)
    return runs.astype(np.int64)


def _joined(
    runs: NDArray[np.int64], boundaries: NDArray[np.float64], settings: LabelSettings
) -> list[tuple[int, int]]:
    """Closes short gaps between runs, then drops short runs; lengths in seconds."""
    joined: list[tuple[int, int]] = []
    for first, end in runs.tolist():
        gap = boundaries[first] - boundaries[joined[-1][1]] if joined else math.inf
        if gap < settings.min_gap_seconds - NOISE:
            joined[-1] = (joined[-1][0], end)
        else:
            joined.append((first, end))
    return [
        (first, end)
        for first, end in joined
        if boundaries[end] - boundaries[first] >= settings.min_duration_seconds - NOISE
    ]


def scores_to_events(table: ScoreTable, settings: PostProcess) -> list[Event]:
    """Turns the scores of a whole recording into events.

    Each class by itself: median filter, strict threshold, runs of active frames; or boxes whose
    confidence is greater than the threshold; then short gaps closed, short events dropped.

    Args:
        table: Scores [T, C] of a whole recording.
        settings: Post-processing of each class.

    Returns:
        Events sorted by onset, then offset and label. The score is the mean over the event of the
        scores before filtering: of a box, its confidence (where a gap was closed, that of all it
        spans).

    Raises:
        ConfigError: If a class has no setting.
        ScoreError: If the frames are of unequal length and a class is to be filtered, or the
            scores are negative or infinite and boxes are to be found.
    """
    if settings.method == "csebb":
        return _events_of_boxes(table, boxes.table_boxes(table, settings.csebb), settings)
    return _events_of_runs(table, filter_table(table, settings), settings)


def post_process(table: ScoreTable, settings: PostProcess) -> tuple[ScoreTable, list[Event]]:
    """The results of `filter_table` and `scores_to_events`, with boxes found only once.

    Arguments and errors as there.
    """
    if settings.method == "csebb":
        found = boxes.table_boxes(table, settings.csebb)
        return boxes.box_table(table, found), _events_of_boxes(table, found, settings)
    filtered = filter_table(table, settings)
    return filtered, _events_of_runs(table, filtered, settings)


def _events_of_runs(table: ScoreTable, filtered: ScoreTable, settings: PostProcess) -> list[Event]:
    """Runs of frames above the threshold, short gaps closed, short runs dropped."""
    events: list[Event] = []
    for column, label in enumerate(table.labels):
        chosen = settings.for_label(label)
        runs = active_runs(filtered.values[:, column] > chosen.threshold)
        for first, end in _joined(runs, table.boundaries, chosen):
            # Summed exactly, so that it does not depend on how the scores came in.
            score = math.fsum(table.values[first:end, column]) / (end - first)
            onset, offset = float(table.boundaries[first]), float(table.boundaries[end])
            events.append(Event(onset, offset, label, score))
    return sorted(events)


def _events_of_boxes(table: ScoreTable, found: boxes.Boxes, settings: PostProcess) -> list[Event]:
    """Boxes of enough confidence, short gaps between them closed, short ones dropped."""
    events: list[Event] = []
    for column, label in enumerate(table.labels):
        chosen = settings.for_label(label)
        kept = np.flatnonzero((found.row == column) & (found.confidence > chosen.threshold))
        edges = np.stack([found.onset[kept], found.offset[kept]], axis=1).ravel()
        runs = np.arange(len(edges), dtype=np.int64).reshape(-1, 2)
        for first, end in _joined(runs, edges, chosen):
            onset, offset = float(edges[first]), float(edges[end])
            score = float(found.confidence[kept[first // 2]])
            if end > first + 1:  # a closed gap: what it spans has another mean
                score = boxes.mean_between(table, column, onset, offset)
            events.append(Event(onset, offset, label, score))
    return sorted(events)
