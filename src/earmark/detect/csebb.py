"""cSEBB: sound event bounding boxes by change detection.

Ebbers, Germain, Wichern, Le Roux, "Sound Event Bounding Boxes", Interspeech 2024
(arXiv:2406.04212). A frame-wise threshold decides presence and extent of an event together: a
lower threshold finds more events and makes each of them longer. Here the extent is found first,
from where the scores change, and each box has one confidence, so that a threshold decides
presence alone. Written from the paper; nothing here is from its implementation.

cSEBB stands twice on purpose: here with arrays over a whole recording, which is many times as fast,
and in `earmark.detect.online.csebb` for one that still runs. The formulas are shared, and the
property test ``test_running_and_offline_forms_give_the_same_events`` holds both equal to the last
bit.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import numpy as np

from earmark.core.errors import ScoreError
from earmark.core.event import Event
from earmark.core.tables.scores import ScoreTable
from earmark.detect.postprocess_spec import ByLabel, of_label
from earmark.detect.postprocess_spec import CsebbSettings as CsebbSettings
from earmark.score.events import Bools, Columns, Floats, Ints
from earmark.score.psds.runs import ragged

POINT_DECIMALS = 8
"""Break points are rounded to so many decimals of a second, …"""
POINT_SECONDS = 1e-7
"""… and one nearer than this to the one before is the same point."""
SOFTENING = 1e-3
"""Added to both scores of a ratio, so that quiet noise does not count as a large relative drop."""
CONFIDENCE_DECIMALS = 12
"""Confidences differ by float noise in their last places; equal ones must stay equal."""
TIE = 1e-12
"""Slopes of this fraction of the scores they are made of are float noise: level ground. A fall this
near to a merge threshold is equal to it."""
CELLS = 1_000_000
"""Rows × break points handled together: keeps the working arrays in tens of MB."""
PLAN_FRAMES = 4096
"""Break points of tables up to this length are remembered for the next clip."""


@dataclass(frozen=True)
class Boxes(Columns):
    """N boxes of several rows of scores, row by row and in time.

    Args:
        row: Which row each box is of ``[N]``.
        onset: Start in seconds ``[N]``.
        offset: End in seconds ``[N]``; the boxes of a row do not touch.
        confidence: Mean score over the box ``[N]``.
    """

    row: Ints
    onset: Floats
    offset: Floats
    confidence: Floats


@dataclass(frozen=True)
class _Plan:
    """What the break points of T frames are, whatever the scores.

    Args:
        points: The M times at which the step filter's slope can change.
        now: Frame of each piece between two points ``[M - 1]``; T stands for silence.
        later: Frame half a step later ``[M - 1]``.
        earlier: Frame half a step earlier ``[M - 1]``.
        first: First frame of what starts at a point ``[M]``.
        last: One past the last frame of what ends at a point ``[M]``.
        into: Seconds from the start of frame ``first`` to the point ``[M]``.
    """

    points: Floats
    now: Ints
    later: Ints
    earlier: Ints
    first: Ints
    last: Ints
    into: Floats

    @classmethod
    def build(cls, edges: Floats, step: float) -> _Plan:
        half, frames = step / 2, len(edges) - 1
        points = break_points(edges, half)
        start, end = edges[[0, -1]]
        points = points[(points > start + POINT_SECONDS) & (points < end - POINT_SECONDS)]
        points = np.concatenate([[start], points, [end]])
        # The ends stand for themselves, to the last bit; of near points inside, the first stays.
        points = points[np.append(True, np.diff(points) >= POINT_SECONDS)]
        middles = (points[1:] + points[:-1]) / 2
        now, later, earlier = (frames_of(edges, middles + by) for by in (0.0, half, -half))
        first = np.searchsorted(edges, points + POINT_SECONDS, side="right") - 1
        first = np.minimum(first, frames - 1)
        last = np.searchsorted(edges, points - POINT_SECONDS, side="left")
        return cls(points, now, later, earlier, first, last, points - edges[first])


def break_points(edges: Floats, half: float) -> Floats:
    """Times at which the slope of a step filter of twice ``half`` can change, in order."""
    return np.unique(np.concatenate([edges, edges + half, edges - half]).round(POINT_DECIMALS))


def frames_of(edges: Floats, times: Floats) -> Ints:
    """The frames of T that times are in; T stands for the silence before and after them."""
    frames = len(edges) - 1
    found = np.searchsorted(edges, times, side="right") - 1
    return np.where((found < 0) | (found >= frames), frames, found).astype(np.int64)


def rises(now: Floats, later: Floats, earlier: Floats) -> Bools:
    """Where the step filter rises, from the scores now, half a step later and half a step earlier.

    The arrays are used for the result's sake.
    """
    now *= 2
    later += earlier
    return np.asarray(later - now > TIE * (later + now))


def is_shallow(peak: Any, low: Any, absolute: Any, relative: Any) -> Any:
    """Whether a gap between candidates is closed, by the higher peak and its lowest score.

    A fall of exactly a limit is not below it: of scores with few decimals many are, and the last
    bit of 0.6 - 0.4 must not decide.
    """
    ratio = (peak + SOFTENING) / (low + SOFTENING)
    return (absolute - (peak - low) > TIE) & (relative - ratio > TIE * ratio)


@lru_cache(maxsize=32)
def _remembered_plan(edges: bytes, step: float) -> _Plan:
    return _Plan.build(np.frombuffer(edges), step)


def _plan(edges: Floats, step: float) -> _Plan:
    if len(edges) > PLAN_FRAMES:  # one recording: nothing to remember it for
        return _Plan.build(edges, step)
    return _remembered_plan(edges.tobytes(), step)


@dataclass(frozen=True)
class Candidates:
    """The boxes of several rows before any are merged, for one length of the step filter.

    Args:
        row: Which row each of the K candidates is of ``[K]``.
        onset: Start in seconds ``[K]``.
        offset: End in seconds ``[K]``.
        highest: Highest score in it ``[K]``.
        lowest: Lowest score in the gap before the next candidate of its row ``[K - 1]``; -inf
            where the next one is of another row.
        before: Integral of the row's scores up to the onset ``[K]``.
        upto: Integral of the row's scores up to the offset ``[K]``.
    """

    row: Ints
    onset: Floats
    offset: Floats
    highest: Floats
    lowest: Floats
    before: Floats
    upto: Floats

    @classmethod
    def find(cls, edges: Floats, rows: Floats, step: float) -> Candidates:
        """Finds where scores rise and fall.

        The step filter δ(t) = (2/L)(P(t + L/2) − 2 P(t) + P(t − L/2)), P the integral of the
        scores, is linear between its break points, so only the signs of its slopes are needed:
        2 s(t) against s(t + L/2) + s(t − L/2). An onset is a local maximum of δ, the offset that
        belongs to it the next local minimum, or the end.

        Args:
            edges: Edges of the frames in seconds ``[T + 1]``.
            rows: Scores ``[R, T]``, finite and 0 or more; before and after them all is 0.
            step: Length of the step filter in seconds.
        """
        plan = _plan(edges, step)
        frames = rows.shape[1]
        padded = np.concatenate([rows, np.zeros((len(rows), 1))], axis=1)  # [R, T + 1]
        turns = _turns(padded, plan)
        row, point = np.nonzero(turns)
        row, onset, offset = row[::2], point[::2], point[1::2]
        start = row * (frames + 1)
        flat = padded.ravel()
        highest = _over(np.maximum, flat, start + plan.first[onset], start + plan.last[offset])
        lowest = np.full(max(len(row) - 1, 0), -np.inf)
        inner = np.flatnonzero(row[1:] == row[:-1])
        lowest[inner] = _over(
            np.minimum,
            flat,
            start[inner] + plan.first[offset[inner]],
            start[inner] + plan.last[onset[inner + 1]],
        )
        integral = np.zeros((len(rows), frames + 1))
        np.cumsum(rows * np.diff(edges), axis=1, out=integral[:, 1:])
        area = integral.ravel()

        def upto(point: Ints) -> Floats:
            place = start + plan.first[point]
            return np.asarray(area[place] + flat[place] * plan.into[point])

        times = plan.points[onset], plan.points[offset]
        return cls(row, *times, highest, lowest, upto(onset), upto(offset))

    @classmethod
    def joined(cls, parts: Sequence[Candidates], rows: Sequence[Ints]) -> Candidates:
        """Candidates of several sets of rows.

        Args:
            parts: The candidates of each set.
            rows: The number that each row of each set shall have ``[R]``.
        """
        columns: dict[str, Floats] = {
            name: np.concatenate([np.zeros(0), *(getattr(part, name) for part in parts)])
            for name in ("onset", "offset", "highest", "before", "upto")
        }
        gaps = [np.append(part.lowest, -np.inf) for part in parts if len(part.row)]
        lowest = np.concatenate([np.zeros(0), *gaps])[:-1]
        numbers = [names[part.row] for part, names in zip(parts, rows, strict=True)]
        row = np.concatenate([np.zeros(0, dtype=np.int64), *numbers])
        return cls(row=row, lowest=lowest, **columns)

    def merged(self, absolute: float | Floats, relative: float | Floats) -> Boxes:
        """Joins neighbours across shallow gaps; all gaps are judged before any is closed.

        Args:
            absolute: Largest fall of the scores, one number or one for each row ``[R]``.
            relative: Largest ratio of the scores, likewise.
        """
        if not len(self.row):
            return Boxes(self.row, self.onset, self.offset, self.highest)
        peak = np.maximum(self.highest[1:], self.highest[:-1])
        inner = self.row[1:] == self.row[:-1]
        fall, times = (
            limit[self.row[1:]] if isinstance(limit, np.ndarray) else limit
            for limit in (absolute, relative)
        )
        low = np.where(inner, self.lowest, 0.0)
        joined = inner & is_shallow(peak, low, fall, times)
        first, last = np.append(True, ~joined), np.append(~joined, True)
        onset, offset = self.onset[first], self.offset[last]
        confidence = (self.upto[last] - self.before[first]) / (offset - onset)
        return Boxes(self.row[first], onset, offset, confidence.round(CONFIDENCE_DECIMALS))


def _turns(padded: Floats, plan: _Plan) -> Bools:
    """Where each row's candidates start and end by turns: an even number in ``[R, M]``."""
    rising = rises(*(padded[:, frames] for frames in (plan.now, plan.later, plan.earlier)))
    turns = np.empty((len(padded), len(plan.points)), dtype=np.bool_)
    # δ counts as rising before its first point: if it falls from there, that is a maximum.
    turns[:, 0] = ~rising[:, 0]
    np.not_equal(rising[:, 1:], rising[:, :-1], out=turns[:, 1:-1])
    turns[:, -1] = np.count_nonzero(turns[:, :-1], axis=1) % 2 == 1
    return turns


def _over(what: np.ufunc, flat: Floats, start: Ints, end: Ints) -> Floats:
    """The maximum or minimum of each stretch ``flat[start:end]``, none of them empty."""
    if not len(start):
        return np.zeros(0)
    found: Floats = what.reduceat(flat, np.stack([start, end], axis=1).ravel())[::2]
    return found


def find_candidates(edges: Floats, rows: Floats, step: float) -> Candidates:
    """`Candidates.find`, but with working arrays of a bounded size whatever the number of rows."""
    size = max(1, CELLS // (3 * len(edges)))
    firsts = range(0, len(rows), size)
    parts = [Candidates.find(edges, rows[first : first + size], step) for first in firsts]
    return Candidates.joined(parts, [np.arange(first, first + size) for first in firsts])


def score_rows(table: ScoreTable, where: str | None = None) -> tuple[Floats, Bools]:
    """A table's scores class by class, fit for `Candidates.find`.

    Args:
        table: Scores ``[T, C]`` of a whole recording.
        where: Its clip, for errors.

    Returns:
        Scores ``[C, T]``, and which classes are there at all ``[C]``: one that is -inf in every
        frame is never active and has no boxes.

    Raises:
        ScoreError: If scores are infinite or negative.
    """
    rows = table.values.T.astype(np.float64)
    there = np.ones(len(rows), dtype=np.bool_)
    if not (rows.min() >= 0 and rows.max() < np.inf):
        there = ~(rows == -np.inf).all(axis=1)
        rows[~there] = 0.0
        wrong = np.argwhere(~((rows >= 0) & (rows < np.inf)))
        if len(wrong):
            row, frame = wrong[0]
            raise ScoreError(
                f"the score of {table.labels[row]} is {rows[row, frame]:g} in frame {frame + 1}; "
                "cSEBB needs finite scores of 0 or more",
                where=where,
                hint="Give probabilities, without other post-processing",
            )
    return rows, there


def table_boxes(table: ScoreTable, settings: ByLabel) -> Boxes:
    """Boxes of a recording, by the number of their class; class by class and in time.

    Args:
        table: Unfiltered scores ``[T, C]`` of a whole recording, in frames of any length.
        settings: For all classes, or by label.

    Raises:
        ConfigError: If a class has no setting.
        ScoreError: If scores are infinite or negative.
    """
    chosen = [of_label("csebb", settings, label) for label in table.labels]
    rows, there = score_rows(table)
    absolute, relative = (
        np.array([getattr(one, name) for one in chosen]) for name in ("absolute", "relative")
    )
    steps = np.array([one.step_seconds for one in chosen])
    parts = []
    for step in np.unique(steps[there]).tolist():
        members = np.flatnonzero((steps == step) & there)
        candidates = find_candidates(table.boundaries, rows[members], step)
        boxes = candidates.merged(absolute[members], relative[members])
        parts.append(replace(boxes, row=members[boxes.row]))
    if not parts:
        return Boxes(np.zeros(0, dtype=np.int64), *np.zeros((3, 0)))
    found = Boxes.joined(parts)
    return found.at(np.argsort(found.row, kind="stable"))


def mean_between(table: ScoreTable, column: int, onset: float, offset: float) -> float:
    """Mean over time of one class's scores, rounded as a box's confidence is."""
    edges, scores = table.boundaries, table.values[:, column].astype(np.float64)
    area = np.concatenate([[0.0], np.cumsum(scores * np.diff(edges))])
    times = np.array([onset, offset])
    frame = np.searchsorted(edges, times + POINT_SECONDS, side="right") - 1
    frame = np.minimum(frame, len(scores) - 1)
    upto = area[frame] + scores[frame] * (times - edges[frame])
    return float(((upto[1] - upto[0]) / (offset - onset)).round(CONFIDENCE_DECIMALS))


def sound_event_boxes(table: ScoreTable, settings: ByLabel) -> list[Event]:
    """Sound event bounding boxes of a recording, whatever their confidence.

    Args:
        table: Unfiltered scores ``[T, C]`` of a whole recording, in frames of any length.
        settings: For all classes, or by label.

    Returns:
        Boxes as events, whose scores are their confidence; sorted. Many boxes of little
        confidence are normal.

    Raises:
        ConfigError: If a class has no setting.
        ScoreError: If scores are infinite or negative.
    """
    return sorted(_events(table_boxes(table, settings), table.labels))


def _events(boxes: Boxes, labels: Sequence[str]) -> Iterator[Event]:
    columns = (boxes.row, boxes.onset, boxes.offset, boxes.confidence)
    for row, onset, offset, confidence in zip(*(one.tolist() for one in columns), strict=True):
        yield Event(onset, offset, labels[row], confidence)


def box_table(table: ScoreTable, boxes: Boxes) -> ScoreTable:
    """Boxes as a score table, which any metric over thresholds takes.

    Args:
        table: The recording's scores, for its ends and labels.
        boxes: Of `table_boxes`.

    Returns:
        Frames between all edges of boxes; the confidence within a box, -inf outside.
    """
    ends = table.boundaries[[0, -1]]
    edges = np.unique(np.concatenate([ends, boxes.onset, boxes.offset]))
    values = np.full((len(edges) - 1, len(table.labels)), -np.inf)
    first, last = np.searchsorted(edges, boxes.onset), np.searchsorted(edges, boxes.offset)
    frame, box = ragged(first, last)
    values[frame, boxes.row[box]] = boxes.confidence[box]
    return ScoreTable(edges, values, table.labels)
