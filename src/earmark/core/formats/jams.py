"""JAMS, annotations of a recording as JSON (Humphrey et al., ISMIR 2014; version 0.3).

Events are the observations of one annotation, of a namespace whose values are names: ``tag_open``,
which is written, ``tag_*``, ``segment_open``, or ``scaper``, whose foreground events are read.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any

from earmark._version import __version__
from earmark.core.errors import LabelError
from earmark.core.event import Event
from earmark.core.files.bounds import parse_json
from earmark.core.formats.base import Content, EventFormat, Hints, Named
from earmark.core.tables.rows import read_event

VERSION = "0.3.4"  # of the schema followed
NAMESPACES = ("tag_", "scaper", "segment_open")


def annotation(namespace: str, seconds: float, data: list[dict[str, Any]]) -> dict[str, Any]:
    """An annotation of a whole recording, made by Earmark."""
    about = {
        "curator": {"name": "", "email": ""},
        "annotator": {},
        "version": "",
        "corpus": "",
        "annotation_tools": f"earmark {__version__}",
        "annotation_rules": "",
        "validation": "",
        "data_source": "program",
    }
    return {
        "annotation_metadata": about,
        "namespace": namespace,
        "data": data,
        "sandbox": {},
        "time": 0.0,
        "duration": seconds,
    }


def document(
    title: str,
    seconds: float,
    annotations: list[dict[str, Any]],
    sandbox: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """A JAMS document, to be written as JSON."""
    file = {
        "title": title,
        "artist": "",
        "release": "",
        "duration": seconds,
        "identifiers": {},
        "jams_version": VERSION,
    }
    return {"annotations": annotations, "file_metadata": file, "sandbox": dict(sandbox or {})}


def _write(content: Content) -> str:
    data = [
        {
            "time": onset,
            "duration": float(Decimal(repr(offset)) - Decimal(repr(onset))),
            "value": label,
            "confidence": score,
        }
        for _, (onset, offset, label, score) in content.events
    ]
    # The schema asks for a duration: as far as the events say.
    seconds = max((event.offset for _, event in content.events), default=0.0)
    found = document(
        content.name, seconds, [annotation("tag_open", seconds, data)], {"filename": content.name}
    )
    return json.dumps(found, ensure_ascii=False, indent=1, allow_nan=False) + "\n"


def _read(path: Path, hints: Hints) -> Content:
    try:
        root = parse_json(hints.text(path))
    except ValueError as error:
        raise LabelError(f"no JAMS ({error})", where=path) from None
    annotations = root.get("annotations") if isinstance(root, dict) else None
    fitting = [
        one
        for kind in NAMESPACES
        for one in (annotations if isinstance(annotations, list) else ())
        if isinstance(one, dict) and str(one.get("namespace")).startswith(kind)
    ]
    if not fitting:
        raise LabelError(
            "no JAMS with an annotation of sounds",
            where=path,
            hint="Its namespace must be tag_open, another tag, segment_open or scaper",
        )
    if len(fitting) > 1:
        named = fitting[0]["namespace"]
        hints.notes.add(f"the first of {len(fitting)} annotations ({named}) is read", path)
    name = hints.recording or _named(root) or hints.name(path)
    events: list[Named] = []
    for number, one in enumerate(_observations(fitting[0].get("data")), start=1):
        with hints.row():
            event = _event(f"{path}: observation {number}", one, hints)
            events += [] if event is None else [(name, event)]
    return Content(events, any(event.score is not None for _, event in events))


def _named(root: Mapping[str, Any]) -> str | None:
    sandbox = root.get("sandbox")
    name = sandbox.get("filename") if isinstance(sandbox, dict) else None
    return name if isinstance(name, str) and name else None


def _observations(data: Any) -> Iterator[Any]:
    """Observations as a list or, as older versions have them, as a list for each field."""
    if isinstance(data, dict) and all(isinstance(column, list) for column in data.values()):
        yield from (dict(zip(data, row, strict=True)) for row in zip(*data.values(), strict=True))
    elif isinstance(data, list):
        yield from data


def _event(where: str, one: Any, hints: Hints) -> Event | None:
    fields = one if isinstance(one, dict) else {}
    value = fields.get("value")
    if isinstance(value, dict):  # Scaper's
        if value.get("role") == "background":
            return None
        value = value.get("label")
    time, duration, score = (fields.get(name) for name in ("time", "duration", "confidence"))
    if not (isinstance(value, str) and value and _is_number(time) and _is_number(duration)):
        raise LabelError(
            "an observation needs time, duration and a value that names a class", where=where
        )
    offset = float(Decimal(repr(time)) + Decimal(repr(duration)))
    own = float(str(score)) if _is_number(score) else None
    return read_event(float(str(time)), offset, value, where, own, hints.notes)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


JAMS = EventFormat(
    suffix=".jams",
    title="annotations as JSON (JAMS)",
    write=_write,
    read=_read,
    one_recording=True,
)
