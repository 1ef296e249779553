"""Label tables read whole: the first row that cannot be understood is an error."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from earmark.core.event import EVENT_COLUMNS, Event
from earmark.core.tables.label_tables import duration_table, join_weak, strong_table, weak_table


def read_strong(path: str | Path) -> tuple[pd.DataFrame, list[str]]:
    """The events, and the base names of all clips listed, each once, in the file's order."""
    table = strong_table(path).checked()
    rows = [(row.filename, *row.event[:3]) for row in table.rows]
    events = pd.DataFrame(rows, columns=list(EVENT_COLUMNS))
    return events.astype({"onset": "float64", "offset": "float64"}), table.listed


def read_weak(path: str | Path) -> dict[str, tuple[str, ...]]:
    """Base name → labels, each once, in the file's order; empty for a clip without events."""
    return join_weak(weak_table(path).checked().rows)


def read_durations(path: str | Path) -> dict[str, float]:
    """Base name → seconds."""
    return {row.filename: row.seconds for row in duration_table(path).checked().rows}


def by_name(events: pd.DataFrame, names: list[str]) -> dict[str, list[Event]]:
    """Events of a table by file name, in the order of the names."""
    found: dict[str, list[Event]] = {name: [] for name in names}
    for name, *event in events[list(EVENT_COLUMNS)].itertuples(index=False, name=None):
        found.setdefault(name, []).append(Event(*event))
    return found
