"""Events by median filter and threshold, from scores that come block by block.

The filter of a frame reaches half its length ahead. So a frame is decided that much after its
scores are final; an event is given when it has ended and the shortest gap after it has passed.

`earmark.detect.postprocess` does the same at once with a whole recording; what holds both equal is
said there.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import median_filter

from earmark.core.event import Event
from earmark.core.timeline import FrameGrid
from earmark.detect.joiner import Joiner, Piece
from earmark.detect.postprocess import odd_frames
from earmark.detect.postprocess_spec import LabelSettings, PostProcess

_UNIT = 2**149
"""Float32 numbers are whole multiples of 1 / this, so sums of them can be exact."""


class MedianFinder:
    """Finds events as `earmark.detect.postprocess.scores_to_events` does with the median filter.

    Args:
        grid: The frames.
        labels: The C classes.
        settings: Of ``median``.
    """

    def __init__(self, grid: FrameGrid, labels: tuple[str, ...], settings: PostProcess) -> None:
        self.scores = np.zeros((0, len(labels)), dtype=np.float32)  # from frame `base` on
        self.base = 0
        chosen = [settings.for_label(label) for label in labels]
        self.classes = [
            _RunFinder(grid, label, one) for label, one in zip(labels, chosen, strict=True)
        ]

    @property
    def delay(self) -> float:
        """Seconds after an event's end, once its scores are final, by which it is given."""
        return max((one.delay for one in self.classes), default=0.0)

    def push(self, scores: NDArray[np.float32]) -> list[Event]:
        """Takes final scores [t, C]; gives the events that no later ones can change."""
        self._hold(scores)
        events = [event for number in range(len(self.classes)) for event in self._go_on(number)]
        self._forget()
        return sorted(events)

    def finish(self, scores: NDArray[np.float32], duration: float) -> list[Event]:
        """Takes the last scores and the recording's length in seconds; gives the other events."""
        self._hold(scores)
        events = []
        for number, one in enumerate(self.classes):
            events += self._go_on(number, duration)
            events += one.finish(duration)
        return sorted(events)

    def _hold(self, scores: NDArray[np.float32]) -> None:
        if len(scores):
            self.scores = np.concatenate([self.scores, scores])

    def _go_on(self, number: int, duration: float | None = None) -> list[Event]:
        """Filters a class as far as its scores go; to their end if that is the recording's."""
        one = self.classes[number]
        known = self.base + len(self.scores)
        end = known if duration is not None else known - one.half
        if end <= one.done:
            return []
        begin = max(0, one.done - one.half) - self.base  # what the filter of the next frame sees
        column = np.ascontiguousarray(self.scores[begin:, number])
        filtered = column
        if one.half:
            filtered = median_filter(column, size=2 * one.half + 1, mode="reflect")
        first = one.done - self.base - begin
        last = end - self.base - begin
        return one.go_on(filtered[first:last], column[first:last], duration)

    def _forget(self) -> None:
        needed = min(max(0, one.done - one.half) for one in self.classes)
        self.scores = self.scores[needed - self.base :]
        self.base = needed

    def state(self) -> dict[str, Any]:
        """What it holds, for `restore`."""
        own = [one.state() for one in self.classes]
        return {"scores": self.scores, "base": self.base, "classes": own}

    def restore(self, state: dict[str, Any]) -> None:
        """Goes on where another one was."""
        self.scores, self.base = state["scores"], state["base"]
        for one, own in zip(self.classes, state["classes"], strict=True):
            one.restore(own)


class _RunFinder:
    """One class: how far it is decided, and the event under way."""

    def __init__(self, grid: FrameGrid, label: str, settings: LabelSettings) -> None:
        self.grid = grid
        self.threshold = settings.threshold
        self.half = odd_frames(settings.median_seconds, grid.seconds) // 2
        self.delay = self.half * grid.seconds + settings.min_gap_seconds
        self.joiner = Joiner(label, settings, _mean)
        self.done = 0  # frames decided
        self.sum = 0  # of the scores so far, exactly; only differences matter
        self.onset: tuple[int, int] | None = None  # frame and sum at the start of the open event

    def go_on(
        self, filtered: NDArray[Any], scores: NDArray[np.float32], duration: float | None
    ) -> list[Event]:
        """Decides the next frames."""
        active = filtered > self.threshold
        begin = self.done
        self.done += len(active)
        if self.onset is None and self.joiner.first is None and not active.any():
            return []
        sums = [self.sum]
        for score in scores.astype(np.float64) * _UNIT:
            sums.append(sums[-1] + int(score))
        self.sum = sums[-1]
        found = []
        edges = np.flatnonzero(np.diff(np.concatenate([[self.onset is not None], active])))
        for place in edges.tolist():
            if self.onset is None:
                self.onset = (begin + place, sums[place])
            else:
                found += self.joiner.add(self._piece(begin + place, sums[place], duration))
                self.onset = None
        reached = self.done if self.onset is None else self.onset[0]
        return found + self.joiner.advance(self.grid.time(reached))

    def _piece(self, end: int, total: int, duration: float | None) -> Piece:
        assert self.onset is not None
        onset, offset = self.grid.time(self.onset[0]), self.grid.time(end)
        if duration is not None:
            offset = min(offset, duration)
        return Piece(onset, offset, list(self.onset), [end, total])

    def finish(self, duration: float) -> list[Event]:
        """Ends the event under way with the recording."""
        found = []
        if self.onset is not None:
            found += self.joiner.add(self._piece(self.done, self.sum, duration))
            self.onset = None
        return found + self.joiner.finish()

    def state(self) -> list[Any]:
        """What it holds, for `restore`."""
        onset = None if self.onset is None else list(self.onset)
        return [self.done, self.sum, onset, self.joiner.state()]

    def restore(self, state: list[Any]) -> None:
        """Goes on where another one was."""
        self.done, self.sum, onset, joiner = state
        self.onset = None if onset is None else (onset[0], onset[1])
        self.joiner.restore(joiner)


def _mean(first: Piece, last: Piece) -> float:
    """Mean score between two frames, from the sums before them."""
    return float((last.end[1] - first.begin[1]) / _UNIT / (last.end[0] - first.begin[0]))
