"""Which column of someone's table is which: names other programs use for the same thing."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from fractions import Fraction
from pathlib import Path

from earmark.core.errors import LabelError
from earmark.core.formats.base import Hints, Named
from earmark.core.tables.rows import (
    Row,
    TextTable,
    is_nothing,
    parse_event,
    parse_number,
    seconds_of,
)

NAMES: Mapping[str, tuple[str, ...]] = {
    "filename": ("filename", "file", "file name", "begin path", "begin file", "recording", "audio"),
    "onset": ("onset", "begin time", "start time", "start", "begin", "onset s"),
    "offset": ("offset", "end time", "end", "stop", "offset s"),
    "event_label": (
        "event label",
        "label",
        "annotation",
        "class",
        "event",
        "species",
        "common name",
    ),
    "score": ("score", "confidence"),
    "duration": ("duration", "length"),
}
"""What columns are called, without case, unit and punctuation; the first one there is taken."""


NEEDED = ("onset", "offset", "event_label")
"""What a row needs to be an event; the offset may be a duration instead."""
NUMBERS = frozenset({"onset", "offset", "score", "duration"})
"""Fields that are numbers."""


def _plain(name: str) -> str:
    """A heading without case, underscores and ``(s)``."""
    return " ".join(name.lower().replace("(s)", " ").replace("_", " ").split())


def columns_of(
    header: Sequence[str], hints: Hints, where: str | Path, *, needs: Sequence[str]
) -> dict[str, str]:
    """Finds the columns of events.

    Args:
        header: Names of all columns.
        hints: Of which the label's column overrides what is found.
        where: The file, for errors.
        needs: Which of ``NAMES`` must be there.

    Returns:
        Name of ours → name of theirs.

    Raises:
        LabelError: If one is missing, or several columns could be the class.
    """
    plain = {_plain(name): name for name in reversed(header)}
    found = {}
    for ours, names in NAMES.items():
        there = [plain[name] for name in names if name in plain]
        if there:
            found[ours] = there[0]
        if ours == "event_label" and len(there) > 1 and _plain(there[0]) != "event label":
            found[ours] = _chosen(header, hints, there, where)
    if hints.label_column is not None:
        found["event_label"] = _chosen(header, hints, [], where)
    found |= {ours: _there(header, theirs, where) for ours, theirs in hints.columns.items()}
    if "duration" in hints.columns or "offset" in found:
        found.pop("offset" if "duration" in hints.columns else "duration", None)
    needs = [name for name in needs if name != "offset" or "duration" not in found]
    lacking = [name for name in needs if name not in found]
    if lacking:
        raise LabelError(
            f"no column for {', '.join(lacking)} among {', '.join(header)}",
            where=where,
            hint="Name the class's column (label_column)"
            if lacking == ["event_label"]
            else f"Call it {' or '.join(NAMES[lacking[0]][:3])}",
        )
    return found


def _end(path: Path, line: int, row: Mapping[str, str]) -> str:
    """Onset and duration of a row, added in decimals as they are written."""
    if is_nothing(row["onset"]) and is_nothing(row["duration"]):
        return ""
    for name in ("onset", "duration"):
        parse_number(row[name], name, path, line)
    return repr(float(Fraction(row["onset"]) + Fraction(row["duration"])))


def _chosen(
    header: Sequence[str], hints: Hints, candidates: Sequence[str], where: str | Path
) -> str:
    if hints.label_column is None:
        raise LabelError(
            f"the columns {' and '.join(candidates)} could both hold the class",
            where=where,
            hint="Name the class's column (label_column)",
        )
    return _there(header, hints.label_column, where)


def _there(header: Sequence[str], name: str, where: str | Path) -> str:
    if name not in header:
        raise LabelError(f"no column {name!r} among {', '.join(header)}", where=where)
    return name


def events_of_rows(
    path: Path, rows: Iterable[Row], columns: Mapping[str, str], recording: str, hints: Hints
) -> list[Named]:
    """Events of the rows of a table.

    Args:
        path: The table, for errors.
        rows: Its rows.
        columns: As `columns_of` finds them.
        recording: File name of events that name none.
        hints: With what becomes of rows that are no events.

    Raises:
        LabelError: If a row is no event; it names the line.
    """
    events = []
    for line, row in rows:
        with hints.row():
            named = _event(path, line, row, columns, recording, hints)
            events += [] if named is None else [named]
    return events


def rows_of(table: TextTable, hints: Hints) -> Iterator[Row]:
    """Rows of a table; what becomes of those that are none, ``hints`` say."""
    for line, text in table.lines:
        row: dict[str, str] | None = None
        with hints.row():
            row = table.row(line, text)
        if row is not None:
            yield line, row


def _event(
    path: Path,
    line: int,
    row: Mapping[str, str],
    columns: Mapping[str, str],
    recording: str,
    hints: Hints,
) -> Named | None:
    ours = {name: row[theirs] for name, theirs in columns.items()}
    ours |= {name: seconds_of(ours[name]) for name in NUMBERS & ours.keys()}
    if "duration" in ours:
        ours["offset"] = _end(path, line, ours)
    event = parse_event(path, line, ours, hints.notes)
    if event is None:
        return None
    name = ours.get("filename", recording)
    if not name:
        raise LabelError("an event without a file name", where=f"{path}:{line}")
    written = ours.get("score", "")
    score = None if is_nothing(written) else parse_number(written, "score", path, line)
    return name, event._replace(score=score)
