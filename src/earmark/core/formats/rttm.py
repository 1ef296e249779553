"""RTTM, tables of speaker diarisation (NIST, "Rich Transcription 2009 Evaluation Plan").

A line is an event: ``SPEAKER file channel onset duration <NA> <NA> class score <NA>``, with spaces
between fields. Spaces within names are written ``%20`` and ``%`` itself ``%25``, and read back.
"""

from __future__ import annotations

import re
from decimal import Decimal
from fractions import Fraction
from pathlib import Path

from earmark.core.errors import LabelError
from earmark.core.formats.base import Content, EventFormat, Hints, Named
from earmark.core.tables.rows import is_nothing, parse_number, read_event, seconds_of

NONE = "<NA>"
_TIMED = frozenset({"SPEAKER", "NON-SPEECH", "NON-LEX"})
_SPACE = re.compile(r"[\s%]")
_CODE = re.compile(r"(?:%[0-9A-F]{2})+")


def _write(content: Content) -> str:
    lines = []
    for name, (onset, offset, label, score) in content.events:
        begin = Decimal(repr(onset))
        duration = Decimal(repr(offset)) - begin
        sure = NONE if score is None else f"{Decimal(repr(score)):f}"
        fields = ("SPEAKER", _packed(name), "1", f"{begin:f}", f"{duration:f}")
        lines.append(" ".join([*fields, NONE, NONE, _packed(label), sure, NONE]))
    return "".join(f"{line}\n" for line in lines)


def _packed(name: str) -> str:
    return _SPACE.sub(lambda sign: "".join(f"%{b:02X}" for b in sign[0].encode()), name)


def _unpacked(field: str) -> str:
    return _CODE.sub(lambda code: bytes.fromhex(code[0].replace("%", "")).decode(), field)


def _read(path: Path, hints: Hints) -> Content:
    events: list[Named] = []
    for line, text in enumerate(hints.lines(path), start=1):
        fields = text.split()
        if not fields or fields[0].startswith(";"):
            continue
        if fields[0] not in _TIMED:
            hints.notes.add(f"{fields[0]} is no event and left aside", f"{path}:{line}")
            continue
        with hints.row():
            events.append(_event(path, line, fields, hints))
    return Content(events, any(event.score is not None for _, event in events))


def _event(path: Path, line: int, fields: list[str], hints: Hints) -> Named:
    if len(fields) < 8:
        raise LabelError(
            f"{len(fields)} fields, a line of RTTM has 9 or 10",
            where=f"{path}:{line}",
            hint="Write SPEAKER file 1 onset duration <NA> <NA> class <NA> <NA>",
        )
    onset = parse_number(fields[3], "onset", path, line)
    parse_number(fields[4], "duration", path, line)
    offset = float(sum(Fraction(seconds_of(field)) for field in fields[3:5]))
    written = fields[8] if len(fields) > 8 else NONE
    score = None
    if written != NONE and not is_nothing(written):
        score = parse_number(written, "score", path, line)
    # SPEAKER names a class in its eighth field, the others in their seventh.
    label = fields[7] if fields[7] != NONE else fields[6]
    try:
        name, label = map(_unpacked, (fields[1], label))
    except UnicodeDecodeError:
        name = fields[1]
    return name, read_event(onset, offset, label, f"{path}:{line}", score, hints.notes)


RTTM = EventFormat(suffix=".rttm", title="speaker diarisation (RTTM)", write=_write, read=_read)
