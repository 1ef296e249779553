"""The label tables of a dataset, as DESED has them: strong, weak, durations.

Tab-separated text with a header (Turpault et al., "Sound event detection in domestic environments
with weakly labeled data and soundscape synthesis", DCASE 2019). A table is read row by row, and a
row that cannot be understood is kept as a `Fault` beside the others: datasets leave its clip out,
the doctor lists them all.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, NamedTuple, TypeVar

from earmark.core.errors import LabelError
from earmark.core.event import EVENT_COLUMNS, Event
from earmark.core.files import Notes, write_lines
from earmark.core.naming import base_name
from earmark.core.tables.rows import (
    check_label,
    check_name,
    is_nothing,
    join_row,
    parse_event,
    parse_number,
    read_table,
)

WEAK_COLUMNS = ("filename", "event_labels")
DURATION_COLUMNS = ("filename", "duration")

R = TypeVar("R")


class StrongRow(NamedTuple):
    """An event of a clip, and the line it stands in."""

    line: int
    filename: str
    event: Event


class WeakRow(NamedTuple):
    """The classes of a clip, and the line they stand in."""

    line: int
    filename: str
    labels: tuple[str, ...]


class DurationRow(NamedTuple):
    """Seconds of a clip, and the line they stand in."""

    line: int
    filename: str
    seconds: float


@dataclass(frozen=True)
class Fault:
    """A row that cannot be understood.

    Attributes:
        line: Of the file, counted from 1.
        filename: Its clip as it is listed; empty where the row names none.
        error: What is wrong, with file, line and hint.
    """

    line: int
    filename: str
    error: LabelError


@dataclass(frozen=True)
class Table(Generic[R]):
    """A label table.

    Attributes:
        path: The file.
        columns: Its header.
        rows: What could be understood, in the file's order.
        clips: The clip of every row of data as it is listed, repeats and faulty rows included;
            empty for a row that names none.
        faults: Rows that could not be understood.
    """

    path: Path
    columns: tuple[str, ...]
    rows: tuple[R, ...]
    clips: tuple[str, ...]
    faults: tuple[Fault, ...]

    @property
    def listed(self) -> list[str]:
        """Names of all clips as they are listed, each once, in the file's order."""
        return [name for name in dict.fromkeys(self.clips) if name]

    def checked(self) -> Table[R]:
        """Itself.

        Raises:
            LabelError: The first of its faults, if it has any.
        """
        for fault in self.faults:
            raise fault.error
        return self


def strong_table(path: str | Path) -> Table[StrongRow]:
    """Read strong labels: ``filename onset offset event_label``, separated by tabs.

    A row with empty (or NaN) fields stands for a clip without events.

    Raises:
        LabelError: If the file cannot be read or lacks a column.
    """
    path = Path(path)

    def parse(line: int, name: str, row: Mapping[str, str], notes: Notes) -> StrongRow | None:
        event = parse_event(path, line, row, notes)
        return None if event is None else StrongRow(line, name, event)

    return _table(path, EVENT_COLUMNS, parse)


def weak_table(path: str | Path) -> Table[WeakRow]:
    """Read weak labels: ``filename event_labels``, the labels separated by commas.

    Raises:
        LabelError: If the file cannot be read or lacks a column.
    """

    def parse(line: int, name: str, row: Mapping[str, str], _: Notes) -> WeakRow:
        written = row["event_labels"]
        labels = [] if is_nothing(written) else [label.strip() for label in written.split(",")]
        kept = tuple(dict.fromkeys(filter(None, labels)))
        for label in kept:
            check_label(label, f"{path}:{line}")
        return WeakRow(line, name, kept)

    return _table(path, WEAK_COLUMNS, parse)


def duration_table(path: str | Path) -> Table[DurationRow]:
    """Read durations: ``filename duration``, seconds; one of each clip.

    Raises:
        LabelError: If the file cannot be read or lacks a column.
    """
    found: dict[str, float] = {}

    def parse(line: int, name: str, row: Mapping[str, str], _: Notes) -> DurationRow:
        seconds = parse_number(row["duration"], "duration", path, line)
        if seconds <= 0 or found.setdefault(name, seconds) != seconds:
            raise LabelError(
                f"{name} has the duration {seconds:g} s"
                + (f", before it was {found[name]:g} s" if name in found else ""),
                where=f"{path}:{line}",
                hint="Give each clip one positive duration",
            )
        return DurationRow(line, name, seconds)

    return _table(path, DURATION_COLUMNS, parse)


def join_weak(rows: Iterable[WeakRow]) -> dict[str, tuple[str, ...]]:
    """Name → labels, each once; those of a clip's several rows together."""
    found: dict[str, tuple[str, ...]] = {}
    for _, name, labels in rows:
        found[name] = tuple(dict.fromkeys([*found.get(name, ()), *labels]))
    return found


def write_strong(path: str | Path, events: Mapping[str, Sequence[Event]]) -> None:
    """Write strong labels as `strong_table` reads them; times are written exactly.

    Args:
        path: The file; its folder is made.
        events: File name of each clip → its events; a clip without any gets a row of empty fields.

    Raises:
        LabelError: If a name would not come back as it is.
    """
    rows: list[list[str]] = []
    for name, own in events.items():
        for onset, offset, label, _ in own:
            check_label(label, path)
            rows.append([name, repr(float(onset)), repr(float(offset)), label])
        rows += [] if own else [[name, "", "", ""]]
    _write_rows(path, EVENT_COLUMNS, rows)


def write_weak(path: str | Path, mapping: Mapping[str, Sequence[str]]) -> None:
    """Write weak labels as `weak_table` reads them.

    Raises:
        LabelError: If a name would not come back as it is, or a label holds a comma.
    """
    for name, labels in mapping.items():
        if any("," in label for label in labels):
            raise LabelError(
                f"a label of {name} holds a comma", where=path, hint="Rename the class"
            )
        for label in labels:
            check_label(label, path)
        if is_nothing(",".join(labels)) and labels:
            raise LabelError(
                f"the class name {labels[0]!r} of {name} would be read as no class",
                where=path,
                hint="Rename the class",
            )
    _write_rows(path, WEAK_COLUMNS, [[name, ",".join(own)] for name, own in mapping.items()])


def write_durations(path: str | Path, mapping: Mapping[str, float]) -> None:
    """Write durations in seconds as `duration_table` reads them."""
    rows = [[name, repr(float(seconds))] for name, seconds in mapping.items()]
    _write_rows(path, DURATION_COLUMNS, rows)


def _table(
    path: str | Path,
    columns: Sequence[str],
    parse: Callable[[int, str, Mapping[str, str], Notes], R | None],
) -> Table[R]:
    notes = Notes()
    table = read_table(path, columns, notes=notes)
    rows: list[R] = []
    clips: list[str] = []
    faults: list[Fault] = []
    for line, text in table.lines:
        # Even of a row that is no row of the table the clip should be known.
        name = table.field(text, "filename")
        try:
            fields = table.row(line, text)
            name = fields["filename"]
            if not base_name(name):
                raise LabelError("a row without a file name", where=f"{path}:{line}")
            row = parse(line, name, fields, notes)
            if row is not None:
                rows.append(row)
        except LabelError as error:
            faults.append(Fault(line, name, error))
        clips.append(name)
    notes.report()
    return Table(table.path, table.columns, tuple(rows), tuple(clips), tuple(faults))


def _write_rows(path: str | Path, columns: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    lines = ["\t".join(columns)]
    for row in rows:
        check_name(row[0], path)
        lines.append(join_row(row, "\t"))
    write_lines(path, lines)
