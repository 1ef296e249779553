"""Captions: WebVTT for browsers (W3C, "WebVTT: The Web Video Text Tracks Format"), and SubRip.

An event is a cue, its class the text. Files name no recording and have no scores. Times are whole
milliseconds, and a cue lasts at least one. SubRip is read only.
"""

from __future__ import annotations

import html
import re
from pathlib import Path

from earmark.core.errors import LabelError
from earmark.core.event import Event
from earmark.core.formats.base import (
    Content,
    EventFormat,
    Hints,
    Named,
    milliseconds,
)
from earmark.core.tables.rows import read_event

_TIME = re.compile(r"(-?)(?:(\d+):)?([0-5]?\d):([0-5]?\d)[.,](\d{3})")
_TAG = re.compile(r"<[^>]*>|\{\\[^}]*\}")  # of markup, and of places on the screen


def _write(content: Content) -> str:
    cues = []
    for _, event in sorted(content.events, key=lambda named: named[1][:2]):
        first, last = map(_time, milliseconds(event.onset, event.offset))
        cues.append(f"{first} --> {last}\n{html.escape(event.event_label, quote=False)}\n")
    return "\n".join(["WEBVTT\n", *cues])


def _time(milliseconds: int) -> str:
    seconds, rest = divmod(milliseconds, 1000)
    minutes, seconds = divmod(seconds, 60)
    return f"{minutes // 60:02d}:{minutes % 60:02d}:{seconds:02d}.{rest:03d}"


def _read(path: Path, hints: Hints) -> Content:
    lines = hints.lines(path)
    if not lines[0].startswith("WEBVTT"):
        raise LabelError("no WebVTT file: its first line is not WEBVTT", where=f"{path}:1")
    return _cues(path, lines, hints)


def read_subrip(path: Path, hints: Hints) -> Content:
    """Read subtitles of the form SubRip (``.srt``): numbered cues, times with a comma.

    Raises:
        LabelError: If a cue is no event; it names the line.
    """
    return _cues(path, hints.lines(path), hints)


def _cues(path: Path, lines: list[str], hints: Hints) -> Content:
    name = hints.name(path)
    events: list[Named] = []
    number = 0
    while number < len(lines):
        if lines[number].startswith("NOTE"):  # a comment, up to the next empty line
            number = _end(lines, number)
            continue
        if "-->" not in lines[number]:
            number += 1
            continue
        begin, number = number, _end(lines, number)
        with hints.row():
            events.append((name, _cue(path, begin + 1, lines[begin:number], hints)))
    return Content(events)


def _cue(path: Path, line: int, lines: list[str], hints: Hints) -> Event:
    """The event of a cue, whose first line has the times and stands in a line of the file."""
    first, last = _times(lines[0], f"{path}:{line}")
    words = html.unescape(_TAG.sub("", " ".join(lines[1:]))).strip()
    if not words:
        raise LabelError(
            "a cue without a text",
            where=f"{path}:{line}",
            hint="Give the cue the name of its class",
        )
    return read_event(first, last, words, f"{path}:{line}", None, hints.notes)


def _end(lines: list[str], number: int) -> int:
    """The next empty line."""
    rest = range(number, len(lines))
    return next((line for line in rest if not lines[line].strip()), len(lines))


def _times(line: str, where: str) -> tuple[float, float]:
    before, _, after = line.partition("-->")
    first, last = _TIME.fullmatch(before.strip()), _TIME.fullmatch([*after.split(), ""][0])
    if first is None or last is None:
        raise LabelError(
            f"not the times of a cue: {line!r}",
            where=where,
            hint="Write 00:00:01.000 --> 00:00:02.500",
        )
    return _seconds(first), _seconds(last)


def _seconds(match: re.Match[str]) -> float:
    hours, minutes, seconds, rest = (int(part or 0) for part in match.groups()[1:])
    time = (((hours * 60 + minutes) * 60 + seconds) * 1000 + rest) / 1000
    return -time if match[1] else time


WEBVTT = EventFormat(
    suffix=".vtt",
    title="captions for web pages (WebVTT)",
    write=_write,
    read=_read,
    one_recording=True,
)
