"""Intersection counts at every decision threshold at once.

At threshold τ a detection is a maximal run of frames with score > τ. Over all thresholds a
row of T frames has at most T different runs: the one in which frame t is the lowest, for each t.
A run appears when τ falls below its lowest frame and is swallowed by its parent when τ falls
below the higher of its two neighbours. So every count over thresholds is a sum of steps at scores,
and no threshold has to be looked at by itself. (That counts need to be known only at the
scores is the insight of Ebbers, Serizel, Haeb-Umbach, "Threshold-Independent Evaluation of Sound
Event Detection Scores", ICASSP 2022; the criteria are of Bilen et al., "A Framework for the Robust
Evaluation of Sound Event Detection", ICASSP 2020.)
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from earmark.core.scores import ScoreTable
from earmark.score.events import EventArrays, at_least, sum_by

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

CELLS = 200_000
"""Frames × classes (or × events) handled together: keeps the working arrays in tens of MB."""

TP, FP, CT = 0, 1, 2
"""Kinds of step; ``CT + k`` is a cross trigger with class k."""


@dataclass(frozen=True)
class Steps:
    """N changes of one class's counts, in no order.

    Args:
        level: Which of the class's distinct scores the change happens at, ``[N]``; 0 is highest.
        kind: ``TP``, ``FP`` or ``CT + k``, ``[N]``.
        clip: The clip that changes, ``[N]``.
        change: By how much the count rises when the threshold falls below the score, ``[N]``.
        scores: The distinct scores, descending.
    """

    level: Ints
    kind: NDArray[np.int16]
    clip: NDArray[np.int32]
    change: NDArray[np.int16]
    scores: Floats

    def counts(self, kind: int, weights: Floats | None = None) -> Floats:
        """The count of one kind below each distinct score, highest first.

        Args:
            kind: Which count.
            weights: How often each clip counts; once if not given.
        """
        chosen = self.kind == kind
        change = self.change[chosen].astype(np.float64)
        if weights is not None:
            change *= weights[self.clip[chosen]]
        return np.cumsum(sum_by(self.level[chosen], change, len(self.scores)))


def count_steps(
    tables: Sequence[ScoreTable],
    truth: EventArrays,
    *,
    dtc: float,
    gtc: float,
    cttc: float | None,
) -> list[Steps]:
    """Steps of true positives, false positives and cross triggers over all thresholds.

    Args:
        tables: One score table per clip, all with the same C labels.
        truth: Ground truth; events of one class must not overlap.
        dtc: Detection tolerance ρ_dtc: share of a detection that truth of its class must cover.
        gtc: Ground-truth intersection ρ_gtc: share of an event that relevant detections must cover.
        cttc: Cross-trigger tolerance ρ_cttc, or ``None`` not to count cross triggers.

    Returns:
        The steps of each class.
    """
    parts: list[list[_Part]] = [[] for _ in tables[0].labels]
    # Clips of like length together, so that little is padded.
    order = sorted(range(len(tables)), key=lambda clip: len(tables[clip]))
    for clips in _batches(order, [table.values.size for table in tables]):
        batch = _Batch.build([tables[clip] for clip in clips], truth, clips)
        for part in batch.steps(dtc, gtc, cttc):
            for label in np.unique(part.label):
                parts[label].append(part.of(int(label)))
    return [_join(found) for found in parts]


def _batches(order: Sequence[int], sizes: Sequence[int]) -> Iterator[Ints]:
    start, cells = 0, 0
    for end, clip in enumerate(order):
        if end > start and cells + sizes[clip] > CELLS:
            yield np.array(order[start:end])
            start, cells = end, 0
        cells += sizes[clip]
    yield np.array(order[start:])


@dataclass(frozen=True)
class _Part:
    """Steps of one batch, of one kind, with labels and scores still as they were found."""

    kind: int
    clip: Ints
    label: Ints
    score: Floats
    change: Ints

    def of(self, label: int) -> _Part:
        chosen = self.label == label
        return _Part(
            self.kind, self.clip[chosen], self.label[chosen], self.score[chosen],
            self.change[chosen],
        )  # fmt: skip


def _join(parts: Sequence[_Part]) -> Steps:
    empty = np.zeros(0)
    score = np.concatenate([empty, *(part.score for part in parts)])
    falling, level = np.unique(-score, return_inverse=True)
    lengths = [len(part.score) for part in parts]
    return Steps(
        level=level,
        kind=np.repeat(np.array([part.kind for part in parts], dtype=np.int16), lengths),
        clip=np.concatenate([empty, *(part.clip for part in parts)]).astype(np.int32),
        change=np.concatenate([empty, *(part.change for part in parts)]).astype(np.int16),
        scores=-falling,
    )


@dataclass(frozen=True)
class _Batch:
    """B clips padded to T frames: scores [B, C, T], edges [B, T + 1], truth of these clips."""

    clips: Ints
    scores: Floats
    edges: Floats
    truth: EventArrays  # clip numbers count within the batch

    @classmethod
    def build(cls, tables: Sequence[ScoreTable], truth: EventArrays, clips: Ints) -> _Batch:
        frames = max(len(table) for table in tables)
        scores = np.full((len(tables), len(tables[0].labels), frames), -np.inf)
        edges = np.zeros((len(tables), frames + 1))
        for row, table in enumerate(tables):
            scores[row, :, : len(table)] = table.values.T
            edges[row, : len(table) + 1] = table.boundaries
            edges[row, len(table) + 1 :] = table.boundaries[-1]
        place = {int(clip): row for row, clip in enumerate(clips)}
        chosen = np.flatnonzero(np.isin(truth.clip, clips))
        rows = np.array([place[int(clip)] for clip in truth.clip[chosen]], dtype=np.int64)
        events = EventArrays(rows, truth.label[chosen], truth.onset[chosen], truth.offset[chosen])
        return cls(clips, scores, edges, events)

    def steps(self, dtc: float, gtc: float, cttc: float | None) -> Iterator[_Part]:
        """All steps of the batch, kind by kind."""
        runs = _Runs.find(self.scores)
        starts = np.take_along_axis(self.edges[:, None], runs.start, axis=2)  # [B, C, T]
        ends = np.take_along_axis(self.edges[:, None], runs.end, axis=2)
        cover = self._cover()
        within = np.take_along_axis(cover, runs.end, 2) - np.take_along_axis(cover, runs.start, 2)
        relevant = runs.kept & at_least(within, dtc, ends - starts)
        false = runs.kept & ~relevant
        clip, label, frame = np.nonzero(change := runs.changes(false))
        yield self._part(FP, clip, label, frame, change[clip, label, frame])
        yield from self._true_positives(runs, starts, ends, relevant, gtc)
        if cttc is not None:
            yield from self._cross_triggers(runs, ends - starts, cover, false, cttc)

    def _cover(self) -> Floats:
        """Seconds of each class's truth before each edge, [B, C, T + 1]."""
        cover = np.zeros((*self.scores.shape[:2], self.edges.shape[1]))
        truth = self.truth
        onset, offset = truth.onset[:, None], truth.offset[:, None]
        np.add.at(
            cover,
            (truth.clip, truth.label),
            np.clip(self.edges[truth.clip], onset, offset) - onset,
        )
        return cover

    def _cross_triggers(
        self, runs: _Runs, lengths: Floats, cover: Floats, false: Bools, cttc: float
    ) -> Iterator[_Part]:
        for other in np.unique(self.truth.label):
            rows = np.unique(self.truth.clip[self.truth.label == other])
            some = runs.of(rows)
            seconds = cover[rows, other][:, None]  # [b, 1, T + 1]
            within = np.take_along_axis(seconds, some.end, 2) - np.take_along_axis(
                seconds, some.start, 2
            )
            hit = false[rows] & at_least(within, cttc, lengths[rows])
            hit[:, other] = False
            clip, label, frame = np.nonzero(change := some.changes(hit))
            yield self._part(CT + int(other), rows[clip], label, frame, change[clip, label, frame])

    def _true_positives(
        self, runs: _Runs, starts: Floats, ends: Floats, relevant: Bools, gtc: float
    ) -> Iterator[_Part]:
        frames = self.scores.shape[2]
        size = max(1, CELLS // frames)
        for first in range(0, len(self.truth.clip), size):
            chosen = slice(first, first + size)
            clip, label = self.truth.clip[chosen], self.truth.label[chosen]
            onset, offset = self.truth.onset[chosen, None], self.truth.offset[chosen, None]
            shared = np.minimum(ends[clip, label], offset) - np.maximum(starts[clip, label], onset)
            shared = np.where(relevant[clip, label], np.maximum(shared, 0), 0)  # [E, T]
            change = shared - _sum_at(runs.parent[clip, label], shared)
            scores = self.scores[clip, label]
            order = np.argsort(-scores, axis=1, kind="stable")
            scores = np.take_along_axis(scores, order, 1)
            covered = np.cumsum(np.take_along_axis(change, order, 1), axis=1)
            reached = at_least(covered, gtc, offset - onset)
            # Frames of equal score become active together: only the state after the last counts.
            settled = scores > np.pad(scores[:, 1:], ((0, 0), (0, 1)), constant_values=-np.inf)
            event, place = np.nonzero(settled)
            state = reached[event, place].astype(np.int64)
            before = np.where(np.diff(event, prepend=-1) == 0, np.roll(state, 1), 0)
            moved = np.flatnonzero(state != before)
            event, place = event[moved], place[moved]
            yield _Part(
                TP,
                self.clips[clip[event]],
                label[event],
                scores[event, place],
                (state - before)[moved],
            )

    def _part(self, kind: int, clip: Ints, label: Ints, frame: Ints, change: Ints) -> _Part:
        return _Part(kind, self.clips[clip], label, self.scores[clip, label, frame], change)


@dataclass(frozen=True)
class _Runs:
    """The runs of which each frame is the lowest, all [B, C, T]: edges, and the run above."""

    start: Ints  # edge where the run of frame t starts
    end: Ints  # edge where it ends
    parent: Ints  # a frame with the score at which it is swallowed, or -1
    kept: Bools  # whether this frame speaks for the run (first of equals, not -inf)

    @classmethod
    def find(cls, scores: Floats) -> _Runs:
        frames = scores.shape[2]
        flat = np.pad(
            scores.reshape(-1, frames), ((0, 0), (1, 1)), constant_values=-np.inf
        )  # [B·C, T + 2], so that every frame has something lower on both sides
        left = _nearest_below(flat, or_equal=True)
        right = frames + 1 - _nearest_below(flat[:, ::-1], or_equal=False)[:, ::-1]
        before, after = np.take_along_axis(flat, left, 1), np.take_along_axis(flat, right, 1)
        own = flat[:, 1:-1]
        parent = np.where(before >= after, left, right) - 1
        parent[np.maximum(before, after) == -np.inf] = -1
        kept = (before < own) & (own > -np.inf)
        shape = scores.shape
        return cls(
            left.reshape(shape),
            (right - 1).reshape(shape),
            parent.reshape(shape),
            kept.reshape(shape),
        )

    def of(self, clips: Ints) -> _Runs:
        """The runs of some of the clips."""
        return _Runs(self.start[clips], self.end[clips], self.parent[clips], self.kept[clips])

    def changes(self, counted: Bools) -> Ints:
        """Change of the number of counted runs at each frame's score, [B, C, T]."""
        frames = counted.shape[2]
        gone = _sum_at(self.parent.reshape(-1, frames), counted.reshape(-1, frames))
        return counted.astype(np.int64) - gone.reshape(counted.shape).astype(np.int64)


def _sum_at(places: Ints, weights: NDArray[np.float64] | Bools) -> Floats:
    """Row by row, the sum of weights that go to each place; a place of -1 takes none. [R, T]."""
    rows, frames = places.shape
    row, column = np.nonzero((places >= 0) & (weights != 0))
    places = row * frames + places[row, column]
    return sum_by(places, weights[row, column], rows * frames).reshape(rows, frames)


def _nearest_below(padded: Floats, *, or_equal: bool) -> Ints:
    """For columns 1…T of [R, T + 2], the nearest column to the left with a lower score.

    Steps of falling powers of two over tables of window minima: log₂ T passes for all rows.

    Args:
        padded: Scores with ``-inf`` in the first and the last column.
        or_equal: Whether an equal score counts as lower.
    """
    columns = padded.shape[1]
    minima = [padded]  # minima[k][:, t] is the lowest of the 2^k columns that end with t
    while (width := 2 ** len(minima)) < columns:
        last = minima[-1]
        wider = np.full_like(padded, -np.inf)
        np.minimum(last[:, width // 2 :], last[:, : -(width // 2)], out=wider[:, width // 2 :])
        minima.append(wider)
    own = padded[:, 1:-1]
    own = np.where(own == -np.inf, np.inf, own)  # a frame that is never active looks no further
    base = np.arange(len(padded))[:, None] * columns
    place = base + np.arange(columns - 2)[None]  # flat index of the left neighbour
    for power in range(len(minima) - 1, -1, -1):
        lowest = np.ascontiguousarray(minima[power]).ravel().take(place)
        place -= (lowest > own if or_equal else lowest >= own) * 2**power
    found: Ints = place - base
    return found
