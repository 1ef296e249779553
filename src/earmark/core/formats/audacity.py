"""Label tracks of Audacity: start, end and label of each event, separated by tabs.

They name no recording and have no scores. Times have six decimals, as Audacity writes them. A
line that begins with a backslash holds the frequencies of the label before it and is left aside
(Audacity Manual, "Importing and Exporting Labels").
"""

from __future__ import annotations

from pathlib import Path

from earmark.core.errors import LabelError
from earmark.core.event import EVENT_COLUMNS, Event
from earmark.core.formats.base import Content, EventFormat, Hints, Named
from earmark.core.tables.rows import parse_event


def _write(content: Content) -> str:
    return "".join(
        f"{event.onset:.6f}\t{event.offset:.6f}\t{event.event_label}\n"
        for _, event in content.events
    )


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
    return Content(events)


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
    row = dict(zip(EVENT_COLUMNS, ["", *fields], strict=True))
    return parse_event(path, line, row, hints.notes)


AUDACITY = EventFormat(
    suffix=".txt",
    title="label track of Audacity",
    write=_write,
    read=_read,
    one_recording=True,
)
