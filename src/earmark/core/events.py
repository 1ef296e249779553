"""Events, their labels, and the files they are kept in: one place to import them from.

Events are a table with the columns of ``EVENT_COLUMNS``, times in seconds.
"""

from earmark.core.formats import FORMATS, EventFormat, read_events, write_events
from earmark.core.tables.label_tables import (
    EVENT_COLUMNS,
    read_durations,
    read_strong,
    read_weak,
    write_durations,
    write_strong,
    write_weak,
)
from earmark.core.tables.labels import LabelSet, clip_id, events_by_clip

__all__ = [
    "EVENT_COLUMNS",
    "FORMATS",
    "EventFormat",
    "LabelSet",
    "clip_id",
    "events_by_clip",
    "read_durations",
    "read_events",
    "read_strong",
    "read_weak",
    "write_durations",
    "write_events",
    "write_strong",
    "write_weak",
]
