"""Intersection counts at every decision threshold at once, as steps at scores.

The criteria are of Bilen et al., "A Framework for the Robust Evaluation of Sound Event Detection",
ICASSP 2020; `runs.py` says why counts need to be known only at scores.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from earmark.score.events import Bools, Columns, EventArrays, Floats, Ints, at_least
from earmark.score.psds.criteria import Criteria
from earmark.score.psds.runs import Cover, Runs, ragged, sum_at

TP, FP, CT = 0, 1, 2
"""Kinds of step; ``CT + k`` is a cross trigger with class k."""
COST = -1
"""Kind of step that holds cross triggers of all classes, each already weighted."""

EXPANDED = 400_000
"""Entries of events × runs handled together."""


@dataclass(frozen=True)
class Steps(Columns):
    """N changes of counts of all classes, in no order.

    Args:
        label: Class whose count changes ``[N]``.
        score: The score at which it does ``[N]``.
        kind: ``TP``, ``FP``, ``CT + k`` or ``COST`` ``[N]``.
        clip: The clip that changes ``[N]``.
        change: By how much the count rises when the threshold falls below the score ``[N]``.
    """

    label: NDArray[np.int16]
    score: Floats
    kind: NDArray[np.int16]
    clip: NDArray[np.int32]
    change: NDArray[Any]

    def __len__(self) -> int:
        return len(self.label)

    @classmethod
    def of(
        cls,
        kind: int | Ints,
        label: NDArray[Any],
        score: Floats,
        clip: NDArray[Any],
        change: NDArray[Any],
    ) -> Steps:
        """Steps from arrays of equal length, of one kind or several."""
        kinds = np.broadcast_to(np.asarray(kind, dtype=np.int16), label.shape)
        small = change.astype(np.int16) if change.dtype.kind in "biu" else change
        return cls(label.astype(np.int16), score, kinds, clip.astype(np.int32), small)

    @classmethod
    def joined(cls, steps: Sequence[Steps]) -> Steps:
        """One after another."""
        if not steps:
            nothing = np.zeros(0, dtype=np.int64)
            return cls.of(TP, nothing, np.zeros(0), nothing, nothing)
        return super().joined(steps)


def intersection_steps(
    runs: Runs,
    truth: EventArrays,
    clips: Ints,
    criteria: Sequence[tuple[Criteria, Floats | None]],
) -> list[Steps]:
    """Steps of true positives, false positives and cross triggers.

    Args:
        runs: The runs of a batch of clips.
        truth: Ground truth with clips numbered as in ``runs``; events of one class must not
            overlap.
        clips: The number to give each clip.
        criteria: Each is applied, and may come with what a cross trigger with each class costs
            ``[C]``: cross triggers are then kept as ``COST``, all classes together. Without it
            they are kept class by class.

    Returns:
        For each of ``criteria`` the steps.
    """
    counter = _Counter(runs, truth, clips)
    return [Steps.joined(list(counter.steps(given, cost))) for given, cost in criteria]


class _Counter:
    """Runs and truth of a batch, with what all criteria need of them."""

    def __init__(self, runs: Runs, truth: EventArrays, clips: Ints) -> None:
        self.runs, self.truth, self.clips = runs, truth, clips
        self.start, self.end = runs.times()  # seconds [A]
        self.clip, self.label = runs.clip, runs.label  # within the batch [A]
        self.cover = Cover.build(truth, runs.labels, runs.edges)
        # Row of the cover that each entry's class has in its clip, or -1.
        row = np.full(len(runs.edges) * runs.labels, -1)
        row[self.cover.pair] = np.arange(len(self.cover.pair))
        self.own = row[runs.pair]  # [A]
        some = np.flatnonzero(self.own >= 0)
        # Seconds of truth of its class in each run.
        self.within = np.zeros(len(self.own))  # [A]
        self.within[some] = self.cover.within(self.own[some], runs.first[some], runs.last[some])

    def steps(self, criteria: Criteria, cost: Floats | None) -> Iterator[Steps]:
        """All steps, kind by kind."""
        lengths = self.end - self.start
        relevant = np.zeros(len(lengths), dtype=np.bool_)
        some = self.own >= 0
        relevant[some] = at_least(self.within[some], criteria.dtc, lengths[some])
        relevant &= self.runs.kept
        false = self.runs.kept & ~relevant
        change = self.runs.changes(false)
        entry = np.flatnonzero(change)
        yield self._steps(FP, entry, change[entry])
        yield from self._true_positives(relevant, criteria.gtc)
        if criteria.cttc is not None:
            yield from self._cross_triggers(false, lengths, criteria.cttc, cost)

    def _steps(self, kind: int | Ints, entry: Ints, change: NDArray[Any]) -> Steps:
        """Steps at the scores of some entries."""
        owner = self.clips[self.clip[entry]]
        return Steps.of(kind, self.label[entry], self.runs.score[entry], owner, change)

    def _true_positives(self, relevant: Bools, gtc: float) -> Iterator[Steps]:
        first, last = self.runs.of_pairs(self.truth.clip * self.runs.labels + self.truth.label)
        sizes = last - first
        order = np.argsort(sizes, kind="stable")  # events of like many runs together
        order = order[sizes[order] > 0]
        begin = 0
        while begin < len(order):
            end = min(len(order), begin + 1 + EXPANDED // int(sizes[order[-1]]))
            event = order[begin:end]
            yield self._reached(event, first[event], last[event], relevant, gtc)
            begin = end

    def _reached(self, event: Ints, first: Ints, last: Ints, relevant: Bools, gtc: float) -> Steps:
        """Where relevant runs begin or cease to cover enough of each event."""
        entry = first[:, None] + np.arange(int(np.max(last - first)))  # [E, L]
        there = entry < last[:, None]
        entry = np.minimum(entry, last[:, None] - 1)
        onset, offset = self.truth.onset[event, None], self.truth.offset[event, None]
        overlap = np.minimum(self.end[entry], offset) - np.maximum(self.start[entry], onset)
        overlap = np.where(relevant[entry] & there, np.maximum(overlap, 0), 0)
        parent = self.runs.parent[entry]
        gone = sum_at(np.where(parent >= 0, parent - first[:, None], -1), overlap)
        scores = np.where(there, self.runs.score[entry], -np.inf)
        order = np.argsort(-scores, axis=1, kind="stable")
        scores = np.take_along_axis(scores, order, 1)
        covered = np.cumsum(np.take_along_axis(overlap - gone, order, 1), axis=1)
        reached = at_least(covered, gtc, offset - onset)
        # Frames of equal score become active together: only the state after the last counts.
        settled = scores > np.pad(scores[:, 1:], ((0, 0), (0, 1)), constant_values=-np.inf)
        row, place = np.nonzero(settled)
        state = reached[row, place].astype(np.int64)
        before = np.where(np.diff(row, prepend=-1) == 0, np.roll(state, 1), 0)
        moved = np.flatnonzero(state != before)
        row, place = row[moved], place[moved]
        found = event[row]
        owner = self.clips[self.truth.clip[found]]
        change = (state - before)[moved]
        return Steps.of(TP, self.truth.label[found], scores[row, place], owner, change)

    def _cross_triggers(
        self, false: Bools, lengths: Floats, cttc: float, cost: Floats | None
    ) -> Iterator[Steps]:
        owner, other = np.divmod(self.cover.pair, self.runs.labels)
        bounds = np.searchsorted(self.clip, np.arange(len(self.clips) + 1))
        first, last = bounds[owner], bounds[owner + 1]
        total = np.cumsum(last - first)
        begin = 0
        while begin < len(owner):
            limit = (int(total[begin - 1]) if begin else 0) + EXPANDED
            end = max(begin + 1, int(np.searchsorted(total, limit, side="right")))
            entry, row = ragged(first[begin:end], last[begin:end])
            yield self._triggered(entry, row + begin, other, false, lengths, cttc, cost)
            begin = end

    def _triggered(
        self,
        entry: Ints,
        row: Ints,
        other: Ints,
        false: Bools,
        lengths: Floats,
        cttc: float,
        cost: Floats | None,
    ) -> Steps:
        """Steps of runs ``entry`` on the truth in rows ``row`` of the cover."""
        mine = false[entry] & (self.own[entry] != row)
        tried = np.flatnonzero(mine)
        run = entry[tried]
        seconds = self.cover.within(row[tried], self.runs.first[run], self.runs.last[run])
        hit = tried[at_least(seconds, cttc, lengths[run])]
        # A swallowed run's place in this list is as far away as it is among the entries.
        parent = self.runs.parent[entry[hit]]
        some = parent >= 0
        gone = hit[some] + parent[some] - entry[hit[some]]
        change = np.bincount(gone, minlength=len(entry))
        np.negative(change, out=change)
        change[hit] += 1
        moved = np.flatnonzero(change)
        label = other[row[moved]]
        if cost is None:
            return self._steps(CT + label, entry[moved], change[moved])
        low = int(entry.min(initial=0))
        spent = np.bincount(entry[moved] - low, change[moved] * cost[label])
        places = np.flatnonzero(spent)
        return self._steps(COST, low + places, spent[places])
