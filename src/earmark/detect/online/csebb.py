"""cSEBB of scores that come block by block: each box as soon as no later score can change it.

How long that takes has no bound that holds for all scores: whether two neighbours become one is
decided by the peak of both and by the lowest score between them, and with both criteria infinite
everything is one box until the end. But the gap only gets deeper and the peaks only higher. So a
box is final as soon as the scores have fallen far enough below its own peak to be never joined
with what follows (which they do after most events), or when the next candidate has ended. A
candidate's end is known half a step filter and a frame after it.

Why cSEBB stands a second time in `earmark.detect.csebb`, and what holds both equal, is said there.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from earmark.core.event import Event
from earmark.core.timeline import FrameGrid
from earmark.detect.csebb import (
    CONFIDENCE_DECIMALS,
    POINT_SECONDS,
    break_points,
    frames_of,
    is_shallow,
    rises,
)
from earmark.detect.joiner import Joiner, Piece
from earmark.detect.postprocess_spec import LabelSettings, PostProcess
from earmark.score.events import Floats


class BoxFinder:
    """Finds events as `earmark.detect.postprocess.scores_to_events` does with cSEBB.

    Args:
        grid: The frames.
        labels: The C classes.
        settings: Of ``csebb``.
    """

    def __init__(self, grid: FrameGrid, labels: tuple[str, ...], settings: PostProcess) -> None:
        self.classes = [_BoxFinder(grid, label, settings.for_label(label)) for label in labels]

    @property
    def delay(self) -> float:
        """There is no bound: infinite."""
        return np.inf

    def push(self, scores: NDArray[np.float32]) -> list[Event]:
        """Takes final scores [t, C]; gives the events that no later ones can change."""
        return self._events(scores, None)

    def finish(self, scores: NDArray[np.float32], duration: float) -> list[Event]:
        """Takes the last scores and the recording's length in seconds; gives the other events."""
        return self._events(scores, duration)

    def _events(self, scores: NDArray[np.float32], duration: float | None) -> list[Event]:
        columns = scores.T.astype(np.float64)
        pairs = zip(self.classes, columns, strict=True)
        return sorted(event for one, column in pairs for event in one.push(column, duration))

    def state(self) -> dict[str, Any]:
        """What it holds, for `restore`."""
        return {"classes": [one.state() for one in self.classes]}

    def restore(self, state: dict[str, Any]) -> None:
        """Goes on where another one was."""
        for one, own in zip(self.classes, state["classes"], strict=True):
            one.restore(own)


class _BoxFinder:
    """One class: its last scores, and the candidate and the box under way."""

    def __init__(self, grid: FrameGrid, label: str, settings: LabelSettings) -> None:
        self.grid = grid
        self.half = settings.csebb.step_seconds / 2
        self.absolute, self.relative = settings.csebb.absolute, settings.csebb.relative
        self.threshold = settings.threshold
        self.joiner = Joiner(label, settings, _mean)
        self.scores: Floats = np.zeros(0)  # from frame `base` on
        self.base = 0
        self.area = 0.0  # integral of the scores before frame `base`
        self.unique = self.point = 0.0  # the last point, and the last one that counts
        self.rising: bool | None = None  # slope of the step filter after that one
        self.accumulated = 0  # frames whose scores are in `extreme`
        self.extreme = 0.0  # highest score of the open candidate, or lowest of the gap after one
        self.candidate: list[float] | None = None  # the open one's onset and integral
        self.box: list[float] | None = None  # onset, integral; offset, integral, highest of …
        self.gap = np.inf  # … its last candidate; lowest score between that and the open one

    def push(self, scores: Floats, duration: float | None) -> list[Event]:
        """Takes the next scores; with a duration the last ones."""
        self.scores = np.concatenate([self.scores, scores])
        found: list[Event] = []
        edges = self._edges(duration)
        for turn, plan in self._turns(edges, duration):
            found += self._turn(turn, plan, edges)
        if duration is not None:
            return found + self._close() + self.joiner.finish()
        self._accumulate(self._frame_at(edges, self.point))
        if self.box is not None and self._is_final(self.box):
            found += self._close()
        found += self.joiner.advance(self._next_onset())
        self._forget(edges)
        return found

    def _edges(self, duration: float | None) -> Floats:
        """Edges of the frames held [n + 1]."""
        count = len(self.scores)
        edges = np.arange(self.base, self.base + count + 1) * self.grid.hop / self.grid.sample_rate
        if duration is not None:
            edges[-1] = min(edges[-1], duration)
        return np.asarray(edges)

    def _turns(
        self, edges: Floats, duration: float | None
    ) -> list[tuple[float, tuple[int, int, float]]]:
        """Points where the step filter turns, in order, with frames first, last and the way in."""
        points = self._points(edges, duration)
        kept = np.concatenate([[self.point], points])
        middles = (kept[1:] + kept[:-1]) / 2
        padded = np.append(self.scores, 0.0)
        shifts = (0.0, self.half, -self.half)
        rising = rises(*(padded[frames_of(edges, middles + shift)] for shift in shifts))
        turning = []
        for place, is_rising in enumerate(rising.tolist()):
            # δ counts as rising before its first point: if it falls from there, that is a maximum.
            before = True if self.rising is None else self.rising
            if is_rising != before:
                turning.append(float(kept[place]))
            self.rising = is_rising
        inside = (self.candidate is not None) != (len(turning) % 2 == 1)
        if duration is not None and inside:
            turning.append(float(edges[-1]))
        if len(points):
            self.point = float(points[-1])
        return [(turn, self._place(edges, turn)) for turn in turning]

    def _points(self, edges: Floats, duration: float | None) -> Floats:
        """The next points that are certain whatever comes; with a duration all that are left."""
        if len(edges) < 2:
            return np.zeros(0)
        points = break_points(edges, self.half)
        # The last frame may yet end before its time, and what is after it is not known.
        top = edges[-2] - self.half if duration is None else edges[-1] - POINT_SECONDS
        points = points[points > self.unique]
        if self.unique == 0.0:
            points = points[points > POINT_SECONDS]
        points = points[points <= top] if duration is None else points[points < top]
        steps = np.diff(np.concatenate([[self.unique], points]))
        if len(points):
            self.unique = float(points[-1])
        points = points[steps >= POINT_SECONDS]
        return points if duration is None else np.append(points, edges[-1])

    def _frame_at(self, edges: Floats, time: float) -> int:
        """The frame that what starts at a time starts in, counted from the recording's start."""
        place = int(np.searchsorted(edges, time + POINT_SECONDS, side="right")) - 1
        return self.base + max(0, min(place, len(edges) - 2))

    def _place(self, edges: Floats, time: float) -> tuple[int, int, float]:
        """Frame that starts at a point, frame after the last that ends there, seconds into it."""
        first = self._frame_at(edges, time)
        last = self.base + int(np.searchsorted(edges, time - POINT_SECONDS, side="left"))
        return first, last, float(time - edges[first - self.base])

    def _integral(self, edges: Floats, first: int, into: float) -> float:
        """Integral of the scores up to a point, added up as that of a whole recording is."""
        count = first - self.base
        terms = np.empty(count + 1)
        terms[0] = self.area
        terms[1:] = self.scores[:count] * np.diff(edges[: count + 1])
        return float(np.cumsum(terms)[-1] + self.scores[count] * into)

    def _turn(self, time: float, place: tuple[int, int, float], edges: Floats) -> list[Event]:
        """An onset, or the offset of the open candidate."""
        first, last, into = place
        integral = self._integral(edges, first, into)
        self._accumulate(last)
        found = []
        if self.candidate is None:
            self.gap = self.extreme
            self.candidate = [time, integral]
            self.extreme = 0.0
        else:
            highest = self.extreme
            if self.box is not None and self._joined(max(highest, self.box[4]), self.gap):
                self.box[2:] = [time, integral, highest]
            else:
                found += self._close()
                self.box = [*self.candidate, time, integral, highest]
            self.candidate = None
            self.extreme = np.inf
        self.accumulated = first
        return found

    def _accumulate(self, end: int) -> None:
        """Takes the frames before one into the highest or lowest score."""
        scores = self.scores[self.accumulated - self.base : end - self.base]
        if len(scores):
            if self.candidate is not None:
                self.extreme = max(self.extreme, float(scores.max()))
            else:
                self.extreme = min(self.extreme, float(scores.min()))
            self.accumulated = end

    def _joined(self, peak: float, low: float) -> bool:
        """Whether a gap is shallow enough to be closed."""
        return bool(is_shallow(peak, low, self.absolute, self.relative))

    def _is_final(self, box: list[float]) -> bool:
        """Whether what follows can never be joined: gaps only get deeper, peaks only higher."""
        if self.candidate is None:
            return not self._joined(box[4], self.extreme) if np.isfinite(self.extreme) else False
        return not self._joined(max(box[4], self.extreme), self.gap)

    def _close(self) -> list[Event]:
        """Gives the box under way to what closes the gaps between boxes that are kept."""
        if self.box is None:
            return []
        onset, before, offset, upto, _ = self.box
        self.box = None
        piece = Piece(onset, offset, before, upto)
        return self.joiner.add(piece) if _mean(piece, piece) > self.threshold else []

    def _next_onset(self) -> float:
        """The earliest time at which the next box can start."""
        if self.box is not None:
            return self.box[0]
        return self.point if self.candidate is None else self.candidate[0]

    def _forget(self, edges: Floats) -> None:
        """Leaves out the frames that nothing needs any more."""
        if len(self.scores) == 0:
            return
        back = self._frame_at(edges, self.point - self.half - 2 * POINT_SECONDS) - 1
        count = min(back, self.accumulated) - self.base
        if count > 0:
            terms = np.concatenate([[self.area], self.scores[:count] * np.diff(edges[: count + 1])])
            self.area = float(np.cumsum(terms)[-1])
            self.scores = self.scores[count:]
            self.base += count

    def state(self) -> dict[str, Any]:
        """What it holds, for `restore`."""
        kept = {name: getattr(self, name) for name in _KEPT}
        return kept | {"joiner": self.joiner.state()}

    def restore(self, state: dict[str, Any]) -> None:
        """Goes on where another one was."""
        for name in _KEPT:
            setattr(self, name, state[name])
        self.joiner.restore(state["joiner"])


_KEPT = (
    *("scores", "base", "area", "unique", "point", "rising", "accumulated", "extreme"),
    *("candidate", "box", "gap"),
)


def _mean(first: Piece, last: Piece) -> float:
    mean = (last.end - first.begin) / (last.offset - first.onset)
    return float(np.array(mean).round(CONFIDENCE_DECIMALS))
