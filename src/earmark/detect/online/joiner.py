"""Events of one class that come one after the other: short gaps closed, short ones dropped.

The same as `earmark.detect.postprocess` does with a whole recording, but an event is given as soon
as nothing that may still come can change it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from earmark.detect.postprocess import NOISE
from earmark.detect.postprocess_spec import LabelSettings


@dataclass(frozen=True)
class Piece:
    """An event before gaps are closed.

    Attributes:
        onset: In seconds.
        offset: In seconds.
        begin: What is known of its start, for its score.
        end: What is known of its end.
        score: Its own, if it stays alone.
    """

    onset: float
    offset: float
    begin: Any
    end: Any
    score: float


Final = tuple[float, float, float]
"""Onset and offset in seconds, score."""


class Joiner:
    """Joins the pieces of one class, which come in order.

    Args:
        settings: Of the class.
        mean: Score of an event of several pieces: of the first one and the last one.
    """

    def __init__(self, settings: LabelSettings, mean: Callable[[Piece, Piece], float]) -> None:
        self.settings = settings
        self.mean = mean
        self.first: Piece | None = None
        self.last: Piece | None = None

    def add(self, piece: Piece) -> list[Final]:
        """Takes the next piece; gives the event before it, if this is not part of it."""
        if self.last is not None:
            gap = piece.onset - self.last.offset
            if gap < self.settings.min_gap_seconds - NOISE:
                self.last = piece
                return []
        final = self.finish()
        self.first = self.last = piece
        return final

    def advance(self, time: float) -> list[Final]:
        """Gives the event that is final if no piece starts before a time."""
        if self.last is None or time - self.last.offset < self.settings.min_gap_seconds - NOISE:
            return []
        return self.finish()

    def finish(self) -> list[Final]:
        """Gives what is left."""
        first, last = self.first, self.last
        self.first = self.last = None
        if first is None or last is None:
            return []
        if last.offset - first.onset < self.settings.min_duration_seconds - NOISE:
            return []
        score = first.score if last is first else self.mean(first, last)
        return [(first.onset, last.offset, score)]

    def state(self) -> list[Any]:
        """What it holds, for `restore`."""
        pieces = (self.first, self.last)
        kept = [None if one is None else list(vars(one).values()) for one in pieces]
        return [*kept, self.first is self.last]

    def restore(self, state: list[Any]) -> None:
        """Goes on where another one was."""
        first, last, same = state
        self.first = None if first is None else Piece(*first)
        self.last = self.first if same else Piece(*last)
