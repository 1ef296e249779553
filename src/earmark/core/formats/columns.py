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
    "filename": (
        "filename",
        "file",
        "file name",
        "begin path",
        "begin file",
        "recording",
        "audio",
        "audio file",
        "filepath",
        "path",
        "segment id",
    ),
    "onset": (
        "onset",
        "begin time",
        "start time",
        "start",
        "begin",
        "onset s",
        "start time seconds",
        "start seconds",
    ),
    "offset": (
        "offset",
        "end time",
        "end",
        "stop",
        "offset s",
        "end time seconds",
        "stop seconds",
        "stop time",
    ),
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


PROGRAMS: tuple[tuple[frozenset[str], Mapping[str, tuple[str, ...]]], ...] = (
    (  # Kaleidoscope, whose OFFSET is where an event begins, and BirdNET's tables of that form
        frozenset({"in file", "offset", "duration"}),
        {
            "filename": ("in file",),
            "onset": ("offset",),
            "duration": ("duration",),
            "event_label": ("manual id", "auto id", "top1match", "common name"),
            "score": ("confidence",),
        },
    ),
    (  # crowsetta, whose "annotation" is a number
        frozenset({"label", "onset s", "offset s", "annotation"}),
        {
            "filename": ("notated path",),
            "onset": ("onset s",),
            "offset": ("offset s",),
            "event_label": ("label",),
        },
    ),
    (frozenset({"name", "start", "duration"}), {"event_label": ("name",)}),  # Adobe Audition
    (frozenset({"name", "start", "end"}), {"event_label": ("name",)}),  # Reaper
    (frozenset({"name", "start seconds", "stop seconds"}), {"event_label": ("name",)}),  # DAS
)
"""Headings by which the tables of a program are known → what else its columns are called."""

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
    program = next((names for marks, names in PROGRAMS if marks <= plain.keys()), {})
    for ours, names in ({} if "onset" in program else NAMES).items():
        there = [plain[name] for name in names if name in plain]
        if there:
            found[ours] = there[0]
        if ours == "event_label" and len(there) > 1 and _plain(there[0]) != "event label":
            found[ours] = _chosen(header, hints, there, where)
    for ours, names in program.items():
        own = next((plain[name] for name in names if name in plain), None)
        if own is not None:
            found.setdefault(ours, own)
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


def is_kaleidoscope(columns: Mapping[str, str]) -> bool:
    """Whether the columns that were found are those of such a table."""
    return _plain(columns["onset"]) == "offset" and _plain(columns.get("filename", "")) == "in file"


_FOLDERS = ("indir", "folder")


def rows_of_kaleidoscope(path: Path, rows: Iterable[Row], hints: Hints) -> Iterator[Row]:
    """Rows of a table of Kaleidoscope: the person's name of an event before the program's.

    Files are named with their folders; a row without a name of either is no event.
    """
    names = dict(PROGRAMS[0][1])
    for line, row in rows:
        plain = {_plain(name): name for name in row}
        ids = [plain[name] for name in names["event_label"] if name in plain]
        label = next((row[name] for name in ids if row[name]), "")
        if hints.label_column is None and not label:
            hints.notes.add("a row without a name of its sound is left aside", f"{path}:{line}")
            continue
        parts = [row.get(plain.get(name, ""), "") for name in (*_FOLDERS, "in file")]
        yield line, row | {ids[0]: label, plain["in file"]: "/".join(filter(None, parts))}


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
