"""Selection tables of Raven: rows of tabs with a header, one selection in one or more rows.

Raven Pro User's Manual, "Selection tables": a selection has one row for each view it is seen in,
with the same number and times; further columns are measurements and annotations, which each user
names. Times are of the whole sound that was opened, which may be several files in a row; then
"File Offset (s)" is the time in the file that "Begin File" names.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np

from earmark.core.errors import LabelError
from earmark.core.formats.base import Content, EventFormat, Hints
from earmark.core.formats.columns import NEEDED, columns_of, events_of_rows, rows_of
from earmark.core.naming import base_name
from earmark.core.tables.rows import Row, join_row, parse_number, read_table
from earmark.core.timeline import SAMPLE_RATE

SUFFIXES = (".Table.1.selections.txt", ".selections.txt", ".txt")
"""How the names of selection tables end; the first is Raven's own for a recording's first table."""
BEGIN, END, OFFSET = "Begin Time (s)", "End Time (s)", "File Offset (s)"
FILE, PATH = "Begin File", "Begin Path"
_HEADER = (
    "Selection",
    "View",
    "Channel",
    BEGIN,
    END,
    "Low Freq (Hz)",
    "High Freq (Hz)",
    FILE,
    "Annotation",
)
TAB = "\t"
_TOP = SAMPLE_RATE / 2  # Hz; what the networks hear


def is_selection_table(first: str) -> bool:
    """Whether the first line of a text file is the header of a selection table."""
    return {BEGIN, END} <= {heading.strip() for heading in first.split("\t")}


def _write(content: Content) -> str:
    foldered = any("/" in filename for filename, _ in content.events)
    rows = [
        [
            str(selection),
            "Spectrogram 1",
            "1",
            _seconds(onset),
            _seconds(offset),
            "0.0",
            str(_TOP),
            base_name(filename),
            label,
            *([filename] if foldered else []),
            *([] if not content.scored else ["" if score is None else _seconds(score)]),
        ]
        for selection, (filename, (onset, offset, label, score)) in enumerate(content.events, 1)
    ]
    header = [*_HEADER, *([PATH] if foldered else []), *(["Score"] if content.scored else [])]
    return "".join(f"{join_row(row, TAB)}\n" for row in [header, *rows])


def _seconds(value: float) -> str:
    """A number to its last bit, without an exponent."""
    return np.format_float_positional(value, trim="0")


def _read(path: Path, hints: Hints) -> Content:
    table = read_table(path, (BEGIN, END), encoding=hints.encoding, notes=hints.notes)
    columns = columns_of(table.columns, hints, path, needs=NEEDED)
    columns |= {"onset": BEGIN, "offset": END}
    rows = _selections(rows_of(table, hints))
    if "filename" in columns:
        rows = _in_their_files(path, rows, columns["filename"], hints)
    events = events_of_rows(path, rows, columns, hints.name(path, SUFFIXES), hints)
    return Content(events, "score" in columns)


def _selections(rows: Iterable[Row]) -> Iterator[Row]:
    """Each selection once, whatever the number of views it was seen in."""
    views: dict[tuple[str | None, ...], str | None] = {}
    for line, row in rows:
        key = tuple(map(row.get, ("Selection", BEGIN, END, PATH, FILE, "Annotation")))
        view = row.get("View")
        if view is None or not row.get("Selection") or views.setdefault(key, view) == view:
            yield line, row


def _in_their_files(path: Path, rows: Iterable[Row], file: str, hints: Hints) -> Iterator[Row]:
    """Rows with the times in their own files; without a path, these are known by base name."""
    for line, row in rows:
        own: dict[str, str] | None = None
        with hints.row():
            own = _in_its_file(path, line, row)
        if own is not None:
            yield line, own | {file: own[file] or own.get(FILE, "")}


def _in_its_file(path: Path, line: int, row: dict[str, str]) -> dict[str, str]:
    if not row.get(OFFSET) or row[OFFSET] == row[BEGIN]:
        return row
    begin, end, offset = (
        parse_number(row[column], column, path, line) for column in (BEGIN, END, OFFSET)
    )
    if end < begin:
        raise LabelError(f"an event from {begin:g} s to {end:g} s", where=f"{path}:{line}")
    return row | {BEGIN: repr(offset), END: repr(offset + (end - begin))}


RAVEN = EventFormat(
    suffix=SUFFIXES[0],
    title="selection table of Raven",
    write=_write,
    read=_read,
    one_recording=True,
)
