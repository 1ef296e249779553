"""Rows of text tables: fields, names and numbers, and what is refused of them."""

from __future__ import annotations

import csv
import math
import re
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Literal

from earmark.core.errors import LabelError
from earmark.core.event import Event
from earmark.core.files import Notes, read_text, split_lines

_NOTHING = frozenset({"", "nan", "na", "n/a", "none", "null"})
_SEPARATOR = re.compile(r'"?sep=(.)"?[ ,;\t]*', re.IGNORECASE)
_CLOCK = re.compile(r"([+-]?)(?:(\d+):)?(\d+):(\d{1,2}(?:[.,]\d*)?)")
_FORMULA = re.compile(r"'*[=+\-@]")
_LONGEST = 100  # lines of a field: beyond it a quotation mark was not meant to open one
DELIMITERS = {"\t": "tabs", ",": "commas", ";": "semicolons"}
Row = tuple[int, dict[str, str]]


def is_nothing(field: str) -> bool:
    """Whether a field stands for no value: empty, ``nan``, ``none`` and their like.

    Beside times it is a name: `parse_event` knows the difference.
    """
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
        LabelError: If it is empty, begins or ends with white space, or holds a tab, a line break
            or another control character.
    """
    hint = "Rename the class"
    odd = next((sign for sign in label if is_unfit(sign)), None)
    if odd is not None:
        name = {"\t": "a tab", "\n": "a line break", "\r": "a line break"}.get(
            odd, f"the control character U+{ord(odd):04X}"
        )
        raise LabelError(f"the class name {label!r} holds {name}", where=where, hint=hint)
    if not label or label != label.strip():
        what = "begins or ends with a space" if label.strip() else "means no class"
        raise LabelError(f"the class name {label!r} {what}", where=where, hint=hint)
    return label


@dataclass(frozen=True)
class TextTable:
    """A table with a header, cut into rows.

    Attributes:
        path: The file.
        columns: Its header.
        delimiter: What stands between fields.
        lines: The line each row begins in, counted from 1, and its text; blank ones left out.
    """

    path: Path
    columns: tuple[str, ...]
    delimiter: str
    lines: tuple[tuple[int, str], ...]

    def __iter__(self) -> Iterator[Row]:
        return ((line, self.row(line, text)) for line, text in self.lines)

    def row(self, line: int, text: str) -> dict[str, str]:
        """Field by column of a row; missing last fields are empty.

        Raises:
            LabelError: If it has more fields than there are columns, or a quotation is not closed.
        """
        fields = _split(text, self.delimiter, f"{self.path}:{line}")
        while len(fields) > len(self.columns) and not fields[-1]:
            fields.pop()  # a delimiter at the end of the line
        if len(fields) > len(self.columns):
            raise LabelError(
                f"{len(fields)} fields under {len(self.columns)} columns",
                where=f"{self.path}:{line}",
                hint=f"{DELIMITERS.get(self.delimiter, self.delimiter).capitalize()} may stand "
                "between fields only",
            )
        blank = [""] * (len(self.columns) - len(fields))
        return dict(zip(self.columns, [*fields, *blank], strict=True))

    def field(self, text: str, column: str) -> str:
        """A field of a row that may be no row of the table."""
        fields = [*text.split(self.delimiter), *[""] * len(self.columns)]
        return fields[self.columns.index(column)].strip()


def read_table(
    path: str | Path,
    columns: Sequence[str] = (),
    *,
    encoding: str | None = None,
    notes: Notes | None = None,
) -> TextTable:
    """Read a table of tabs, commas or semicolons: what parts its header into most columns.

    A field in quotation marks may hold delimiters and line breaks (RFC 4180); a line ``sep=;``,
    as spreadsheets write it, names the delimiter.

    Args:
        path: The file.
        columns: What the header must have, in any order and among others.
        encoding: As of `read_text`.
        notes: As of `read_text`.

    Raises:
        LabelError: If the file cannot be read, is empty, or lacks a column.
    """
    path = Path(path)
    lines = list(enumerate(split_lines(read_text(path, encoding, notes)), start=1))
    given = next(((n, text) for n, text in lines if text.strip(" \t,;")), (0, ""))
    named = _SEPARATOR.fullmatch(given[1].strip(" "))
    lines = lines[given[0] - (named is None) :] if given[0] else []
    found = {
        sign: next(_records(lines, sign), (0, "")) for sign in ([named[1]] if named else DELIMITERS)
    }
    delimiter = max(found, key=lambda sign: len(_loosely_split(found[sign][1], sign)))
    records = list(_records(lines, delimiter))
    if not records:
        needs = f"It needs the columns {', '.join(columns)}" if columns else None
        raise LabelError("the file is empty", where=path, hint=needs)
    line, text = records[0]
    header = _split(text, delimiter, f"{path}:{line}")
    lacking = [name for name in columns if name not in header]
    if lacking:
        raise LabelError(
            f"no column {', '.join(lacking)}",
            where=f"{path}:{line}",
            hint=f"The first line must be {' '.join(columns)}, separated by tabs or commas",
        )
    return TextTable(path, tuple(header), delimiter, tuple(records[1:]))


def read_rows(path: str | Path, columns: Sequence[str]) -> Iterator[Row]:
    """Rows of a table with these columns, as of `read_table`."""
    return iter(read_table(path, columns))


def _records(lines: Sequence[tuple[int, str]], delimiter: str) -> Iterator[tuple[int, str]]:
    """Lines with something in them, joined where a field in quotation marks runs over several.

    One that is never closed must not swallow the rows after it: its line stays alone.
    """
    place = 0
    while place < len(lines):
        number, text = lines[place]
        place += 1
        if _ends(text, delimiter) == "within":
            for after in range(place + 1, min(place + _LONGEST, len(lines)) + 1):
                joined = "\n".join([text, *(line for _, line in lines[place:after])])
                end = _ends(joined, delimiter)
                if end == "whole":
                    text, place = joined, after
                if end != "within":
                    break
        if text.strip(f" {delimiter}"):
            yield number, text


def _ends(text: str, delimiter: str) -> Literal["whole", "within", "broken"]:
    """Whether a row ends after a field, within its quotation marks, or has signs behind them."""
    if '"' not in text:
        return "whole"
    sign, place = re.escape(delimiter), 0
    field = re.compile(rf' *(?:"[^"]*(?:""[^"]*)*"(?!")|(?! *")[^{sign}]*)')
    while (match := field.match(text, place)) is not None:
        if match.end() == len(text):
            return "whole"
        if not text.startswith(delimiter, match.end()):
            return "broken"
        place = match.end() + 1
    return "within"


def _loosely_split(text: str, delimiter: str) -> list[str]:
    return next(csv.reader([text], delimiter=delimiter, skipinitialspace=True), [])


def six_digits(score: float) -> str:
    """A score as people read it, with at most six digits."""
    return f"{score:.6g}"


def join_row(fields: Sequence[str], delimiter: str) -> str:
    """A line of a table; fields with quotation marks or the delimiter stand between such marks."""
    return delimiter.join(
        f'"{field.replace(chr(34), 2 * chr(34))}"' if '"' in field or delimiter in field else field
        for field in fields
    )


def no_formula(text: str) -> str:
    """A name as a CSV table has it: one that a spreadsheet would run gets an apostrophe before it.

    Spreadsheets take it for text then, and `from_csv` takes the apostrophe away again.
    """
    return f"'{text}" if _FORMULA.match(text) and not is_time(text) else text


def from_csv(field: str) -> str:
    """A field of a CSV table without the apostrophe of `no_formula`."""
    return field[1:] if field[:1] == "'" and _FORMULA.match(field) else field


def _split(text: str, delimiter: str, where: str) -> list[str]:
    fields = [field.strip() for field in _cut(text, delimiter, where)]
    return [from_csv(field) for field in fields] if delimiter == "," else fields


def _cut(text: str, delimiter: str, where: str) -> list[str]:
    if '"' not in text:
        return text.split(delimiter)
    try:
        return next(csv.reader([text], delimiter=delimiter, skipinitialspace=True, strict=True))
    except csv.Error as error:
        raise LabelError(
            f"not a row of a table ({error})",
            where=where,
            hint='Close the quotation marks, or write "" for one inside a field',
        ) from None


MOST_SECONDS = 1e9
"""Longest time a table may hold: some thirty years."""


EARLY = 0.1
"""Seconds before its recording at which an event may begin in a file: it is read as from 0."""


def with_point(field: str) -> str:
    """A number with a decimal comma, as programs write it in many countries, with a point."""
    return field.replace(",", ".") if field.count(",") == 1 and "." not in field else field


def seconds_of(field: str) -> str:
    """A time as a number: with a decimal comma, or of a clock as ``1:02:03.5`` or ``2:03,5``."""
    clock = _CLOCK.fullmatch(field)
    if clock is None:
        return with_point(field)
    sign, hours, minutes, rest = clock.groups()
    last = Fraction(with_point(rest))
    if last >= 60 or (hours is not None and int(minutes) >= 60):
        return field
    seconds = last + 60 * int(minutes) + 3600 * int(hours or 0)
    return repr(float(-seconds if sign == "-" else seconds))


def is_time(field: str) -> bool:
    """Whether a field is a number of seconds or a clock's time."""
    try:
        return math.isfinite(_number(seconds_of(field)))
    except ValueError:
        return False


def _number(text: str) -> float:
    if "_" in text:  # Python's own way to write 1000
        raise ValueError(text)
    return float(text)  # correctly rounded, unlike pandas' default


def parse_number(text: str, what: str, path: str | Path, line: int) -> float:
    """A finite number, of seconds for most; with decimal point or comma, or of a clock.

    Raises:
        LabelError: If the field is none.
    """
    try:
        value = _number(seconds_of(text))
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


def parse_event(
    path: Path, line: int, row: Mapping[str, str], notes: Notes | None = None
) -> Event | None:
    """The event of a row, without a score; None for a clip without events.

    ``NA``, ``none`` and their like mean that there is no event where the times are empty, too;
    beside times they are the name of a class, which is noted.

    Args:
        path: The file.
        line: The line.
        row: Its ``onset``, ``offset`` and ``event_label``.
        notes: Takes what was mended.

    Raises:
        LabelError: If only some of the fields are filled, a time is none, the event ends before it
            starts, or the class name is unfit.
    """
    fields = [row[name] for name in ("onset", "offset", "event_label")]
    absent = [is_nothing(field) for field in fields]
    if all(absent):
        return None
    if any(absent[:2]) or not fields[2]:
        raise LabelError(
            "an event needs onset, offset and event_label",
            where=f"{path}:{line}",
            hint="Fill all three, or leave all three empty for a clip without events",
        )
    onset = parse_number(fields[0], "onset", path, line)
    offset = parse_number(fields[1], "offset", path, line)
    return read_event(onset, offset, fields[2], f"{path}:{line}", None, notes)


def read_event(
    onset: float,
    offset: float,
    label: str,
    where: str | Path,
    score: float | None = None,
    notes: Notes | None = None,
) -> Event:
    """An event as a file has it, that begins up to 0.1 s before its recording as from 0.

    Args:
        onset: Its start in seconds.
        offset: Its end in seconds.
        label: Its class.
        where: File and line.
        score: Its score.
        notes: Takes what was mended.

    Raises:
        LabelError: If it is none.
    """
    own = Notes() if notes is None else notes
    if -EARLY <= onset < 0 <= offset:
        onset = 0.0
        own.add("begins before 0 s, read as from 0 s", where)
    event = checked_event(onset, offset, label, where, score)
    if is_nothing(label):
        own.add(f"{label!r} beside times is read as the name of a class", where)
    if notes is None:
        own.report()
    return event


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
