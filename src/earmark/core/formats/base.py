"""What a kind of event file is."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from earmark.core.errors import LabelError
from earmark.core.event import EVENT_COLUMNS, Event
from earmark.core.files import Notes, read_text, split_lines
from earmark.core.tables.rows import check_name, checked_event

if TYPE_CHECKING:
    import pandas as pd

Named = tuple[str, Event]
"""The file name of a recording, and an event of it."""


@dataclass(frozen=True)
class Content:
    """What a file of events holds, or is to hold.

    Attributes:
        events: With the file names of their recordings, in order.
        scored: Whether there are scores at all.
        recording: The recording they are of, where it is known.
        notes: What of the file is not among the events, a sentence each.
        scored_labels: Whether scores are written behind class names, where a format has no other
            place for them.
    """

    events: Sequence[Named]
    scored: bool = False
    recording: Path | None = None
    notes: tuple[str, ...] = ()
    scored_labels: bool = False

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
        find: The name of the recording that a listed name means, None where there is none; for
            files that name several, of which the one that is there counts.
        faults: Rows that are no events, to be filled; by default the first of them is an error.
        notes: What was mended or taken for granted, to be filled.
    """

    recording: str | None = None
    label_column: str | None = None
    columns: Mapping[str, str] = field(default_factory=dict)
    encoding: str | None = None
    find: Callable[[str], str | None] | None = None
    faults: list[LabelError] | None = None
    notes: Notes = field(default_factory=Notes)

    def name(self, path: Path, suffixes: Sequence[str] = ()) -> str:
        """Name of the recording of a file that names none."""
        return self.recording or own_name(path, suffixes)

    def text(self, path: Path) -> str:
        """A file's text, as of `read_text`."""
        return read_text(path, self.encoding, self.notes)

    def lines(self, path: Path) -> list[str]:
        """Its lines."""
        return split_lines(self.text(path))

    @contextmanager
    def row(self) -> Iterator[None]:
        """What is done with one row: its mistake is kept where mistakes are collected."""
        try:
            yield
        except LabelError as error:
            if self.faults is None:
                raise
            self.faults.append(error)


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
    read: Callable[[Path, Hints], Content]
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
    named: list[Named] = []
    for filename, onset, offset, label, score in zip(*columns, scores, strict=True):
        check_name(filename)
        own = _score(score, filename)
        named.append((filename, checked_event(float(onset), float(offset), label, filename, own)))
    if format.one_recording and len({name for name, _ in named}) > 1:
        raise LabelError(
            f"a file of the format {name} holds the events of one recording",
            hint="Write one file for each recording",
        )
    return Content(named, scored, recording)


def _score(score: float | None, filename: str) -> float | None:
    """A score, or None for what tables have where there is none."""
    if score is None or math.isnan(score):
        return None
    if math.isinf(score):
        raise LabelError(f"an event with the score {score}", where=filename)
    return float(score)


def event_table(events: Iterable[Named], *, scored: bool = False) -> pd.DataFrame:
    """Events as a table, with or without a column of scores."""
    import pandas as pd

    columns = [*EVENT_COLUMNS, *(["score"] if scored else [])]
    rows = [(name, *event)[: len(columns)] for name, event in events]
    numbers = [column for column in columns if column in ("onset", "offset", "score")]
    return pd.DataFrame(rows, columns=columns).astype(dict.fromkeys(numbers, "float64"))


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
