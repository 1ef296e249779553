"""Events as tables of tabs or commas, with a header or, of others, without one."""

from __future__ import annotations

import csv
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

from earmark.core.errors import LabelError
from earmark.core.event import EVENT_COLUMNS
from earmark.core.formats.base import Content, EventFormat, Hints, Named
from earmark.core.formats.columns import (
    NEEDED,
    columns_of,
    events_of_rows,
    is_kaleidoscope,
    rows_of,
    rows_of_kaleidoscope,
)
from earmark.core.tables.rows import (
    is_time,
    join_row,
    no_formula,
    parse_event,
    parse_number,
    read_table,
    six_digits,
)


def _write(
    content: Content,
    delimiter: str,
    number: Callable[[float], str],
    text: Callable[[str], str] = str,
) -> str:
    lines = [join_row([*EVENT_COLUMNS, *(["score"] if content.scored else [])], delimiter)]
    for filename, (onset, offset, label, score) in content.events:
        scores = ["" if score is None else number(score)] if content.scored else []
        fields = [text(filename), repr(onset), repr(offset), text(label), *scores]
        lines.append(join_row(fields, delimiter))
    return "".join(f"{line}\n" for line in lines)


def _read(path: Path, hints: Hints) -> Content:
    table = read_table(path, encoding=hints.encoding, notes=hints.notes)
    columns = columns_of(table.columns, hints, path, needs=NEEDED)
    rows = rows_of(table, hints)
    if is_kaleidoscope(columns):
        rows = rows_of_kaleidoscope(path, rows, hints)
    events = events_of_rows(path, rows, columns, hints.name(path), hints)
    return Content(events, "score" in columns)


def has_times(line: str) -> bool:
    """Whether a line has two times side by side, as no header has."""
    times = [is_time(field) for field in _fields(line)]
    return any(map(all, pairwise(times)))


def read_headerless(path: Path, hints: Hints) -> Content:
    """Read lines of times and class without a header, as DCASE's label files and BirdNET's are.

    A line is onset, offset, class and perhaps a score; a file name, and a scene, may stand before
    them. Between fields are tabs, commas, semicolons or, where there is none of these, spaces.

    Raises:
        LabelError: If a line is none; it names the line.
    """
    events: list[Named] = []
    for line, text in enumerate(hints.lines(path), start=1):
        if text.strip():
            with hints.row():
                events += _headerless(path, line, _fields(text), hints)
    return Content(events, any(event.score is not None for _, event in events))


def _fields(line: str) -> list[str]:
    sign = next((sign for sign in "\t;," if sign in line), None)
    if sign is not None:
        return [field.strip() for field in next(csv.reader([line], delimiter=sign), [])]
    fields = line.split()
    for place, pair in enumerate(pairwise(fields)):
        if all(map(is_time, pair)):
            return [*fields[: place + 2], " ".join(fields[place + 2 :])]
    return fields


def _headerless(path: Path, line: int, fields: list[str], hints: Hints) -> list[Named]:
    places = [p for p, pair in enumerate(pairwise(fields[:-1])) if all(map(is_time, pair))]
    named = [place for place in places if not is_time(fields[place + 2])]
    if not places:
        if fields[0] and not any(fields[1:]):
            return []  # a recording without events
        raise LabelError(
            "not a line of labels: onset, offset and class, perhaps a file name before them",
            where=f"{path}:{line}",
        )
    place = (named or places)[0]
    row = dict(zip(("onset", "offset", "event_label"), fields[place:], strict=False))
    event = parse_event(path, line, row, hints.notes)
    after = fields[place + 3] if len(fields) > place + 3 else ""
    score = parse_number(after, "score", path, line) if is_time(after) else None
    name = fields[0] if place else hints.name(path)
    return [] if event is None else [(name, event._replace(score=score))]


TSV = EventFormat(
    suffix=".tsv",
    title="table, separated by tabs",
    write=lambda content: _write(content, "\t", repr),
    read=_read,
)
CSV = EventFormat(
    suffix=".csv",
    title="table, separated by commas",
    write=lambda content: _write(content, ",", six_digits, no_formula),
    read=_read,
)
