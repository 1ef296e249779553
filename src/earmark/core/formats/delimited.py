"""Events as tables of tabs or commas, with a header."""

from __future__ import annotations

from pathlib import Path

from earmark.core.event import EVENT_COLUMNS
from earmark.core.formats.base import Content, EventFormat, Hints
from earmark.core.formats.columns import NEEDED, columns_of, events_of_rows, rows_of
from earmark.core.tables.rows import join_row, read_table


def _write(content: Content, delimiter: str) -> str:
    lines = [join_row([*EVENT_COLUMNS, *(["score"] if content.scored else [])], delimiter)]
    for filename, (onset, offset, label, score) in content.events:
        scores = ["" if score is None else repr(score)] if content.scored else []
        lines.append(join_row([filename, repr(onset), repr(offset), label, *scores], delimiter))
    return "".join(f"{line}\n" for line in lines)


def _read(path: Path, hints: Hints) -> Content:
    table = read_table(path, encoding=hints.encoding, notes=hints.notes)
    columns = columns_of(table.columns, hints, path, needs=NEEDED)
    events = events_of_rows(path, rows_of(table, hints), columns, hints.name(path), hints)
    return Content(events, "score" in columns)


TSV = EventFormat(
    suffix=".tsv",
    title="table, separated by tabs",
    write=lambda content: _write(content, "\t"),
    read=_read,
)
CSV = EventFormat(
    suffix=".csv",
    title="table, separated by commas",
    write=lambda content: _write(content, ","),
    read=_read,
)
