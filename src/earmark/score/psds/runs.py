"""Every detection that any decision threshold gives, found once.

At threshold τ a detection is a maximal run of frames with score > τ. Over all thresholds a
row of T frames has at most T different runs: the one in which frame t is the lowest, for each t.
A run appears when τ falls below its lowest frame and is swallowed by its parent when τ falls
below the higher of its two neighbours. So every count over thresholds is a sum of steps at scores,
and no threshold has to be counted by itself. (That counts need to be known only at the
scores is the insight of Ebbers, Serizel, Haeb-Umbach, "Threshold-Independent Evaluation of Sound
Event Detection Scores", ICASSP 2022.)
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from earmark.core.tables.scores import ScoreTable
from earmark.score.events import Bools, EventArrays, Floats, Ints, sum_by


@dataclass(frozen=True)
class Runs:
    """The runs of B clips with C classes: one entry per frame above the floor, ``[A]`` each.

    Entries come clip by clip, in each class by class, in each frame by frame.

    Args:
        labels: Number of classes C.
        edges: Edges of the frames of each clip in seconds, the last one repeated, ``[B, T + 1]``.
        pair: ``clip · C + label`` of the entry.
        score: The frame's score: the run is there while the threshold is below it.
        first: Edge where the run starts of which this frame is the lowest.
        last: Edge where it ends.
        parent: Entry at whose score the run is swallowed, or -1.
        kept: Whether the entry speaks for the run (the first of equal frames does).
    """

    labels: int
    edges: Floats
    pair: Ints
    score: Floats
    first: Ints
    last: Ints
    parent: Ints
    kept: Bools

    @classmethod
    def find(cls, tables: Sequence[ScoreTable], floor: Floats) -> Runs:
        """Runs of score tables with the same classes.

        Args:
            tables: One per clip.
            floor: Frames of a class count only if their score is above this, ``[C]``.
        """
        scores, edges = _padded(tables)
        frames, labels = scores.shape[1:]
        above = scores > floor
        flat = np.flatnonzero(above.transpose(0, 2, 1))  # (clip · C + label) · T + frame
        pair, frame = np.divmod(flat, frames)
        clip, label = np.divmod(pair, labels)
        score = scores.ravel().take((clip * frames + frame) * labels + label).astype(np.float64)
        starts = np.diff(flat, prepend=-2) != 1
        starts |= frame == 0
        # Stretches of frames above the floor, with something lower before, between and after.
        shift = np.cumsum(starts)
        place = np.arange(len(flat)) + shift
        padded = np.full(len(flat) + (int(shift[-1]) if len(flat) else 0) + 1, -np.inf)
        padded[place] = score
        left = _nearest_below(padded, place, or_equal=True)
        mirrored = padded[::-1].copy()
        right = len(padded) - 1 - _nearest_below(mirrored, len(padded) - 1 - place, or_equal=False)
        before, after = padded[left], padded[right]
        parent = np.where(before >= after, left, right) - shift
        parent[np.maximum(before, after) == -np.inf] = -1
        return cls(
            labels=labels,
            edges=edges,
            pair=pair,
            score=score,
            first=frame - (place - left - 1),
            last=frame + (right - place),
            parent=parent,
            kept=before < score,
        )

    @property
    def clip(self) -> Ints:
        """Clip of each entry ``[A]``."""
        return self.pair // self.labels

    @property
    def label(self) -> Ints:
        """Class of each entry ``[A]``."""
        return self.pair % self.labels

    def times(self) -> tuple[Floats, Floats]:
        """Onset and offset of each run in seconds ``[A]``."""
        base = self.clip * self.edges.shape[1]
        flat = self.edges.ravel()
        return flat.take(base + self.first), flat.take(base + self.last)

    def of_pairs(self, pairs: Ints) -> tuple[Ints, Ints]:
        """First entry, and the one after the last, of each ``clip · C + label``."""
        return (
            np.searchsorted(self.pair, pairs, side="left"),
            np.searchsorted(self.pair, pairs, side="right"),
        )

    def changes(self, counted: Bools) -> Ints:
        """Change of the number of counted runs as the threshold falls below each score ``[A]``."""
        parents = self.parent[counted]
        gone = np.bincount(parents[parents >= 0], minlength=len(counted))
        return np.asarray(counted.astype(np.int64) - gone)


@dataclass(frozen=True)
class Cover:
    """Truth of B clips, laid out along the edges of their frames.

    Args:
        pair: ``clip · C + label`` of each of P classes that sound in a clip, increasing.
        seconds: Seconds of truth before each edge, ``[P, T + 1]``.
    """

    pair: Ints
    seconds: Floats

    @classmethod
    def build(cls, truth: EventArrays, labels: int, edges: Floats) -> Cover:
        """Lay out events (clips numbered as the rows of ``edges``) of non-overlapping classes."""
        pair, place = np.unique(truth.clip * labels + truth.label, return_inverse=True)
        seconds = np.zeros((len(pair), edges.shape[1]))
        onset, offset = truth.onset[:, None], truth.offset[:, None]
        np.add.at(seconds, place, np.clip(edges[truth.clip], onset, offset) - onset)
        return cls(pair, seconds)

    def within(self, row: Ints, first: Ints, last: Ints) -> Floats:
        """Seconds of truth of row ``row`` between two edges."""
        base = row * self.seconds.shape[1]
        flat = self.seconds.ravel()
        return np.asarray(flat.take(base + last) - flat.take(base + first))


def batches(sizes: Sequence[tuple[int, ...]], order: Sequence[int], cells: int) -> Iterator[Ints]:
    """Numbers of clips to be handled together: so that frames × classes stay below ``cells``."""
    chosen: list[int] = []
    longest = 0
    for clip in order:
        frames, labels = sizes[clip]
        if chosen and (len(chosen) + 1) * max(longest, frames) * labels > cells:
            yield np.array(chosen)
            chosen, longest = [], 0
        chosen.append(clip)
        longest = max(longest, frames)
    if chosen:
        yield np.array(chosen)


def ragged(first: Ints, last: Ints) -> tuple[Ints, Ints]:
    """Every number of several ranges one after another, and which range it is of."""
    sizes = last - first
    owner = np.repeat(np.arange(len(sizes)), sizes)
    number = np.arange(len(owner)) + np.repeat(first - (np.cumsum(sizes) - sizes), sizes)
    return number, owner


def sum_at(places: Ints, weights: Floats | Bools) -> Floats:
    """Row by row, the sum of weights that go to each place; a place of -1 takes none. [R, T]."""
    rows, frames = places.shape
    row, column = np.nonzero((places >= 0) & (weights != 0))
    chosen = row * frames + places[row, column]
    return sum_by(chosen, weights[row, column], rows * frames).reshape(rows, frames)


def _padded(tables: Sequence[ScoreTable]) -> tuple[NDArray[Any], Floats]:
    """Scores ``[B, T, C]`` with ``-inf`` after the last frame, and edges ``[B, T + 1]``."""
    frames = max(len(table) for table in tables)
    kind = np.result_type(*{table.values.dtype for table in tables})
    scores = np.empty((len(tables), frames, tables[0].values.shape[1]), dtype=kind)
    edges = np.empty((len(tables), frames + 1))
    for row, table in enumerate(tables):
        size = len(table)
        scores[row, :size], scores[row, size:] = table.values, -np.inf
        edges[row, : size + 1], edges[row, size + 1 :] = table.boundaries, table.boundaries[-1]
    return scores, edges


def _nearest_below(values: Floats, places: Ints, *, or_equal: bool) -> Ints:
    """For each place the nearest one to its left with a lower score.

    Where the neighbour is not lower, the search goes on from what is nearest to that one: all
    between the two is at least as high as the neighbour (all nearest smaller values, in rounds).

    Args:
        values: Scores ``[P]``, with ``-inf`` wherever a search must end.
        places: Where to search from, increasing or decreasing; all that is not ``-inf``.
        or_equal: Whether an equal score counts as lower.
    """
    found = np.arange(-1, len(values) - 1)
    beyond = np.greater if or_equal else np.greater_equal
    todo = places[beyond(values[places - 1], values[places])]
    while len(todo):
        found[todo] = found[found[todo]]
        todo = todo[beyond(values[found[todo]], values[todo])]
    return np.asarray(found[places])
