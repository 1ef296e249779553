"""Kinds of files for events: each is read and written, and says what it cannot hold."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from earmark.core.errors import LabelError, together
from earmark.core.files import Notes, read_text, split_lines, write_text
from earmark.core.formats.audacity import AUDACITY
from earmark.core.formats.base import Content, EventFormat, Hints, checked, event_table
from earmark.core.formats.captions import WEBVTT, read_subrip
from earmark.core.formats.delimited import CSV, TSV, has_times, read_headerless
from earmark.core.formats.elan import ELAN
from earmark.core.formats.elan_tab import is_tab_export, read_tab_export
from earmark.core.formats.jams import JAMS
from earmark.core.formats.jsons import JSON, JSON_LINES, events_schema
from earmark.core.formats.raven import RAVEN, is_selection_table
from earmark.core.formats.rttm import RTTM
from earmark.core.formats.textgrid import read_textgrid
from earmark.core.tables.rows import is_time

if TYPE_CHECKING:
    import pandas as pd

__all__ = [
    "FORMATS",
    "READERS",
    "EventFormat",
    "events_schema",
    "events_text",
    "format_of",
    "read_events",
    "write_events",
]

FORMATS: Mapping[str, EventFormat] = {
    "tsv": TSV,
    "csv": CSV,
    "json": JSON,
    "jsonl": JSON_LINES,
    "audacity": AUDACITY,
    "raven": RAVEN,
    "elan": ELAN,
    "webvtt": WEBVTT,
    "jams": JAMS,
    "rttm": RTTM,
}
"""Kinds of files for events by name."""

READERS: Mapping[str, Callable[[Path, Hints], Content]] = {
    **{name: one.read for name, one in FORMATS.items()},
    "elan-tab": read_tab_export,
    "textgrid": read_textgrid,
    "srt": read_subrip,
    "headerless": read_headerless,
}
"""How each kind of file is read; those of ``FORMATS`` are written, too."""

SUFFIXES: Mapping[str, str] = {
    **{one.suffix: name for name, one in FORMATS.items() if name != "raven"},
    **{".ndjson": "jsonl", ".textgrid": "textgrid", ".srt": "srt", ".ann": "headerless"},
}
"""How the names of label files end → which of ``READERS`` they are, their content permitting."""


def write_events(
    path: str | Path,
    events: pd.DataFrame,
    format: str = "tsv",
    *,
    recording: str | Path | None = None,
    scored_labels: bool = False,
) -> None:
    """Write events, with their scores where the table has them and the format can.

    Args:
        path: The file; its folder is made. It appears whole or not at all.
        events: Table with the columns of ``EVENT_COLUMNS`` and optionally ``score``.
        format: One of ``FORMATS``. Those of Audacity, Raven, ELAN and WebVTT hold the events of
            one recording; those of Audacity and WebVTT neither its name nor scores.
        recording: The recording, for ELAN to find it.
        scored_labels: Whether Audacity's labels have the score behind the class: ``Dog [0.912]``.

    Raises:
        LabelError: If the format is unknown or cannot hold these events.
    """
    write_text(path, events_text(events, format, recording=recording, scored_labels=scored_labels))


def events_text(
    events: pd.DataFrame,
    format: str = "tsv",
    *,
    recording: str | Path | None = None,
    scored_labels: bool = False,
) -> str:
    """What `write_events` would write, as a text.

    Raises:
        LabelError: As `write_events`.
    """
    _check_known(format, FORMATS)
    kind = FORMATS[format]
    content = checked(events, format, kind, None if recording is None else Path(recording))
    return kind.write(replace(content, scored_labels=scored_labels))


def read_events(
    path: str | Path,
    format: str | None = None,
    *,
    recording: str | None = None,
    label_column: str | None = None,
    columns: Mapping[str, str] | None = None,
    encoding: str | None = None,
) -> pd.DataFrame:
    """Read events as `write_events` writes them, and as other programs do.

    Args:
        path: The file.
        format: One of ``READERS``; by default what `format_of` says.
        recording: Name of the recording, for files that name none; by default the file's own
            name without its ending.
        label_column: Column that holds the class, of tables and JSON that name it otherwise; for
            ELAN ``value`` or ``tier`` (by default the value, or the tier of one without).
        columns: What other columns of a table are called: ``onset``, ``offset`` or ``duration``,
            ``filename`` → their name.
        encoding: Of a text that is not Unicode, as ``latin-1``.

    Returns:
        Table with the columns of ``EVENT_COLUMNS``, and ``score`` where the file has it. File names
        are as the file has them.

    Raises:
        LabelError: If the format is unknown or the file is not of it; it names the lines.
    """
    name = format_of(path, encoding) if format is None else format
    _check_known(name, READERS)
    faults: list[LabelError] = []
    hints = Hints(recording, label_column, columns or {}, encoding, faults=faults)
    content = READERS[name](Path(path), hints)
    if faults:
        raise together(faults)
    hints.notes.report()
    return event_table(content.events, scored=content.scored)


def format_of(path: str | Path, encoding: str | None = None) -> str:
    """Which of ``READERS`` a file is, by its suffix; of text and tables, by their first lines.

    Raises:
        LabelError: If it is none of them.
    """
    path = Path(path)
    name = SUFFIXES.get(path.suffix.lower())
    if name in ("audacity", "tsv", "csv"):
        return _kind_of_text(path, encoding, name)
    if name is None:
        raise LabelError(
            "not a known kind of event file", where=path, hint=f"Known: {', '.join(SUFFIXES)}"
        )
    return name


def _kind_of_text(path: Path, encoding: str | None, name: str) -> str:
    """What a text file is: what its first lines look like, else what its suffix says."""
    text = read_text(path, encoding, Notes())  # the reader says what it finds
    lines = [line for line in split_lines(text) if line.strip()]
    first = lines[0] if lines else ""
    if is_selection_table(first):
        return "raven"
    if name == "audacity" and is_tab_export(lines):
        return "elan-tab"
    if first.lstrip().startswith('"ooTextFile"') or first.startswith("File type = "):
        return "textgrid"
    if has_times(first):
        track = first.count("\t") == 2 and has_times("\t".join(first.split("\t")[:2]))
        return "audacity" if name == "audacity" and track else "headerless"
    if name != "audacity":
        return name
    # A table has a heading, a label track begins with a time.
    headed = any(sign in first for sign in "\t,;") and not first.startswith("\\")
    return "tsv" if headed and not is_time(first.split("\t")[0]) else "audacity"


def _check_known(name: str, known: Collection[str]) -> None:
    if name not in known:
        raise LabelError(
            f"no event format is called {name!r}", hint=f"Known formats: {', '.join(known)}"
        )
