"""TextGrids of Praat, long and short (Boersma and Weenink, "Praat: TextGrid file formats").

Praat itself reads the numbers, texts in quotation marks and flags that stand free, in this order,
and passes over everything between; so both forms are one. An interval with a text is an event, a
point one without a length. Files name no recording and have no scores.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from earmark.core.errors import LabelError
from earmark.core.files import split_lines
from earmark.core.formats.base import Content, Hints, Named
from earmark.core.tables.rows import parse_number, read_event

_TOKEN = re.compile(
    r'"(?P<text>[^"]*(?:""[^"]*)*)"(?!")|(?<!\S)!.*|(?<!\S)<(?P<flag>\w+)>(?!\S)'
    r"|(?<!\S)(?P<number>[-+]?\d[\d.,eE+-]*)(?!\S)"
)
Token = tuple[int, str, str]
"""Line, kind (``text``, ``number`` or ``flag``) and content."""


class _Tokens:
    """What stands free in a file, one after the other."""

    def __init__(self, path: Path, text: str) -> None:
        self.path, self.line = path, 1
        self._rest = self._found(text)

    def _found(self, text: str) -> Iterator[Token]:
        line, before = 1, 0
        for match in _TOKEN.finditer(text):
            line += len(split_lines(text[before : match.start()])) - 1
            before = match.start()
            if match.lastgroup is not None:
                yield line, match.lastgroup, match[match.lastgroup].replace('""', '"')

    def next(self, kind: str) -> str:
        """The next one, which must be of this kind."""
        line, found, content = next(self._rest, (self.line, "end of the file", ""))
        self.line = line
        if found != kind:
            raise LabelError(
                f"no TextGrid: a {kind} is missing before {content or found!r}",
                where=f"{self.path}:{line}",
                hint="Save it as text from Praat",
            )
        return content

    def seconds(self) -> float:
        """The next one as a time."""
        text = self.next("number")
        return parse_number(text, "time", self.path, self.line)

    def count(self) -> int:
        """The next one as a whole number."""
        text = self.next("number")
        if not text.isdecimal():
            raise LabelError(f"{text!r} is no count", where=f"{self.path}:{self.line}")
        return int(text)


def read_textgrid(path: Path, hints: Hints) -> Content:
    """Read one; events are named by their text or, as ``hints`` say, by their tier.

    Raises:
        LabelError: If it is none, or an interval is no event; it names the line.
    """
    text = hints.text(path)
    tokens = _Tokens(path, text)
    kind = tokens.next("text"), tokens.next("text")
    if kind != ("ooTextFile", "TextGrid"):
        raise LabelError(
            f"no TextGrid, but {' '.join(kind)}", where=path, hint="Save a TextGrid as text"
        )
    tokens.seconds(), tokens.seconds(), tokens.next("flag")
    events: list[Named] = []
    for _ in range(tokens.count()):
        intervals, tier = tokens.next("text") == "IntervalTier", tokens.next("text")
        tokens.seconds(), tokens.seconds()
        for _ in range(tokens.count()):
            onset = tokens.seconds()
            offset = tokens.seconds() if intervals else onset
            line, value = tokens.line, " ".join(tokens.next("text").split())
            label = tier if hints.label_column == "tier" else value
            if value and label:
                with hints.row():
                    event = read_event(onset, offset, label, f"{path}:{line}", None, hints.notes)
                    events.append((hints.name(path), event))
    events.sort(key=lambda named: named[1][:2])
    return Content(events)
