"""An event: one type for the whole package, and the columns of tables of events."""

from __future__ import annotations

from typing import NamedTuple

EVENT_COLUMNS = ("filename", "onset", "offset", "event_label")
"""Columns of a table of events; ``score`` may follow."""


class Event(NamedTuple):
    """Something that sounds in a recording.

    Attributes:
        onset: Its start in seconds.
        offset: Its end in seconds.
        event_label: Its class.
        score: How sure a detector is of it; None for events that have no score.
    """

    onset: float
    offset: float
    event_label: str
    score: float | None = None


EventTuple = tuple[float, float, str] | tuple[float, float, str, float | None]
"""An `Event`, or the same as a plain tuple, which the metrics and pictures take as well."""
