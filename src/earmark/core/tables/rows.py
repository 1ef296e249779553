"""Rows of text tables: fields, names and numbers, and what is refused of them."""

from __future__ import annotations

import csv
import math
import re
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from earmark.core.errors import LabelError
from earmark.core.event import Event
from earmark.core.files import read_text

_NOTHING = frozenset({"", "nan", "na", "n/a", "none", "null"})
_LINE_END = re.compile(r"\r\n|\n|\r")  # and nothing else: str.splitlines also breaks at U+2028
Row = tuple[int, dict[str, str]]


def is_nothing(field: str) -> bool:
    """Whether a field stands for no value: empty, ``nan``, ``none`` and their like."""
    return field.lower() in _NOTHING


def is_unfit(sign: str) -> bool:
    """Whether a character is a tab, a line break, another control character or half of one."""
    return unicodedata.category(sign) in ("Cc", "Cs", "Zl", "Zp")


def check_name(name: str, where: str | Path | None = None) -> str:
    """A file name that every table can hold, as it is.

    Raises:
        LabelError: If it is empty, begins or ends with white space, or holds a tab, a line break or
            another control character.
    """
    if not name or name != name.strip() or any(map(is_unfit, name)):
        raise LabelError(
            f"the file name {name!r} begins or ends with a space or holds a control character"
            if name
            else "an event without a file name",
            where=where,
            hint="Rename the recording",
        )
    return name


def check_label(label: str, where: str | Path | None = None) -> str:
    """A class name that every file can hold, as it is.

    Raises:
        LabelError: If it is empty, means nothing (``none``, ``nan``), begins or ends with white
            space, or holds a tab, a line break or another control character.
    """
    hint = "Rename the class"
    odd = next((sign for sign in label if is_unfit(sign)), None)
    if odd is not None:
        name = {"\t": "a tab", "\n": "a line break", "\r": "a line break"}.get(
            odd, f"the control character U+{ord(odd):04X}"
        )
        raise LabelError(f"the class name {label!r} holds {name}", where=where, hint=hint)
    if label != label.strip() or is_nothing(label):
        what = "means no class" if is_nothing(label.strip()) else "begins or ends with a space"
        raise LabelError(f"the class name {label!r} {what}", where=where, hint=hint)
    return label


def read_rows(path: Path, delimiter: str | None, columns: Sequence[str]) -> Iterator[Row]:
    """Rows of a table with a header: line number, and field by column; short rows are filled up.

    Args:
        path: The file.
        delimiter: Between fields; ``None`` for tabs or commas, whichever the header has.
        columns: What the header must have, in any order and among others.

    Raises:
        LabelError: If the file cannot be read or lacks a column, or a row has too many fields.
    """
    if delimiter is None:
        first = next((line for line in _LINE_END.split(read_text(path)) if line.strip()), "")
        delimiter = "," if "," in first and "\t" not in first else "\t"
    header, lines = read_header(path, delimiter, columns)
    for line, text in lines:
        yield line, parse_row(path, line, header, text, delimiter)


def read_header(
    path: Path, delimiter: str, columns: Sequence[str] = (), encoding: str | None = None
) -> tuple[tuple[str, ...], Iterator[tuple[int, str]]]:
    """The header of a table, and its lines of data with their numbers; blank ones left out.

    Raises:
        LabelError: If the file cannot be read or lacks a column.
    """
    numbered = enumerate(_LINE_END.split(read_text(path, encoding)), start=1)
    lines = ((line, text) for line, text in numbered if text.strip(f" {delimiter}"))
    line, text = next(lines, (0, ""))
    if not line:
        raise LabelError(
            "the file is empty", where=path, hint=f"It needs the columns {', '.join(columns)}"
        )
    header = _split(text, delimiter, f"{path}:{line}")
    lacking = [name for name in columns if name not in header]
    if lacking:
        between = "tabs" if delimiter == "\t" else "commas"
        raise LabelError(
            f"no column {', '.join(lacking)}",
            where=f"{path}:{line}",
            hint=f"The first line must be {' '.join(columns)}, separated by {between}",
        )
    return tuple(header), lines


def parse_row(
    path: Path, line: int, header: Sequence[str], text: str, delimiter: str
) -> dict[str, str]:
    """Field by column of a line; missing last fields are empty.

    Raises:
        LabelError: If it has more fields than there are columns, or a quotation is not closed.
    """
    fields = _split(text, delimiter, f"{path}:{line}")
    while len(fields) > len(header) and not fields[-1]:
        fields.pop()  # a delimiter at the end of the line
    if len(fields) > len(header):
        sign = "tab" if delimiter == "\t" else "comma"
        raise LabelError(
            f"{len(fields)} fields under {len(header)} columns",
            where=f"{path}:{line}",
            hint=f"A {sign} may stand between fields only",
        )
    return dict(zip(header, [*fields, *[""] * (len(header) - len(fields))], strict=True))


def join_row(fields: Sequence[str], delimiter: str) -> str:
    """A line of a table; fields with quotation marks or the delimiter stand between such marks."""
    return delimiter.join(
        f'"{field.replace(chr(34), 2 * chr(34))}"' if '"' in field or delimiter in field else field
        for field in fields
    )


def _split(text: str, delimiter: str, where: str) -> list[str]:
    if '"' not in text:
        return [field.strip() for field in text.split(delimiter)]
    try:
        rows = csv.reader([text], delimiter=delimiter, strict=True)
        # Line by line: a quotation mark that is not closed must not swallow the rows after it.
        return [field.strip() for field in next(rows)]
    except csv.Error as error:
        raise LabelError(
            f"not a row of a table ({error})",
            where=where,
            hint='Close the quotation marks, or write "" for one inside a field',
        ) from None


MOST_SECONDS = 1e9
"""Longest time a table may hold: some thirty years."""


def parse_number(text: str, what: str, path: str | Path, line: int) -> float:
    """A finite number.

    Raises:
        LabelError: If the field is none.
    """
    try:
        value = float(text)  # correctly rounded, unlike pandas' default
    except ValueError:
        value = math.nan
    if math.isfinite(value) and abs(value) > MOST_SECONDS:
        raise LabelError(
            f"the {what} {text!r} is beyond any recording",
            where=f"{path}:{line}",
            hint="Write seconds from the recording's start",
        )
    if not math.isfinite(value):
        raise LabelError(
            f"the {what} {text!r} is not a number",
            where=f"{path}:{line}",
            hint="Write seconds with a decimal point",
        )
    return value


def parse_event(path: Path, line: int, row: Mapping[str, str]) -> Event | None:
    """The event of a row, without a score; None for a clip without events.

    Raises:
        LabelError: If only some of the fields are filled, a time is none, the event ends before it
            starts, or the class name is unfit.
    """
    fields = [row[name] for name in ("onset", "offset", "event_label")]
    absent = [is_nothing(field) for field in fields]
    if all(absent):
        return None
    if any(absent):
        raise LabelError(
            "an event needs onset, offset and event_label",
            where=f"{path}:{line}",
            hint="Fill all three, or leave all three empty for a clip without events",
        )
    onset = parse_number(fields[0], "onset", path, line)
    offset = parse_number(fields[1], "offset", path, line)
    return checked_event(onset, offset, fields[2], f"{path}:{line}")


def checked_event(
    onset: float, offset: float, label: str, where: str | Path, score: float | None = None
) -> Event:
    """An event with possible times and a class name that every file can hold.

    Raises:
        LabelError: If it is none.
    """
    check_times(onset, offset, where)
    return Event(onset, offset, check_label(label, where), score)


def check_times(onset: float, offset: float, where: str | Path) -> None:
    """Refuse an event before the recording's start, or one that ends before it starts.

    Raises:
        LabelError: If it is one.
    """
    if not 0 <= onset <= offset < math.inf:
        raise LabelError(
            f"an event from {onset:g} s to {offset:g} s",
            where=where,
            hint="An event starts at 0 s or later and does not end before it starts",
        )
