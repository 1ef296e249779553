"""Events, their labels, and the files they are kept in.

Events are a table with the columns of ``EVENT_COLUMNS``, times in seconds. The label tables of
datasets are read and written by `earmark.core.label_tables`.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from earmark.core.errors import LabelError
from earmark.core.label_tables import (
    EVENT_COLUMNS,
    event_frame,
    parse_event,
    read_durations,
    read_strong,
    read_weak,
    write_durations,
    write_strong,
    write_weak,
)
from earmark.core.rows import (
    BaseNames,
    Row,
    check_label,
    parse_number,
    read_rows,
    read_text,
    write_lines,
)

__all__ = [
    "EVENT_COLUMNS",
    "FORMATS",
    "EventFormat",
    "LabelSet",
    "clip_id",
    "events_by_clip",
    "read_durations",
    "read_events",
    "read_strong",
    "read_weak",
    "write_durations",
    "write_events",
    "write_strong",
    "write_weak",
]


@dataclass(frozen=True)
class LabelSet:
    """The classes of a task in the order of a network's outputs.

    Attributes:
        names: Class names, each once.

    Raises:
        LabelError: If a name is empty, occurs twice, or could not stand in every label file.
    """

    names: tuple[str, ...]

    def __post_init__(self) -> None:
        if len(set(self.names)) != len(self.names):
            twice = sorted({name for name in self.names if self.names.count(name) > 1})
            raise LabelError(f"class names occur twice: {', '.join(twice)}")
        if not all(name.strip() for name in self.names):
            raise LabelError("a class name is empty")
        for name in self.names:
            check_label(name)

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
    write_lines(path, _format(format).write(events))


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


def _event_table(path: Path, rows: Iterable[Row], *, score: bool) -> tuple[pd.DataFrame, list[str]]:
    """Events and listed base names of rows with the columns of ``EVENT_COLUMNS``."""
    names = BaseNames(path)
    listed: dict[str, None] = {}
    events: list[tuple[Any, ...]] = []
    columns = list(EVENT_COLUMNS)
    for line, row in rows:
        name = names.base(row["filename"], line)
        listed[name] = None
        event = parse_event(path, line, row)
        if event is None:
            continue
        scores: tuple[float, ...] = ()
        if score and "score" in row:
            columns = [*EVENT_COLUMNS, "score"]
            scores = (parse_number(row["score"], "score", path, line),)
        events.append((name, *event, *scores))
    return event_frame(events, columns), list(listed)


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
        return _event_table(path, read_rows(path, delimiter, EVENT_COLUMNS), score=True)[0]

    return EventFormat(".tsv" if delimiter == "\t" else ".csv", write, read)


class _Lines(list[str]):
    """Where csv writes its lines."""

    def write(self, line: str) -> None:
        self.append(line)


def _write_json(events: pd.DataFrame) -> list[str]:
    return [json.dumps(_records(events), indent=1, ensure_ascii=False)]


def _read_json(path: Path) -> pd.DataFrame:
    try:
        content = json.loads(read_text(path))
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
    for line, text in enumerate(read_text(path).splitlines(), start=1):
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
