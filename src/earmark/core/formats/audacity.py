"""Label tracks of Audacity: start, end and label of each event, separated by tabs.

They name no recording and have no scores, unless these stand behind the class: ``Dog [0.912]``.
Times have six decimals, as Audacity writes them. A line that begins with a backslash holds the
frequencies of the label before it and is left aside (Audacity Manual, "Importing and Exporting
Labels").
"""

from __future__ import annotations

import re
from pathlib import Path

from earmark.core.errors import LabelError
from earmark.core.event import EVENT_COLUMNS, Event
from earmark.core.formats.base import Content, EventFormat, Hints, Named
from earmark.core.tables.rows import parse_event

_SCORED = re.compile(r"(.*\S) \[([01]\.\d{3})\]")


def _write(content: Content) -> str:
    return "".join(
        f"{event.onset:.6f}\t{event.offset:.6f}\t{_label(event, content.scored_labels)}\n"
        for _, event in content.events
    )


def _label(event: Event, scored: bool) -> str:
    behind = f" [{event.score:.3f}]" if scored and event.score is not None else ""
    return event.event_label + behind


def _read(path: Path, hints: Hints) -> Content:
    name = hints.name(path)
    events: list[Named] = []
    for line, text in enumerate(hints.lines(path), start=1):
        fields = [field.strip() for field in text.split("\t")]
        if not any(fields) or fields[0].startswith("\\"):
            continue
        with hints.row():
            event = _event(path, line, fields, hints)
            events += [] if event is None else [(name, event)]
    return Content(events, any(event.score is not None for _, event in events))


def _event(path: Path, line: int, fields: list[str], hints: Hints) -> Event | None:
    if len(fields) != 3 or not all(fields):
        empty = len(fields) in (2, 3) and all(fields[:2])
        raise LabelError(
            "a label without a text"
            if empty
            else "not a line of a label track: start, end and label, separated by tabs",
            where=f"{path}:{line}",
            hint="Give the label the name of its class" if empty else None,
        )
    scored = _SCORED.fullmatch(fields[2])
    if scored is not None:
        fields = [*fields[:2], scored[1]]
        hints.notes.add("a number in brackets behind the class is read as its score", path)
    row = dict(zip(EVENT_COLUMNS, ["", *fields], strict=True))
    event = parse_event(path, line, row, hints.notes)
    return event if event is None or scored is None else event._replace(score=float(scored[2]))


AUDACITY = EventFormat(
    suffix=".txt",
    title="label track of Audacity",
    write=_write,
    read=_read,
    one_recording=True,
)
