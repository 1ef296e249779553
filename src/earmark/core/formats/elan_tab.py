"""Tables that ELAN exports ("Export As", "Tab-delimited Text"), in the shapes its options give.

By default a row is tier, participant, times, value, without a header; each of begin, end and
duration stands in one to four formats side by side. With a column for each tier there is a header,
and a row has its value under the tiers it is of. Lines that begin with ``#`` name media files.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from earmark.core.errors import LabelError
from earmark.core.formats.base import Content, Hints, Named
from earmark.core.tables.rows import parse_number, read_event, seconds_of

_CLOCK = re.compile(r"\d+:\d\d:\d\d[.,]\d{3}")
_NUMBER = re.compile(r"\d+(?:[.,]\d+)?")
_HEADING = re.compile(r"(Begin Time|End Time|Duration)(?: - (hh:mm:ss\.ms|ss\.msec|msec))?")
_FILES = ("File Path", "File", "File Name")
_OTHERS = frozenset({"Tier", "Participant", "Annotator", *_FILES})
_TITLE_OF_VALUES = frozenset({"Annotation", "Annotations", "Value"})

Fields = list[str]
Numbered = tuple[int, Fields]


def is_tab_export(lines: Sequence[str]) -> bool:
    """Whether lines of a text file are such a table."""
    rows = [line.split("\t") for line in lines[:20] if not _is_remark(line)]
    if not rows:
        return False
    if any(_HEADING.fullmatch(field.strip()) for field in rows[0]):
        return "Begin Time (s)" not in lines[0]
    # A clock's time after a name: label tracks and tables begin with numbers or a header.
    return all(any(_CLOCK.fullmatch(field) for field in row[1:]) for row in rows)


def _is_remark(line: str) -> bool:
    return not line.strip() or line.lstrip('"').startswith("#")


def read_tab_export(path: Path, hints: Hints) -> Content:
    """Read such a table; events are named by their value or tier, as ``hints`` says.

    Raises:
        LabelError: If it is none, or a row is no event; it names the line.
    """
    rows = [
        (line, [field.strip() for field in row.split("\t")])
        for line, row in enumerate(hints.lines(path), start=1)
        if not _is_remark(row)
    ]
    if not rows:
        return Content([])
    headed = any(_HEADING.fullmatch(field) for field in rows[0][1])
    found = _headed(path, rows) if headed else _plain(path, rows)
    recording = hints.name(path)
    events: list[Named] = []
    for line, tier, times, value, file in found:
        where = f"{path}:{line}"
        label = {None: value or tier, "value": value, "tier": tier}.get(hints.label_column, value)
        with hints.row():
            if not label:
                raise LabelError("no class", where=where, hint="Take the class from value or tier")
            onset, offset = (parse_number(time, "time", path, line) for time in times)
            events.append(
                (file or recording, read_event(onset, offset, label, where, None, hints.notes))
            )
    return Content(events)


Found = Iterator[tuple[int, str, tuple[str, str], str, str]]
"""Line, tier, begin and end in seconds, value, file."""


def _headed(path: Path, rows: list[Numbered]) -> Found:
    """Rows below a header: a column for each tier, or one for all."""
    header = rows[0][1]
    begin, end = (_best_column(path, rows[0], what) for what in ("Begin Time", "End Time"))
    places = {name: place for place, name in enumerate(header)}
    values = [
        place
        for place, name in enumerate(header)
        if name and name not in _OTHERS and not _HEADING.fullmatch(name)
    ]
    for line, given in rows[1:]:
        fields = [*given, *[""] * (len(header) - len(given))]
        times = (_seconds(fields[begin], header[begin]), _seconds(fields[end], header[end]))
        files = (fields[places[name]] for name in _FILES if name in places)
        file = next(filter(None, files), "")
        for place in values:
            single = header[place] in _TITLE_OF_VALUES
            tier = fields[places["Tier"]] if "Tier" in places else header[place]
            if fields[place] or single:
                yield line, tier if single else header[place], times, fields[place], file


def _best_column(path: Path, first: Numbered, what: str) -> int:
    """The column of a time, in the format that says it best."""
    line, header = first
    for unit in (" - ss.msec", " - msec", " - hh:mm:ss.ms", ""):
        if f"{what}{unit}" in header:
            return header.index(f"{what}{unit}")
    raise LabelError(
        f"no column {what!r}", where=f"{path}:{line}", hint="Export begin and end times"
    )


def _seconds(field: str, heading: str) -> str:
    if heading.endswith(" - msec") and _NUMBER.fullmatch(field):
        return repr(int(field) / 1000) if field.isdecimal() else field
    return seconds_of(field)


def _plain(path: Path, rows: list[Numbered]) -> Found:
    """Rows without a header: which columns are times follows from what is in them."""
    size = max(len(fields) for _, fields in rows)
    filled = [(line, [*fields, *[""] * (size - len(fields))]) for line, fields in rows]
    kinds = [_kind([fields[place] for _, fields in filled]) for place in range(size)]
    run = _run_of_times(kinds)
    # The value may look like a time, too: then the run is one longer than the times are.
    tried = ((run[:size], _layout(filled, run[:size], kinds)) for size in range(len(run), 1, -1))
    times, layout = next((pair for pair in tried if pair[1] is not None), (run, None))
    if layout is None:
        raise LabelError(
            "the columns of begin and end times cannot be recognised",
            where=f"{path}:{rows[0][0]}",
            hint="Export begin and end times as hh:mm:ss.ms or ss.msec",
        )
    begin, end = layout
    after = times[-1] + 1
    for line, fields in filled:
        pair = (_in_seconds(fields[begin], kinds[begin]), _in_seconds(fields[end], kinds[end]))
        value = fields[after] if after < size else ""
        file = fields[after + 1] if after + 1 < size else ""
        yield line, fields[0], pair, value, file


def _kind(column: Sequence[str]) -> str:
    """``clock``, ``seconds``, ``milliseconds`` (whole numbers) or ``text``."""
    if all(_CLOCK.fullmatch(field) for field in column):
        return "clock"
    if all(_NUMBER.fullmatch(field) for field in column):
        return "milliseconds" if all(field.isdecimal() for field in column) else "seconds"
    return "text"


def _run_of_times(kinds: Sequence[str]) -> list[int]:
    """The first unbroken run of at least two columns of times, after the tier's."""
    run: list[int] = []
    for place in range(1, len(kinds)):
        if kinds[place] != "text":
            run.append(place)
        elif len(run) >= 2:
            break
        else:
            run = []
    return run


def _layout(
    rows: Sequence[Numbered], times: Sequence[int], kinds: Sequence[str]
) -> tuple[int, int] | None:
    """Columns of begin and end: times stand in two or three groups of as many formats each."""
    for groups in (3, 2):
        if len(times) < groups or len(times) % groups:
            continue
        step = len(times) // groups
        columns = [times[group * step] for group in range(groups)]
        if len({kinds[column] for column in columns}) > 1:
            continue
        values = [
            [float(_in_seconds(fields[column], kinds[column])) for column in columns]
            for _, fields in rows
        ]
        fits = all(
            own[0] <= own[1] and (groups == 2 or abs(own[0] + own[2] - own[1]) < 0.0015)
            for own in values
        )
        if fits:
            return columns[0], columns[1]
    return None


def _in_seconds(field: str, kind: str) -> str:
    return repr(int(field) / 1000) if kind == "milliseconds" else seconds_of(field)
