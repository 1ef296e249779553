"""Events of one class that come one after the other: short gaps closed, then dropped by length.

`earmark.detect.postprocess` gives it the pieces of a whole recording, `earmark.detect.online` those
of one that still runs: an event is given as soon as nothing that may still come can change it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from earmark.core.event import Event
from earmark.detect.postprocess_spec import LabelSettings

NOISE = 1e-9  # s; differences of boundaries are exact only up to float rounding


@dataclass(frozen=True)
class Piece:
    """An event before gaps are closed.

    Attributes:
        onset: In seconds.
        offset: In seconds.
        begin: What is known of its start, for its score.
        end: What is known of its end.
    """

    onset: float
    offset: float
    begin: Any
    end: Any


class Joiner:
    """Joins the pieces of one class, which come in order.

    Args:
        label: The class.
        settings: Of the class.
        mean: Score of an event from its first piece and its last one.
    """

    def __init__(
        self, label: str, settings: LabelSettings, mean: Callable[[Piece, Piece], float]
    ) -> None:
        self.label = label
        self.settings = settings
        self.mean = mean
        self.first: Piece | None = None
        self.last: Piece | None = None

    def add(self, piece: Piece) -> list[Event]:
        """Takes the next piece; gives the event before it, if this is not part of it."""
        if self.last is not None:
            gap = piece.onset - self.last.offset
            if gap < self.settings.min_gap_seconds - NOISE:
                self.last = piece
                return []
        final = self.finish()
        self.first = self.last = piece
        return final

    def advance(self, time: float) -> list[Event]:
        """Gives the event that is final if no piece starts before a time."""
        if self.last is None or time - self.last.offset < self.settings.min_gap_seconds - NOISE:
            return []
        return self.finish()

    def finish(self) -> list[Event]:
        """Gives what is left."""
        first, last = self.first, self.last
        self.first = self.last = None
        if first is None or last is None:
            return []
        duration, settings = last.offset - first.onset, self.settings
        if duration < settings.min_duration_seconds - NOISE:
            return []
        if duration > settings.max_duration_seconds + NOISE:
            return []
        return [Event(first.onset, last.offset, self.label, self.mean(first, last))]

    def join(self, pieces: Iterable[Piece]) -> list[Event]:
        """The events of a whole recording's pieces."""
        return [event for piece in pieces for event in self.add(piece)] + self.finish()

    def state(self) -> list[Any]:
        """What it holds, for `restore`."""
        pieces = (self.first, self.last)
        kept = [None if one is None else list(vars(one).values()) for one in pieces]
        return [*kept, self.first is self.last]

    def restore(self, state: list[Any]) -> None:
        """Goes on where another one was."""
        first, last, same = state
        self.first = None if first is None else Piece(*first[:4])  # version 0.1 has a score too
        self.last = self.first if same else Piece(*last[:4])
