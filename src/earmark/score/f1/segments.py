"""Segments: a class is active in each or not, at one threshold or at all.

Segment-based F1: Mesaros, Heittola, Virtanen, "Metrics for Polyphonic Sound Event Detection",
Applied Sciences 2016.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from earmark.core.errors import ScoreError
from earmark.core.tables.scores import ScoreTable
from earmark.score.events import TIME_DECIMALS, Bools, EventArrays, Floats, Ints, check_clips
from earmark.score.f1.counts import Owners
from earmark.score.psds.runs import ragged
from earmark.score.psds.steps import FP, TP, Steps


@dataclass(frozen=True)
class SegmentCriterion:
    """A class is active in a segment if any stretch of an event lies in it.

    Args:
        segment_seconds: Length of a segment.
        durations: Seconds of each clip; segments that start later do not count (sed_scores_eval's
            convention). Without them every segment counts (sed_eval's convention).

    Raises:
        ScoreError: If segments have no length.
    """

    segment_seconds: float = 1.0
    durations: Mapping[str, float] | None = None
    merge: ClassVar[bool] = False

    def __post_init__(self) -> None:
        if not self.segment_seconds > 0:
            raise ScoreError(
                f"segments of {self.segment_seconds} s", hint="They need a positive length."
            )

    def count(
        self, detections: EventArrays, truth: EventArrays, clips: Sequence[str], labels: int
    ) -> tuple[Owners, Owners, Owners]:
        """Whose segments are true positives, detected and truly active, at one threshold."""
        last = self._last(clips)
        detected, active = (self._active(events, last) for events in (detections, truth))
        keys = [_keys(segments, (detected, active), labels) for segments in (detected, active)]
        both = detected[:, np.isin(keys[0], keys[1])]
        return (both[0], both[1]), (detected[0], detected[1]), (active[0], active[1])

    def steps(
        self, tables: Sequence[ScoreTable], truth: EventArrays, clips: Sequence[str]
    ) -> tuple[Steps, Owners]:
        """Steps of segments, each at the highest score of the frames that overlap it.

        Args:
            tables: Score table of each clip, all with the same classes.
            truth: Events, clips numbered as the tables.
            clips: Ids of the clips.

        Returns:
            The steps, and clip and class of each segment in which a class sounds.
        """
        steps, owners = [], []
        first = np.searchsorted(truth.clip, np.arange(len(tables) + 1))
        last = self._last(clips)
        for clip, table in enumerate(tables):
            begin, end = self._first(table.boundaries[:-1]), self._end(table.boundaries[1:])
            events = truth.at(slice(first[clip], first[clip + 1]))
            on, off = self._first(events.onset), self._end(events.offset)
            low = int(min(begin[0], on.min(initial=begin[0])))
            size = int(max(end[-1], off.max(initial=end[-1])))
            segment = np.arange(low, max(size if last is None else int(last[clip]), low))
            scores = _highest(table, begin, end, segment)
            active = np.zeros(scores.shape, dtype=np.bool_)
            for label, start, stop in zip(events.label, on, off, strict=True):
                active[start - low : stop - low, label] = True
            steps.append(item_steps(scores, active, np.full(len(segment), clip)))
            owners.append(np.nonzero(active)[1])
        clip_of = np.repeat(np.arange(len(tables)), [len(found) for found in owners])
        return Steps.joined(steps), (clip_of, np.concatenate(owners))

    def _first(self, onsets: Floats) -> Ints:
        """Number of the segment in which each onset lies."""
        return np.floor(np.round(onsets / self.segment_seconds, TIME_DECIMALS)).astype(np.int64)

    def _end(self, offsets: Floats) -> Ints:
        """Number of the segment after the one in which each offset lies."""
        return np.ceil(np.round(offsets / self.segment_seconds, TIME_DECIMALS)).astype(np.int64)

    def _last(self, clips: Sequence[str]) -> Ints | None:
        """How many segments of each clip count; ``None`` for all there are."""
        if self.durations is None:
            return None
        check_clips(clips, self.durations, "events", "durations")
        return self._end(np.array([self.durations[clip] for clip in clips], dtype=np.float64))

    def segments(self, events: EventArrays, clips: Sequence[str]) -> Ints:
        """Segments in which events are active, each once: clip, label and number, ``[3, N]``."""
        return self._active(events, self._last(clips))

    def _active(self, events: EventArrays, last: Ints | None) -> Ints:
        """Segments with any stretch of an event, each once: clip, label and number, ``[3, N]``."""
        first, end = self._first(events.onset), self._end(events.offset)
        if last is not None:
            end = np.minimum(end, last[events.clip])
        number, event = ragged(first, np.maximum(end, first))
        return np.unique(np.stack([events.clip[event], events.label[event], number]), axis=1)


def item_steps(scores: Floats, active: Bools, clip: Ints) -> Steps:
    """Steps of items that are detected or not as a whole.

    Args:
        scores: Score of each item and class ``[S, C]``.
        active: Whether the class is truly there ``[S, C]``.
        clip: Clip of each item ``[S]``.
    """
    item, label = np.nonzero(scores > -np.inf)
    kind = np.where(active[item, label], TP, FP)
    return Steps.of(kind, label, scores[item, label], clip[item], np.ones(len(item), np.int64))


def _highest(table: ScoreTable, begin: Ints, end: Ints, segment: Ints) -> Floats:
    """The highest score of the frames that overlap each segment, ``[S, C]``."""
    low = np.searchsorted(end, segment, side="right")
    high = np.searchsorted(begin, segment, side="right")
    scores = np.full((len(segment), table.values.shape[1]), -np.inf)
    some = np.flatnonzero(low < high)
    if len(some):
        values = np.append(
            table.values.astype(np.float64), np.full((1, scores.shape[1]), -np.inf), axis=0
        )
        ranges = np.stack([low[some], high[some]], axis=1).ravel()
        scores[some] = np.maximum.reduceat(values, ranges, axis=0)[::2]
    return scores


def _keys(segments: Ints, among: Sequence[Ints], labels: int) -> Ints:
    """One number per column of ``[3, N]``, equal for equal columns."""
    numbers = np.concatenate([other[2] for other in among])
    low, high = int(numbers.min(initial=0)), int(numbers.max(initial=0))
    clip, label, number = segments
    keys: Ints = (clip * (high - low + 1) + number - low) * labels + label
    return keys
