"""The label tables of a dataset, as DESED has them: strong, weak, durations.

Tab-separated text with a header (Turpault et al., "Sound event detection in domestic environments
with weakly labeled data and soundscape synthesis", DCASE 2019). A table is read row by row, and a
row that cannot be understood is kept as a `Fault` beside the others: `read_strong`, `read_weak`
and `read_durations` raise the first one, datasets leave its clip out, the doctor lists them all.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, NamedTuple, TypeVar

import pandas as pd

from earmark.core.errors import LabelError
from earmark.core.event import EVENT_COLUMNS, Event
from earmark.core.files import write_lines
from earmark.core.tables.rows import (
    BaseNames,
    base_name,
    check_label,
    check_name,
    is_nothing,
    join_row,
    parse_event,
    parse_number,
    parse_row,
    read_header,
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
        filename: Base name of its clip; empty where the row names none.
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
        clips: Base name of the clip of every row of data, in the file's order, repeats and faulty
            rows included; empty for a row that names none.
        faults: Rows that could not be understood.
    """

    path: Path
    columns: tuple[str, ...]
    rows: tuple[R, ...]
    clips: tuple[str, ...]
    faults: tuple[Fault, ...]

    @property
    def listed(self) -> list[str]:
        """Base names of all clips, each once, in the file's order."""
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
    """Read strong labels row by row; see `read_strong`.

    Raises:
        LabelError: If the file cannot be read or lacks a column.
    """

    def parse(path: Path, line: int, name: str, row: Mapping[str, str]) -> StrongRow | None:
        event = parse_event(path, line, row)
        return None if event is None else StrongRow(line, name, event)

    return _table(path, EVENT_COLUMNS, parse)


def weak_table(path: str | Path) -> Table[WeakRow]:
    """Read weak labels row by row; see `read_weak`.

    Raises:
        LabelError: If the file cannot be read or lacks a column.
    """

    def parse(path: Path, line: int, name: str, row: Mapping[str, str]) -> WeakRow:
        labels = [label.strip() for label in row["event_labels"].split(",")]
        kept = tuple(dict.fromkeys(label for label in labels if not is_nothing(label)))
        for label in kept:
            check_label(label, f"{path}:{line}")
        return WeakRow(line, name, kept)

    return _table(path, WEAK_COLUMNS, parse)


def duration_table(path: str | Path) -> Table[DurationRow]:
    """Read durations row by row; see `read_durations`.

    Raises:
        LabelError: If the file cannot be read or lacks a column.
    """
    found: dict[str, float] = {}

    def parse(path: Path, line: int, name: str, row: Mapping[str, str]) -> DurationRow:
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


def read_strong(path: str | Path) -> tuple[pd.DataFrame, list[str]]:
    """Read strong labels: ``filename onset offset event_label``, separated by tabs.

    Args:
        path: The file. A row with empty (or NaN) fields stands for a clip without events.

    Returns:
        The events, and the base names of all clips listed, each once, in the file's order.

    Raises:
        LabelError: If the file is not such a table; it names the line.
    """
    table = strong_table(path).checked()
    return event_frame((row.filename, *row.event[:3]) for row in table.rows), table.listed


def read_weak(path: str | Path) -> dict[str, tuple[str, ...]]:
    """Read weak labels: ``filename event_labels``, the labels separated by commas.

    Returns:
        Base name → labels, each once, in the file's order; empty for a clip without events.

    Raises:
        LabelError: If the file is not such a table; it names the line.
    """
    return join_weak(weak_table(path).checked().rows)


def join_weak(rows: Iterable[WeakRow]) -> dict[str, tuple[str, ...]]:
    """Base name → labels, each once; those of a clip's several rows together."""
    found: dict[str, tuple[str, ...]] = {}
    for _, name, labels in rows:
        found[name] = tuple(dict.fromkeys([*found.get(name, ()), *labels]))
    return found


def read_durations(path: str | Path) -> dict[str, float]:
    """Read durations: ``filename duration``, seconds.

    Raises:
        LabelError: If the file is not such a table, a duration is not a positive number, or a
            clip has two; it names the line.
    """
    return {row.filename: row.seconds for row in duration_table(path).checked().rows}


def write_strong(
    path: str | Path, events: pd.DataFrame, filenames: Sequence[str] | None = None
) -> None:
    """Write strong labels as `read_strong` reads them; times are written exactly.

    Args:
        path: The file; its folder is made.
        events: Table with the columns of ``EVENT_COLUMNS``.
        filenames: All clips in order; those without events get a row of empty fields. Without
            it, the clips of the events.

    Raises:
        LabelError: If a name would not come back as it is.
    """
    by_file: dict[str, list[list[str]]] = {name: [] for name in filenames or ()}
    columns = (events[name].tolist() for name in EVENT_COLUMNS)
    for filename, onset, offset, label in zip(*columns, strict=True):
        check_label(label, path)
        row = [filename, repr(float(onset)), repr(float(offset)), label]
        by_file.setdefault(filename, []).append(row)
    rows = [row for name, own in by_file.items() for row in own or [[name, "", "", ""]]]
    _write_rows(path, EVENT_COLUMNS, rows)


def write_weak(path: str | Path, mapping: Mapping[str, Sequence[str]]) -> None:
    """Write weak labels as `read_weak` reads them.

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
    _write_rows(path, WEAK_COLUMNS, [[name, ",".join(own)] for name, own in mapping.items()])


def write_durations(path: str | Path, mapping: Mapping[str, float]) -> None:
    """Write durations in seconds as `read_durations` reads them."""
    rows = [[name, repr(float(seconds))] for name, seconds in mapping.items()]
    _write_rows(path, DURATION_COLUMNS, rows)


def event_frame(
    events: Iterable[tuple[Any, ...]], columns: Sequence[str] = EVENT_COLUMNS
) -> pd.DataFrame:
    """A table of events, times as float64."""
    table = pd.DataFrame(list(events), columns=list(columns))
    return table.astype({"onset": "float64", "offset": "float64"})


def _table(
    path: str | Path,
    columns: Sequence[str],
    parse: Callable[[Path, int, str, Mapping[str, str]], R | None],
) -> Table[R]:
    path = Path(path)
    header, lines = read_header(path, "\t", columns)
    names = BaseNames(path)
    rows: list[R] = []
    clips: list[str] = []
    faults: list[Fault] = []
    for line, text in lines:
        # Even of a row that is no row of the table the clip should be known.
        name = base_name((text.split("\t") + [""] * len(header))[header.index("filename")].strip())
        try:
            fields = parse_row(path, line, header, text, "\t")
            name = names.base(fields["filename"], line)
            row = parse(path, line, name, fields)
            if row is not None:
                rows.append(row)
        except LabelError as error:
            faults.append(Fault(line, name, error))
        clips.append(name)
    return Table(path, header, tuple(rows), tuple(clips), tuple(faults))


def _write_rows(path: str | Path, columns: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    lines = ["\t".join(columns)]
    for row in rows:
        check_name(row[0], path)
        lines.append(join_row(row, "\t"))
    write_lines(path, lines)
