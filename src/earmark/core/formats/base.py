"""What a kind of event file is."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from earmark.core.errors import LabelError
from earmark.core.event import EVENT_COLUMNS
from earmark.core.tables.label_tables import event_frame
from earmark.core.tables.rows import check_label, check_name

if TYPE_CHECKING:
    import pandas as pd

Event = tuple[str, float, float, str, float | None]
"""File name, onset and offset in seconds, label, score if it has one."""


@dataclass(frozen=True)
class Content:
    """What is to be written.

    Attributes:
        events: In the table's order.
        scored: Whether the table has scores at all.
        recording: The recording they are of, where it is known.
    """

    events: tuple[Event, ...]
    scored: bool
    recording: Path | None

    @property
    def name(self) -> str:
        """Name of the recording; empty if nobody knows it."""
        if self.events:
            return self.events[0][0]
        return self.recording.name if self.recording is not None else ""


@dataclass(frozen=True)
class Hints:
    """What a file does not say about itself.

    Attributes:
        recording: Name of the recording, for files that name none; by default the file's own name
            without its ending.
        label_column: Column that holds the class, of tables that name it otherwise; for ELAN
            ``value`` or ``tier``.
        columns: What other columns of a table are called: ``onset``, ``offset``, ``duration``,
            ``filename`` → their name.
        encoding: Of a text that is not Unicode.
    """

    recording: str | None = None
    label_column: str | None = None
    columns: Mapping[str, str] = field(default_factory=dict)
    encoding: str | None = None


@dataclass(frozen=True)
class EventFormat:
    """A kind of file for events.

    Attributes:
        suffix: How its files end, with the dot.
        title: What it is, in a few words.
        write: Makes the text of a file of checked events.
        read: Reads a file.
        one_recording: Whether a file holds the events of one recording alone.
    """

    suffix: str
    title: str
    write: Callable[[Content], str]
    read: Callable[[Path, Hints], pd.DataFrame]
    one_recording: bool = False


def checked(
    events: pd.DataFrame, name: str, format: EventFormat, recording: Path | None = None
) -> Content:
    """A table of events as something the format can hold.

    Args:
        events: Table with the columns of ``EVENT_COLUMNS`` and optionally ``score``.
        name: Of the format, for messages.
        format: The format.
        recording: The recording the events are of, where they are of one.

    Raises:
        LabelError: If an event is none, or the format cannot hold it as it is.
    """
    lacking = [column for column in EVENT_COLUMNS if column not in events.columns]
    if lacking:
        raise LabelError(f"a table of events without the column {', '.join(lacking)}")
    columns = [events[column].tolist() for column in EVENT_COLUMNS]
    scored = "score" in events.columns
    scores = events["score"].tolist() if scored else [None] * len(events)
    rows: list[Event] = []
    for filename, onset, offset, label, score in zip(*columns, scores, strict=True):
        check_times(float(onset), float(offset), str(filename))
        check_name(filename)
        check_label(label, filename)
        rows.append((filename, float(onset), float(offset), label, _score(score, filename)))
    if format.one_recording and len({row[0] for row in rows}) > 1:
        raise LabelError(
            f"a file of the format {name} holds the events of one recording",
            hint="Write one file for each recording",
        )
    return Content(tuple(rows), scored, recording)


def _score(score: float | None, filename: str) -> float | None:
    """A score, or None for what tables have where there is none."""
    if score is None or math.isnan(score):
        return None
    if math.isinf(score):
        raise LabelError(f"an event with the score {score}", where=filename)
    return float(score)


def check_times(onset: float, offset: float, where: str | Path) -> None:
    """Refuse an event before the recording's start, or one that ends before it starts.

    Raises:
        LabelError: If it is one.
    """
    if not 0 <= onset <= offset < math.inf:
        raise LabelError(
            f"an event from {onset:g} s to {offset:g} s",
            where=where,
            hint="An event starts at 0 s or later and does not end before it starts",
        )


def event_table(events: Sequence[tuple[Any, ...]], *, score: bool = False) -> pd.DataFrame:
    """Events as a table.

    Args:
        events: File name, onset, offset and label of each; then what follows of ``score``.
        score: Whether there is a column of scores.
    """
    columns = [*EVENT_COLUMNS, "score"] if score else list(EVENT_COLUMNS)
    table = event_frame((event[: len(columns)] for event in events), columns)
    return table.astype({"score": "float64"}) if score else table


def own_name(path: Path, suffixes: Sequence[str] = ()) -> str:
    """A file's name without its ending, which may be one of several parts."""
    for suffix in suffixes:
        if path.name.lower().endswith(suffix.lower()) and len(path.name) > len(suffix):
            return path.name[: -len(suffix)]
    return path.stem


def milliseconds(onset: float, offset: float) -> tuple[int, int]:
    """Times in seconds as the nearest whole milliseconds, the event at least one of them long."""
    first = round(onset * 1000)
    return first, max(first + 1, round(offset * 1000))
