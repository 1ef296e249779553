"""Events as JSON: one document with a published schema, or one object a line."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from importlib import resources
from pathlib import Path
from typing import Any

from earmark.core.errors import LabelError
from earmark.core.event import EVENT_COLUMNS, Event
from earmark.core.files.bounds import parse_json
from earmark.core.formats.base import (
    Content,
    EventFormat,
    Hints,
    Named,
)
from earmark.core.tables.rows import read_event

FORMAT = "earmark-events"
VERSION = 1


def events_schema() -> dict[str, Any]:
    """The JSON schema (draft 2020-12) of what ``json`` writes."""
    text = resources.files("earmark.core.formats").joinpath("events.schema.json").read_text("utf-8")
    schema: dict[str, Any] = json.loads(text)
    return schema


def event_object(name: str, event: Event) -> dict[str, Any]:
    """An event as an object; its score is left out if it has none."""
    fields = {"filename": name, **event._asdict()}
    return {key: value for key, value in fields.items() if value is not None}


def json_line(fields: dict[str, Any]) -> str:
    """An object on one line."""
    return json.dumps(fields, ensure_ascii=False, allow_nan=False)


def _write_json(content: Content) -> str:
    events = ",\n".join(f"  {json_line(event_object(*named))}" for named in content.events)
    head = f'{{\n "format": "{FORMAT}",\n "version": {VERSION},\n "events": ['
    return f"{head}\n{events}\n ]\n}}\n" if events else f"{head}]\n}}\n"


def _write_lines(content: Content) -> str:
    return "".join(f"{json_line(event_object(*named))}\n" for named in content.events)


def _read_json(path: Path, hints: Hints) -> Content:
    try:
        document = parse_json(hints.text(path))
    except ValueError as error:
        raise LabelError(f"no JSON ({error})", where=path) from None
    if isinstance(document, dict):
        version = document.get("version", VERSION)
        if document.get("format", FORMAT) != FORMAT or version != VERSION:
            raise LabelError(
                f"JSON of the format {document.get('format')!r}, version {version!r}",
                where=path,
                hint=f"This version reads {FORMAT!r}, version {VERSION}",
            )
        document = document.get("events")
    if not isinstance(document, list):
        raise LabelError(
            "no list of events in this JSON",
            where=path,
            hint=f"Give {{'events': [...]}}, each event with {', '.join(EVENT_COLUMNS)}",
        )
    return _content(path, hints, ((f"{path}: event {n}", e) for n, e in enumerate(document, 1)))


def _read_lines(path: Path, hints: Hints) -> Content:
    return _content(path, hints, _objects(path, hints))


def _objects(path: Path, hints: Hints) -> Iterator[tuple[str, Any]]:
    for number, line in enumerate(hints.lines(path), start=1):
        if not line.strip():
            continue
        parsed = []
        with hints.row():
            parsed.append(_object(line, f"{path}:{number}"))
        yield from ((f"{path}:{number}", fields) for fields in parsed)


def _object(line: str, where: str) -> Any:
    try:
        return parse_json(line)
    except ValueError as error:
        raise LabelError(f"the line is no JSON ({error})", where=where) from None


def _content(path: Path, hints: Hints, objects: Iterable[tuple[str, Any]]) -> Content:
    events: list[Named] = []
    for where, fields in objects:
        with hints.row():
            events.append(_event(where, fields, hints, hints.name(path)))
    return Content(events, any(event.score is not None for _, event in events))


def _event(where: str, fields: Any, hints: Hints, recording: str) -> Named:
    """An event from an object; unknown fields are left aside."""
    if not isinstance(fields, dict):
        raise LabelError(
            f"{fields!r} is no event in JSON", where=where, hint="Give an object for each"
        )
    label = fields.get(hints.label_column or "event_label")
    name = fields.get("filename", recording)
    if not (isinstance(label, str) and label.strip() and isinstance(name, str) and name.strip()):
        raise LabelError(
            "an event of JSON needs an event_label, a text that is not empty",
            where=where,
            hint=f"Each event needs {', '.join(EVENT_COLUMNS)}",
        )
    onset, offset = (_number(key, fields.get(key), where) for key in ("onset", "offset"))
    score = fields.get("score")
    own = None if score is None else _number("score", score, where)
    return name, read_event(onset, offset, label, where, own, hints.notes)


def _number(key: str, value: Any, where: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise LabelError(
            f"the {key} {value!r} is not a number", where=where, hint="Write JSON numbers"
        )
    return float(value)


JSON = EventFormat(
    suffix=".json",
    title="JSON document with a published schema",
    write=_write_json,
    read=_read_json,
)
JSON_LINES = EventFormat(
    suffix=".jsonl",
    title="JSON Lines, one event a line",
    write=_write_lines,
    read=_read_lines,
)
