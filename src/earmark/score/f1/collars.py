"""Collars: a detection hits an event if both its ends are near enough, at one threshold or at all.

Collar-based F1: Mesaros, Heittola, Virtanen, "Metrics for Polyphonic Sound Event Detection",
Applied Sciences 2016.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np

from earmark.core.tables.scores import ScoreTable
from earmark.score.events import TIME_DECIMALS, Bools, Columns, EventArrays, Floats, Ints
from earmark.score.f1.counts import Owners
from earmark.score.psds.criteria import pairs_in_clip
from earmark.score.psds.runs import Runs, batches, ragged
from earmark.score.psds.steps import FP, TP, Steps

CELLS = 200_000
"""Frames × classes handled together."""


@dataclass(frozen=True)
class CollarCriterion:
    """How near a detection must come to an event of its class.

    Detections and events are matched one to one, as many as possible.

    Args:
        onset_collar: Largest difference of onsets in seconds.
        offset_collar: Largest difference of offsets in seconds, or …
        offset_share: … this fraction of the true event's length, whichever is larger.
        decimals: Differences are rounded to so many decimals (sed_scores_eval's convention);
            ``None`` compares raw floats (sed_eval's).
    """

    onset_collar: float = 0.2
    offset_collar: float = 0.2
    offset_share: float = 0.2
    decimals: int | None = TIME_DECIMALS
    merge: ClassVar[bool] = False

    def near(self, onset: Floats, offset: Floats, true_onset: Floats, true_offset: Floats) -> Bools:
        """Whether detections are near enough to events, elementwise."""
        collar = np.maximum(self.offset_collar, self.offset_share * (true_offset - true_onset))
        onsets, offsets = np.abs(onset - true_onset), np.abs(offset - true_offset)
        if self.decimals is None:
            return np.asarray((onsets <= self.onset_collar) & (offsets <= collar))
        found = np.round(onsets - self.onset_collar, self.decimals) <= 0
        found &= np.round(offsets - collar, self.decimals) <= 0
        return np.asarray(found)

    def count(
        self, detections: EventArrays, truth: EventArrays, clips: Sequence[str], labels: int
    ) -> tuple[Owners, Owners, Owners]:
        """Whose true positives, detections and events there are, at one threshold."""
        by, on = pairs_in_clip(detections, truth)
        same = detections.label[by] == truth.label[on]
        by, on = by[same], on[same]
        found, true = detections.at(by), truth.at(on)
        near = self.near(found.onset, found.offset, true.onset, true.offset)
        hit = truth.at(largest_matching(by[near], on[near]))
        return (hit.clip, hit.label), (detections.clip, detections.label), (truth.clip, truth.label)

    def steps(
        self, tables: Sequence[ScoreTable], truth: EventArrays, clips: Sequence[str]
    ) -> tuple[Steps, Owners]:
        """Steps of hits (``TP``) and of all other detections (``FP``), and whose events there are.

        Matched anew at every threshold.

        Args:
            tables: Score table of each clip, all with the same classes.
            truth: Events, clips numbered as the tables.
            clips: Ids of the clips.
        """
        first = np.searchsorted(truth.clip, np.arange(len(tables) + 1))
        found = []
        labels = tables[0].values.shape[1]
        order = sorted(range(len(tables)), key=lambda clip: len(tables[clip]))
        for batch in batches([table.values.shape for table in tables], order, CELLS):
            chosen, row = ragged(first[batch], first[batch + 1])
            events = replace(truth.at(chosen), clip=row)
            runs = Runs.find([tables[clip] for clip in batch], np.full(labels, -np.inf))
            change = runs.changes(runs.kept)
            entry = np.flatnonzero(change)
            hits = _hits(runs, events, batch, self)
            owner = batch[runs.clip[entry]]
            found += [
                hits,
                # Whatever is detected and no hit is a false positive.
                Steps.of(FP, hits.label, hits.score, hits.clip, -hits.change),
                Steps.of(FP, runs.label[entry], runs.score[entry], owner, change[entry]),
            ]
        return Steps.joined(found), (truth.clip, truth.label)


def _hits(runs: Runs, truth: EventArrays, clips: Ints, collars: CollarCriterion) -> Steps:
    """Steps of the size of the largest matching of detections and events."""
    entry, event = ragged(*runs.of_pairs(truth.clip * runs.labels + truth.label))
    start, end = runs.times()
    near = runs.kept[entry] & collars.near(
        start[entry], end[entry], truth.onset[event], truth.offset[event]
    )
    entry, event = entry[near], event[near]
    gone = np.where(runs.parent[entry] >= 0, runs.score[runs.parent[entry]], -np.inf)
    edges = _Edges(entry, event, runs.score[entry], gone)
    # A run near one event only takes it from no other, so each event can be taken by itself;
    # where some run is near several, a class's events of the clip must be matched together.
    choice = np.bincount(entry, minlength=len(runs.pair))[entry] > 1
    together = np.isin(runs.pair[entry], runs.pair[entry[choice]])
    alone = _covered(edges.at(~together))
    several = _matched(edges.at(together), runs.pair)
    event, score, change = (
        np.concatenate([one, other]) for one, other in zip(alone, several, strict=True)
    )
    place = event.astype(np.int64)
    owner = clips[truth.clip[place]]
    return Steps.of(TP, truth.label[place], score, owner, change.astype(np.int64))


@dataclass(frozen=True)
class _Edges(Columns):
    """Runs that are near events: while the threshold is in ``[gone, score)``, ``[N]`` each."""

    entry: Ints
    event: Ints
    score: Floats
    gone: Floats


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


def largest_matching(left: Ints, right: Ints) -> Ints:
    """The right ends of a maximum matching of a bipartite graph; see `matching`."""
    return matching(left, right)[1]


def matching(left: Ints, right: Ints) -> tuple[Ints, Ints]:
    """Left and right ends of a maximum matching of a bipartite graph, either in no order.

    Edges that share no end are matched at once; the few others by augmenting paths. A left end more
    lets the matching grow by one or not at all, and once matched it stays so: those that are given
    are the ones with which it grows as they are added in the order in which they first come.

    Args:
        left: Left end of each edge ``[N]``.
        right: Right end of each edge ``[N]``.
    """
    if not len(left):
        return left, right
    alone = (np.bincount(left)[left] == 1) & (np.bincount(right)[right] == 1)
    graph: dict[int, list[int]] = {}
    for node, other in zip(left[~alone].tolist(), right[~alone].tolist(), strict=True):
        graph.setdefault(node, []).append(other)
    lefts: dict[int, int] = {}  # right → its left partner
    rights: dict[int, int] = {}  # left → its right partner
    for node in graph:
        _augment(node, graph, lefts, rights)
    lefts_matched, rights_matched = np.array([*rights], np.int64), np.array([*lefts], np.int64)
    return np.append(left[alone], lefts_matched), np.append(right[alone], rights_matched)


def _augment(
    root: int, graph: Mapping[int, list[int]], lefts: dict[int, int], rights: dict[int, int]
) -> None:
    """Match one more left node, if an alternating path from it leads to a free right node."""
    reached_from: dict[int, int] = {}  # right → the left node it was reached from
    queue = [root]
    for node in queue:  # grows while it is walked: breadth first
        for other in graph[node]:
            if other in reached_from:
                continue
            reached_from[other] = node
            if other in lefts:
                queue.append(lefts[other])
                continue
            free: int | None = other
            while free is not None:  # back along the path, each left node takes the new partner
                taker = reached_from[free]
                lefts[free], rights[taker], free = taker, free, rights.get(taker)
            return
