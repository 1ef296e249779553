"""Hits by collars, by segments and by clips at every threshold at once, as steps at scores."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from earmark.core.tables.scores import ScoreTable
from earmark.score.events import TIME_DECIMALS, EventArrays
from earmark.score.f1.events import largest_matching
from earmark.score.psds.runs import Floats, Ints, Runs, batches, ragged
from earmark.score.psds.steps import FP, TP, Steps

CELLS = 200_000
"""Frames × classes looked at together."""


@dataclass(frozen=True)
class Collars:
    """How near a detection must come to an event.

    Args:
        onset: Largest difference of onsets in seconds.
        offset: Largest difference of offsets in seconds, or …
        share: … this share of the true event's length, whichever is larger.
        decimals: Differences are rounded to so many decimals (sed_scores_eval's convention);
            ``None`` compares raw floats (sed_eval's).
    """

    onset: float = 0.2
    offset: float = 0.2
    share: float = 0.2
    decimals: int | None = TIME_DECIMALS

    def near(
        self, onset: Floats, offset: Floats, true_onset: Floats, true_offset: Floats
    ) -> NDArray[np.bool_]:
        """Whether detections are near enough to events, elementwise."""
        collar = np.maximum(self.offset, self.share * (true_offset - true_onset))
        onsets, offsets = np.abs(onset - true_onset), np.abs(offset - true_offset)
        if self.decimals is None:
            return np.asarray((onsets <= self.onset) & (offsets <= collar))
        found = np.round(onsets - self.onset, self.decimals) <= 0
        found &= np.round(offsets - collar, self.decimals) <= 0
        return np.asarray(found)


def collar_steps(tables: Sequence[ScoreTable], truth: EventArrays, collars: Collars) -> Steps:
    """Steps of hits (``TP``) and of all other detections (``FP``).

    Detections and events are matched one to one, as many as possible, at every threshold.

    Args:
        tables: Score table of each clip, all with the same classes.
        truth: Events, clips numbered as the tables.
        collars: When a detection hits an event.
    """
    first = np.searchsorted(truth.clip, np.arange(len(tables) + 1))
    parts = []
    order = sorted(range(len(tables)), key=lambda clip: len(tables[clip]))
    for clips in batches([table.values.shape for table in tables], order, CELLS):
        chosen, row = ragged(first[clips], first[clips + 1])
        events = EventArrays(row, truth.label[chosen], truth.onset[chosen], truth.offset[chosen])
        labels = tables[0].values.shape[1]
        runs = Runs.find([tables[clip] for clip in clips], np.full(labels, -np.inf))
        change = runs.changes(runs.kept)
        entry = np.flatnonzero(change)
        hits = _hits(runs, events, clips, collars)
        parts += [
            hits,
            # Whatever is detected and no hit is a false positive.
            Steps.of(FP, hits.label, hits.score, hits.clip, -hits.change),
            Steps.of(
                FP, runs.label[entry], runs.score[entry], clips[runs.clip[entry]], change[entry]
            ),
        ]
    return Steps.joined(parts)


def _hits(runs: Runs, truth: EventArrays, clips: Ints, collars: Collars) -> Steps:
    """Steps of the size of the largest matching of detections and events."""
    entry, event = ragged(*runs.of_pairs(truth.clip * runs.labels + truth.label))
    start, end = runs.times()
    near = runs.kept[entry] & collars.near(
        start[entry], end[entry], truth.onset[event], truth.offset[event]
    )
    entry, event = entry[near], event[near]
    gone = np.where(runs.parent[entry] >= 0, runs.score[runs.parent[entry]], -np.inf)
    edges = _Edges(entry, event, runs.score[entry], gone)
    # A run near one event only takes it from no other, so events can be looked at one by one;
    # where some run is near several, a class's events of the clip must be matched together.
    choice = np.bincount(entry, minlength=len(runs.pair))[entry] > 1
    together = np.isin(runs.pair[entry], runs.pair[entry[choice]])
    alone = _covered(edges.at(~together))
    several = _matched(edges.at(together), runs.pair)
    event, score, change = (
        np.concatenate([one, other]) for one, other in zip(alone, several, strict=True)
    )
    place = event.astype(np.int64)
    return Steps.of(
        TP,
        truth.label[place],
        score,
        clips[truth.clip[place]],
        change.astype(np.int64),
    )


@dataclass(frozen=True)
class _Edges:
    """Runs that are near events: while the threshold is in ``[gone, score)``, ``[N]`` each."""

    entry: Ints
    event: Ints
    score: Floats
    gone: Floats

    def at(self, chosen: NDArray[np.bool_]) -> _Edges:
        return _Edges(
            self.entry[chosen], self.event[chosen], self.score[chosen], self.gone[chosen]
        )  # fmt: skip


def _covered(edges: _Edges) -> tuple[Ints, Floats, Ints]:
    """Event, score and change, wherever an event begins or ceases to be near any run."""
    lasting = edges.gone > -np.inf
    event = np.append(edges.event, edges.event[lasting])
    score = np.append(edges.score, edges.gone[lasting])
    change = np.append(np.ones(len(edges.event), np.int64), -np.ones(lasting.sum(), np.int64))
    order = np.lexsort((-score, event))
    event, score, change = event[order], score[order], change[order]
    # Every event's changes up to a score sum up to the number of its runs, as all earlier events'
    # sum up to what is left of them.
    count = np.cumsum(change)
    begin = np.diff(event, prepend=-1) != 0
    before = np.where(begin, count - change, 0)
    count -= before[np.maximum.accumulate(np.where(begin, np.arange(len(event)), 0))]
    settled = np.append((np.diff(event) != 0) | (np.diff(score) != 0), True)[: len(event)]
    event, score, state = event[settled], score[settled], (count[settled] > 0).astype(np.int64)
    moved = state - np.where(np.diff(event, prepend=-1) == 0, np.roll(state, 1), 0)
    some = np.flatnonzero(moved)
    return event[some], score[some], moved[some]


def _matched(edges: _Edges, pair: Ints) -> tuple[Ints, Floats, Ints]:
    """Some event of the class and clip, score and change of the number that can be matched."""
    found: list[tuple[int, float, int]] = []
    order = np.argsort(pair[edges.entry], kind="stable")
    owner = pair[edges.entry][order]
    for group in np.split(order, np.flatnonzero(np.diff(owner)) + 1) if len(order) else []:
        before = 0
        entry, event = edges.entry[group], edges.event[group]
        score, gone = edges.score[group], edges.gone[group]
        for level in -np.unique(-np.append(score, gone[gone > -np.inf])):
            there = (score >= level) & (gone < level)
            size = len(largest_matching(entry[there], event[there]))
            if size != before:
                found.append((int(event[0]), float(level), size - before))
            before = size
    columns = np.array(found, dtype=np.float64).reshape(len(found), 3)
    return columns[:, 0].astype(np.int64), columns[:, 1], columns[:, 2].astype(np.int64)


def segment_steps(
    tables: Sequence[ScoreTable],
    truth: EventArrays,
    durations: Sequence[float | None],
    segment_seconds: float,
) -> tuple[Steps, tuple[Ints, Ints]]:
    """Steps of segments, each at the highest score of the frames that overlap it.

    Args:
        tables: Score table of each clip, all with the same classes.
        truth: Events, clips numbered as the tables.
        durations: Where a clip's segments end, or ``None`` to count all.
        segment_seconds: Length of a segment.

    Returns:
        The steps, and clip and label of each segment in which a class sounds.
    """
    parts, owners = [], []
    first = np.searchsorted(truth.clip, np.arange(len(tables) + 1))
    for clip, (table, duration) in enumerate(zip(tables, durations, strict=True)):
        begin, end = (
            whole(np.round(times / segment_seconds, TIME_DECIMALS)).astype(np.int64)
            for whole, times in (
                (np.floor, table.boundaries[:-1]),
                (np.ceil, table.boundaries[1:]),
            )
        )
        events = slice(first[clip], first[clip + 1])
        on = np.floor(np.round(truth.onset[events] / segment_seconds, TIME_DECIMALS))
        off = np.ceil(np.round(truth.offset[events] / segment_seconds, TIME_DECIMALS))
        low = int(min(begin[0], on.min(initial=begin[0])))
        size = int(max(end[-1], off.max(initial=end[-1])))
        if duration is not None:
            size = int(np.ceil(np.round(duration / segment_seconds, TIME_DECIMALS)))
        segment = np.arange(low, max(size, low))
        scores = _highest(table, begin, end, segment)
        active = np.zeros(scores.shape, dtype=np.bool_)
        for label, start, stop in zip(truth.label[events], on, off, strict=True):
            active[int(start) - low : int(stop) - low, label] = True
        parts.append(item_steps(scores, active, np.full(len(segment), clip)))
        owners.append(np.nonzero(active)[1])
    clip_of = np.repeat(np.arange(len(tables)), [len(found) for found in owners])
    return Steps.joined(parts), (clip_of, np.concatenate(owners))


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


def item_steps(scores: Floats, active: NDArray[np.bool_], clip: Ints) -> Steps:
    """Steps of items that are detected or not as a whole.

    Args:
        scores: Score of each item and class ``[S, C]``.
        active: Whether the class is truly there ``[S, C]``.
        clip: Clip of each item ``[S]``.
    """
    item, label = np.nonzero(scores > -np.inf)
    kind = np.where(active[item, label], TP, FP)
    return Steps.of(kind, label, scores[item, label], clip[item], np.ones(len(item), np.int64))
