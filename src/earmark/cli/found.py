"""What `earmark detect` prints: a table for people, and for programs what its files would have."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Protocol

from rich.cells import cell_len
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from earmark.core.errors import ConfigError
from earmark.core.formats import FORMATS, events_text
from earmark.core.naming import readable
from earmark.deliver.journal import Record, Track
from earmark.deliver.outputs import channel_label, events_of

_NUMBERS = 33  # columns of a terminal that times and scores take, with the gaps
_HEADED = {"tsv": 1, "csv": 1, "jsonl": 0, "rttm": 0}
"""Formats that are read line by line, and the lines of their headings."""


class Printer(Protocol):
    """Prints what is found in recordings, one after the other."""

    def add(self, record: Record) -> None:
        """Prints a recording's events."""

    def end(self) -> None:
        """There are no more recordings."""


def printed_format(named: str | None, several: bool) -> str | None:
    """The format that is printed; None for the table for people, on a terminal.

    Args:
        named: Of --format.
        several: Whether there may be several recordings or channels.

    Raises:
        ConfigError: If there is no such format, or it cannot be printed.
    """
    if sys.stdout is None:
        raise ConfigError("standard output is closed", hint="Open it, or add --out DIR")
    if named is None:
        return None if sys.stdout.isatty() else "tsv"
    name = named.strip()
    if "," in name:
        raise ConfigError("several formats need --out", hint="Add --out DIR, or print one of them")
    if name not in FORMATS:
        raise ConfigError(
            f"no event format is called {name!r}", hint=f"Known formats: {', '.join(FORMATS)}"
        )
    if several and FORMATS[name].one_recording:
        raise ConfigError(
            f"the format {name} holds the events of one recording",
            hint="Add --out DIR, which gets a file for each",
        )
    return name


class TablePrinter:
    """A table on a terminal, which grows with every recording.

    Args:
        console: The terminal.
        names: Of the recordings.
        labels: Classes that there may be.
        named: Whether a column has the recordings.
    """

    def __init__(
        self, console: Console, names: Iterable[str], labels: Iterable[str], *, named: bool
    ) -> None:
        self._console = console
        free = max(24, console.width - _NUMBERS)
        own = _width(names) if named else 0
        self._labels = min(_width(labels), free - min(own, free // 2))
        self._names = min(own, free - self._labels)
        self._begun = False

    def add(self, record: Record) -> None:
        """Prints a recording's events, under the heading if they are the first."""
        tracks = [track for track in record.tracks if track.events]
        if not tracks:
            return
        table = Table(box=None, pad_edge=False, show_header=not self._begun)
        if self._names:
            table.add_column("recording", width=self._names, overflow="fold")
        table.add_column("onset (s)", width=9, justify="right")
        table.add_column("offset (s)", width=10, justify="right")
        table.add_column("event", width=self._labels, overflow="fold")
        table.add_column("score", width=5, justify="right")
        for track in tracks:
            name = escape(readable(channel_label(record.filename, track.channel)))
            for onset, offset, label, score in track.events:
                cells = (f"{onset:.3f}", f"{offset:.3f}", escape(label), f"{score:.2f}")
                table.add_row(*([name] if self._names else []), *cells)
        needed = self._names + self._labels + _NUMBERS - 1
        if needed > self._console.width:
            table.width = needed  # the terminal breaks lines; a score cut short would be wrong
        self._console.print(table, highlight=False, crop=False)
        self._begun = True

    def end(self) -> None:
        """Does nothing."""


class TextPrinter:
    """What a file of a format would have, on standard output; line by line where it can be.

    Args:
        format: One of ``FORMATS``.
        scored_labels: Whether Audacity's labels have scores.
    """

    def __init__(self, format: str, *, scored_labels: bool) -> None:
        self._format = format
        self._scored_labels = scored_labels
        self._heading = _HEADED.get(format)
        self._waiting: list[tuple[str, Track]] = []
        self._recording: Path | None = None
        if self._heading is not None:
            self._print(self._text([], None))

    def add(self, record: Record) -> None:
        """Prints a recording's events, or keeps them for the end.

        Raises:
            LabelError: The format cannot hold them; nothing is printed or kept of the recording.
        """
        own = [(channel_label(record.filename, one.channel), one) for one in record.tracks]
        recording = Path(readable(record.path))
        text = self._text(own, recording)
        if self._heading is None:
            self._recording = recording
            self._waiting += own
        else:
            self._print(text, self._heading)

    def end(self) -> None:
        """Prints what was kept."""
        if self._heading is None:
            self._print(self._text(self._waiting, self._recording))

    def _text(self, tracks: list[tuple[str, Track]], recording: Path | None) -> str:
        """A file of the format with these tracks."""
        return events_text(
            events_of(tracks),
            self._format,
            recording=recording,
            scored_labels=self._scored_labels,
        )

    @staticmethod
    def _print(text: str, without: int = 0) -> None:
        """Prints a text without its first lines."""
        sys.stdout.write("".join(text.splitlines(keepends=True)[without:]))
        sys.stdout.flush()


def _width(names: Iterable[str]) -> int:
    """Of a column that has the names."""
    return max(9, *map(cell_len, names))
