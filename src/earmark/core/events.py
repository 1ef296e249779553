"""Events, their labels, and the files they are kept in.

Events are a table with the columns of ``EVENT_COLUMNS``, times in seconds. The tab-separated
files are those of the DESED dataset (Turpault et al., "Sound event detection in domestic
environments with weakly labeled data and soundscape synthesis", DCASE 2019).
"""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import pandas as pd

from earmark.core.errors import LabelError

EVENT_COLUMNS = ("filename", "onset", "offset", "event_label")
"""Columns of a table of events; ``score`` may follow."""

_NOTHING = frozenset({"", "nan", "na", "n/a", "none", "null"})
Row = tuple[int, dict[str, str]]


@dataclass(frozen=True)
class LabelSet:
    """The classes of a task in the order of a network's outputs.

    Attributes:
        names: Class names, each once.

    Raises:
        LabelError: If a name is empty or occurs twice.
    """

    names: tuple[str, ...]

    def __post_init__(self) -> None:
        if len(set(self.names)) != len(self.names):
            twice = sorted({name for name in self.names if self.names.count(name) > 1})
            raise LabelError(f"class names occur twice: {', '.join(twice)}")
        if not all(name.strip() for name in self.names):
            raise LabelError("a class name is empty")

    @classmethod
    def from_names(cls, names: Iterable[str]) -> LabelSet:
        """The sorted set of all names."""
        return cls(tuple(sorted(set(names))))

    def index(self, name: str) -> int:
        """Position of a class.

        Raises:
            LabelError: If there is no such class.
        """
        try:
            return self.names.index(name)
        except ValueError:
            raise LabelError(
                f"no class is called {name!r}", mend=f"Known classes: {', '.join(self.names)}"
            ) from None

    def __len__(self) -> int:
        return len(self.names)

    def __iter__(self) -> Iterator[str]:
        return iter(self.names)

    def __contains__(self, name: object) -> bool:
        return name in self.names


def clip_id(filename: str) -> str:
    """A file name without its last extension.

    The end of ``Y00pbt6aJV8Y_350.000_360.000`` is a time and no extension, so it stays.
    """
    stem, dot, suffix = filename.rpartition(".")
    return stem if dot and stem and not suffix.isdecimal() else filename


def events_by_clip(events: pd.DataFrame) -> dict[str, list[tuple[float, float, str]]]:
    """Events of each clip that has any.

    Args:
        events: Table with the columns of ``EVENT_COLUMNS``.

    Returns:
        Clip id (file name without its last extension) → (onset, offset, label), times in
        seconds, in the table's order.
    """
    clips: dict[str, list[tuple[float, float, str]]] = {}
    columns = (events[name].tolist() for name in EVENT_COLUMNS)
    for filename, onset, offset, label in zip(*columns, strict=True):
        clips.setdefault(clip_id(filename), []).append((float(onset), float(offset), label))
    return clips


def read_strong(path: str | Path) -> tuple[pd.DataFrame, list[str]]:
    """Read strong labels: ``filename onset offset event_label``, separated by tabs.

    Args:
        path: The file. A row with empty (or NaN) fields stands for a clip without events.

    Returns:
        The events, and the base names of all clips listed, each once, in the file's order.

    Raises:
        LabelError: If the file is not such a table; it names the line.
    """
    rows = _read_rows(Path(path), "\t", EVENT_COLUMNS)
    return _event_table(Path(path), rows, score=False)


def read_weak(path: str | Path) -> dict[str, tuple[str, ...]]:
    """Read weak labels: ``filename event_labels``, the labels separated by commas.

    Returns:
        Base name → labels, each once, in the file's order; empty for a clip without events.

    Raises:
        LabelError: If the file is not such a table; it names the line.
    """
    names = _Names(Path(path))
    found: dict[str, tuple[str, ...]] = {}
    for line, row in _read_rows(Path(path), "\t", ("filename", "event_labels")):
        name = names.base(row["filename"], line)
        labels = (label.strip() for label in row["event_labels"].split(","))
        kept = [label for label in labels if label.lower() not in _NOTHING]
        found[name] = tuple(dict.fromkeys([*found.get(name, ()), *kept]))
    return found


def read_durations(path: str | Path) -> dict[str, float]:
    """Read durations: ``filename duration``, seconds.

    Raises:
        LabelError: If the file is not such a table, a duration is not a positive number, or a
            clip has two; it names the line.
    """
    names = _Names(Path(path))
    found: dict[str, float] = {}
    for line, row in _read_rows(Path(path), "\t", ("filename", "duration")):
        name = names.base(row["filename"], line)
        seconds = _number(row["duration"], "duration", path, line)
        if seconds <= 0 or found.get(name, seconds) != seconds:
            raise LabelError(
                f"{name} has the duration {seconds:g} s"
                + (f", before it was {found[name]:g} s" if name in found else ""),
                where=f"{path}:{line}",
                mend="Give each clip one positive duration",
            )
        found[name] = seconds
    return found


def write_strong(
    path: str | Path, events: pd.DataFrame, filenames: Sequence[str] | None = None
) -> None:
    """Write strong labels as `read_strong` reads them; times are written exactly.

    Args:
        path: The file; its folder is made.
        events: Table with the columns of ``EVENT_COLUMNS``.
        filenames: All clips in order; those without events get a row of empty fields. Without
            it, the clips of the events.
    """
    by_file: dict[str, list[str]] = {name: [] for name in filenames or ()}
    columns = (events[name].tolist() for name in EVENT_COLUMNS)
    for filename, onset, offset, label in zip(*columns, strict=True):
        row = f"{filename}\t{float(onset)!r}\t{float(offset)!r}\t{label}"
        by_file.setdefault(filename, []).append(row)
    rows = [row for name, own in by_file.items() for row in own or [f"{name}\t\t\t"]]
    _write(path, ["\t".join(EVENT_COLUMNS), *rows])


def write_weak(path: str | Path, mapping: Mapping[str, Sequence[str]]) -> None:
    """Write weak labels as `read_weak` reads them.

    Raises:
        LabelError: If a label holds a comma.
    """
    for name, labels in mapping.items():
        if any("," in label for label in labels):
            raise LabelError(
                f"a label of {name} holds a comma", where=path, mend="Rename the class"
            )
    rows = [f"{name}\t{','.join(labels)}" for name, labels in mapping.items()]
    _write(path, ["filename\tevent_labels", *rows])


def write_durations(path: str | Path, mapping: Mapping[str, float]) -> None:
    """Write durations in seconds as `read_durations` reads them."""
    rows = [f"{name}\t{float(seconds)!r}" for name, seconds in mapping.items()]
    _write(path, ["filename\tduration", *rows])


@dataclass(frozen=True)
class EventFormat:
    """A kind of file for events.

    Attributes:
        suffix: How its files end, with the dot.
        write: Turns a table of events into lines; raises LabelError where it cannot.
        read: Reads a file.
    """

    suffix: str
    write: Callable[[pd.DataFrame], list[str]]
    read: Callable[[Path], pd.DataFrame]


def write_events(path: str | Path, events: pd.DataFrame, format: str = "tsv") -> None:
    """Write events, with their scores where the table has them and the format can.

    Args:
        path: The file; its folder is made.
        events: Table with the columns of ``EVENT_COLUMNS`` and optionally ``score``.
        format: ``tsv``, ``csv``, ``json`` (a list of objects) or ``audacity`` (a label track;
            it holds neither file names nor scores).

    Raises:
        LabelError: If the format is unknown or cannot hold these events.
    """
    _write(path, _format(format).write(events))


def read_events(path: str | Path, format: str | None = None) -> pd.DataFrame:
    """Read events as `write_events` writes them.

    Args:
        path: The file.
        format: As in `write_events`; by default what the file's suffix says.

    Returns:
        Table with the columns of ``EVENT_COLUMNS``, and ``score`` where the file has it. A label
        track names no recording, so its events get the track's own name without ``.txt``.

    Raises:
        LabelError: If the format is unknown or the file is not of it.
    """
    if format is not None:
        return _format(format).read(Path(path))
    for candidate in FORMATS.values():
        if Path(path).suffix.lower() == candidate.suffix:
            return candidate.read(Path(path))
    known = ", ".join(candidate.suffix for candidate in FORMATS.values())
    raise LabelError("not a known kind of event file", where=path, mend=f"Known: {known}")


def _format(name: str) -> EventFormat:
    if name not in FORMATS:
        raise LabelError(
            f"no event format is called {name!r}", mend=f"Known formats: {', '.join(FORMATS)}"
        )
    return FORMATS[name]


class _Names:
    """Base names of listed files; refuses two files that only their folders tell apart."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.full: dict[str, str] = {}

    def base(self, listed: str, line: int) -> str:
        name = PurePosixPath(listed.replace("\\", "/")).name
        where = f"{self.path}:{line}"
        if not name:
            raise LabelError("a row without a file name", where=where)
        if self.full.setdefault(name, listed) != listed:
            raise LabelError(
                f"{listed} and {self.full[name]} have the same base name",
                where=where,
                mend="Give every clip a file name of its own",
            )
        return name


def _read_text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise LabelError("no such file", where=path, mend="Check the path") from None
    except (OSError, UnicodeDecodeError) as error:
        raise LabelError(
            f"cannot be read as text ({error})", where=path, mend="Give a UTF-8 text file"
        ) from None


def _read_rows(path: Path, delimiter: str, columns: Sequence[str]) -> Iterator[Row]:
    """Rows of a table with a header: line number, and field by column; short rows are filled up."""
    lines = csv.reader(_read_text(path).splitlines(), delimiter=delimiter)
    header: list[str] = []
    try:
        for cells in lines:
            fields = [cell.strip() for cell in cells]
            if not any(fields):
                continue
            if not header:
                header = fields
                _check_header(path, lines.line_num, header, columns, delimiter)
                continue
            if len(fields) > len(header):
                raise LabelError(
                    f"{len(fields)} fields under {len(header)} columns",
                    where=f"{path}:{lines.line_num}",
                )
            fields += [""] * (len(header) - len(fields))
            yield lines.line_num, dict(zip(header, fields, strict=True))
    except csv.Error as error:
        raise LabelError(f"not a table ({error})", where=f"{path}:{lines.line_num}") from None
    if not header:
        raise LabelError(
            "the file is empty", where=path, mend=f"It needs the columns {', '.join(columns)}"
        )


def _check_header(
    path: Path, line: int, header: Sequence[str], columns: Sequence[str], delimiter: str
) -> None:
    lacking = [name for name in columns if name not in header]
    if lacking:
        between = "tabs" if delimiter == "\t" else "commas"
        raise LabelError(
            f"no column {', '.join(lacking)}",
            where=f"{path}:{line}",
            mend=f"The first line must be {' '.join(columns)}, separated by {between}",
        )


def _number(text: str, what: str, path: str | Path, line: int) -> float:
    try:
        value = float(text)  # correctly rounded, unlike pandas' default
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise LabelError(
            f"the {what} {text!r} is not a number",
            where=f"{path}:{line}",
            mend="Write seconds with a decimal point",
        )
    return value


def _event_table(path: Path, rows: Iterable[Row], *, score: bool) -> tuple[pd.DataFrame, list[str]]:
    """Events and listed base names of rows with the columns of ``EVENT_COLUMNS``."""
    names = _Names(path)
    listed: dict[str, None] = {}
    events: list[tuple[Any, ...]] = []
    columns = list(EVENT_COLUMNS)
    for line, row in rows:
        name = names.base(row["filename"], line)
        listed[name] = None
        event = _event(path, line, row)
        if event is None:
            continue
        if score and "score" in row:
            columns = [*EVENT_COLUMNS, "score"]
            event = (*event, _number(row["score"], "score", path, line))
        events.append((name, *event))
    table = pd.DataFrame(events, columns=columns)
    return table.astype({"onset": "float64", "offset": "float64"}), list(listed)


def _event(path: Path, line: int, row: Mapping[str, str]) -> tuple[Any, ...] | None:
    """Onset, offset and label of a row; None for a clip without events."""
    fields = [row[name] for name in EVENT_COLUMNS[1:]]
    absent = [field.lower() in _NOTHING for field in fields]
    if all(absent):
        return None
    if any(absent):
        raise LabelError(
            "an event needs onset, offset and event_label",
            where=f"{path}:{line}",
            mend="Fill all three, or leave all three empty for a clip without events",
        )
    onset = _number(fields[0], "onset", path, line)
    offset = _number(fields[1], "offset", path, line)
    if onset < 0 or offset < onset:
        raise LabelError(
            f"an event from {onset:g} s to {offset:g} s",
            where=f"{path}:{line}",
            mend="An event starts at 0 s or later and does not end before it starts",
        )
    return onset, offset, fields[2]


def _write(path: str | Path, lines: Sequence[str]) -> None:
    """Write lines; the file appears whole or not at all."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.partial")
    partial.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8", newline="")
    partial.replace(path)


def _columns(events: pd.DataFrame) -> list[str]:
    return [*EVENT_COLUMNS, *(["score"] if "score" in events.columns else [])]


def _records(events: pd.DataFrame) -> list[dict[str, Any]]:
    columns = _columns(events)
    values = (events[name].tolist() for name in columns)
    return [dict(zip(columns, row, strict=True)) for row in zip(*values, strict=True)]


def _delimited(delimiter: str) -> EventFormat:
    def write(events: pd.DataFrame) -> list[str]:
        lines = _Lines()
        writer = csv.writer(lines, delimiter=delimiter, lineterminator="")
        writer.writerow(_columns(events))
        writer.writerows(row.values() for row in _records(events))
        return lines

    def read(path: Path) -> pd.DataFrame:
        return _event_table(path, _read_rows(path, delimiter, EVENT_COLUMNS), score=True)[0]

    return EventFormat(".tsv" if delimiter == "\t" else ".csv", write, read)


class _Lines(list[str]):
    """Where csv writes its lines."""

    def write(self, line: str) -> None:
        self.append(line)


def _write_json(events: pd.DataFrame) -> list[str]:
    return [json.dumps(_records(events), indent=1, ensure_ascii=False)]


def _read_json(path: Path) -> pd.DataFrame:
    try:
        content = json.loads(_read_text(path))
        rows = [
            (
                number,
                {name: "" if value is None else str(value) for name, value in record.items()},
            )
            for number, record in enumerate(content, start=1)
        ]
        if not all(set(EVENT_COLUMNS) <= set(row) for _, row in rows):
            raise ValueError("an event lacks a field")
    except (ValueError, AttributeError, TypeError) as error:
        raise LabelError(
            f"not a list of events in JSON ({error})",
            where=path,
            mend=f"Each event needs {', '.join(EVENT_COLUMNS)}",
        ) from None
    return _event_table(path, rows, score=True)[0]


def _write_audacity(events: pd.DataFrame) -> list[str]:
    if events["filename"].nunique() > 1:
        raise LabelError(
            "a label track holds the events of one recording",
            mend="Write one file for each recording",
        )
    return [
        f"{row['onset']:.6f}\t{row['offset']:.6f}\t{row['event_label']}" for row in _records(events)
    ]


def _read_audacity(path: Path) -> pd.DataFrame:
    rows: list[Row] = []
    for line, text in enumerate(_read_text(path).splitlines(), start=1):
        if not text.strip() or text.startswith("\\"):  # "\" lines: frequencies of a selection
            continue
        fields = [field.strip() for field in text.split("\t")]
        if len(fields) != 3 or not all(fields):
            raise LabelError(
                "not a line of a label track: start, end and label, separated by tabs",
                where=f"{path}:{line}",
            )
        rows.append((line, dict(zip(EVENT_COLUMNS, [path.stem, *fields], strict=True))))
    return _event_table(path, rows, score=False)[0]


FORMATS: Mapping[str, EventFormat] = {
    "tsv": _delimited("\t"),
    "csv": _delimited(","),
    "json": EventFormat(".json", _write_json, _read_json),
    "audacity": EventFormat(".txt", _write_audacity, _read_audacity),
}
"""Kinds of files for events by name."""
