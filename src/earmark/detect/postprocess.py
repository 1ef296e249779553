"""From scores to events: class-wise median filter, threshold, runs; or boxes, threshold.

Everything here is a pure function of a whole recording's scores; nothing depends on windows. The
median filter and cSEBB stand a second time in `earmark.detect.online`, where scores come block by
block and an event is given as soon as it is final; the property test
``test_running_and_offline_forms_give_the_same_events`` holds the two equal to the last bit.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import median_filter

from earmark.core.errors import ConfigError, ScoreError
from earmark.core.event import Event
from earmark.core.tables.scores import ScoreTable
from earmark.detect import csebb as boxes
from earmark.detect.joiner import NOISE, Joiner, Piece
from earmark.detect.postprocess_spec import LabelSettings as LabelSettings
from earmark.detect.postprocess_spec import PostProcess as PostProcess


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


def hooked(table: ScoreTable, settings: PostProcess) -> ScoreTable:
    """Returns the scores after the function of an installed package, if the settings name one.

    Args:
        table: Scores of a whole recording.
        settings: Of which ``hook`` is used.

    Raises:
        ConfigError: If the function fails, or gives something else than scores.
    """
    hook = settings.hook
    if hook is None:
        return table
    found = hook.call(table.values.copy(), table.boundaries.copy(), table.labels)
    fits = isinstance(found, np.ndarray) and found.shape == table.values.shape
    if not fits or found.dtype.kind != "f" or not np.all((found >= 0) & (found <= 1)):
        raise hook.refuse(found, f"scores in [0, 1], an array {list(table.values.shape)} of floats")
    return replace(table, values=found.astype(table.values.dtype))


def filter_table(table: ScoreTable, settings: PostProcess) -> ScoreTable:
    """Returns the table that metrics over all thresholds are computed on.

    The scores median-filtered class by class; or, with cSEBB, frames between the edges of all
    boxes, with the confidence inside a box and -inf outside; both after ``hook``, if there is one.
    Thresholds, gaps and durations have no part in it.

    Args:
        table: Scores of a whole recording; for the median filter in frames of equal length (the
            last may be shorter).
        settings: Of which ``method`` and ``median_seconds`` or ``csebb`` are used.

    Raises:
        ConfigError: If a class has no setting.
        ScoreError: If the frames are of unequal length and a class is to be filtered, or the
            scores are negative or infinite and boxes are to be found.
    """
    table = hooked(table, settings)
    if settings.method == "csebb":
        return boxes.box_table(table, boxes.table_boxes(table, settings.csebb))
    return _filtered(table, settings)


def _filtered(table: ScoreTable, settings: PostProcess) -> ScoreTable:
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


def scores_to_events(table: ScoreTable, settings: PostProcess) -> list[Event]:
    """Turns the scores of a whole recording into events.

    First ``hook``, if there is one; then each class by itself: median filter, strict threshold,
    runs of active frames; or boxes whose confidence is greater than the threshold; then short gaps
    closed, and events dropped that are too short or too long.

    Args:
        table: Scores [T, C] of a whole recording.
        settings: Post-processing of each class.

    Returns:
        Events sorted by onset, then offset and label. The score is the mean over the event of the
        scores before filtering, after ``hook``: of a box, its confidence (where a gap was closed,
        that of all it spans).

    Raises:
        ConfigError: If a class has no setting.
        ScoreError: If the frames are of unequal length and a class is to be filtered, or the
            scores are negative or infinite and boxes are to be found.
    """
    table = hooked(table, settings)
    if settings.method == "csebb":
        return _events_of_boxes(table, boxes.table_boxes(table, settings.csebb), settings)
    return _events_of_runs(table, _filtered(table, settings), settings)


def strongest(events: Sequence[Event], count: int) -> list[Event]:
    """The events with the highest scores, of equal ones the first; in order.

    Args:
        events: With scores.
        count: At most so many.
    """
    return sorted(sorted(events, key=lambda event: (-(event.score or 0.0), event))[:count])


def post_process(table: ScoreTable, settings: PostProcess) -> tuple[ScoreTable, list[Event]]:
    """The results of `filter_table` and `scores_to_events`, with boxes found only once.

    Arguments and errors as there.
    """
    table = hooked(table, settings)
    if settings.method == "csebb":
        found = boxes.table_boxes(table, settings.csebb)
        return boxes.box_table(table, found), _events_of_boxes(table, found, settings)
    filtered = _filtered(table, settings)
    return filtered, _events_of_runs(table, filtered, settings)


def _events_of_runs(table: ScoreTable, filtered: ScoreTable, settings: PostProcess) -> list[Event]:
    """Runs of frames above the threshold, short gaps closed, short runs dropped."""
    events: list[Event] = []
    edges = table.boundaries.tolist()
    for column, label in enumerate(table.labels):
        chosen = settings.for_label(label)

        def mean(first: Piece, last: Piece, column: int = column) -> float:
            # Summed exactly, so that it does not depend on how the scores came in.
            scores = table.values[first.begin : last.end, column]
            return math.fsum(scores) / len(scores)

        runs = active_runs(filtered.values[:, column] > chosen.threshold).tolist()
        pieces = (Piece(edges[begin], edges[end], begin, end) for begin, end in runs)
        events += Joiner(label, chosen, mean).join(pieces)
    return sorted(events)


def _events_of_boxes(table: ScoreTable, found: boxes.Boxes, settings: PostProcess) -> list[Event]:
    """Boxes of enough confidence, short gaps between them closed, short ones dropped."""
    events: list[Event] = []
    for column, label in enumerate(table.labels):
        chosen = settings.for_label(label)

        def mean(first: Piece, last: Piece, column: int = column) -> float:
            if first is last:
                return float(first.begin)
            return boxes.mean_between(table, column, first.onset, last.offset)

        kept = found.at((found.row == column) & (found.confidence > chosen.threshold))
        columns = (kept.onset, kept.offset, kept.confidence, kept.confidence)
        pieces = map(Piece, *(values.tolist() for values in columns))
        events += Joiner(label, chosen, mean).join(pieces)
    return sorted(events)
