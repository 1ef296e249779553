"""When a recording began, from its name as recorders write it, or from a text of a given form."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta, tzinfo
from zoneinfo import ZoneInfo

from earmark.core.errors import ConfigError
from earmark.core.naming import base_name, without_suffix

_HEX = re.compile(r"[0-9A-Fa-f]{8}")
_LEAST, _MOST = datetime(2015, 1, 1, tzinfo=UTC), datetime(2100, 1, 1, tzinfo=UTC)
_DATED = re.compile(
    r"(?<!\d)(\d{4})([-_]?)(\d\d)\2(\d\d)[_T -](\d\d)([-_:.]?)(\d\d)\6(\d\d)(?!\d)(Z|[+-]\d{4})?"
)
_CHANNEL = re.compile(r"\.ch\d+$")
_DIRECTIVES = {
    **dict.fromkeys("mdHIMS", r"\d{1,2}"),
    **{"Y": r"\d{4}", "y": r"\d\d", "j": r"\d{1,3}", "f": r"\d{1,6}", "p": r"[AaPp][Mm]"},
    **dict.fromkeys("bBaA", r"[^\W\d_]+"),
    "z": r"[+-]\d\d:?\d\d|Z",
}
"""What `datetime.strptime` reads, and how it looks."""


def written_time(filename: str) -> datetime | None:
    """When a recording began, as its name says; None if it says nothing of it.

    Known are AudioMoth's eight hexadecimal digits (seconds since 1970, UTC), and a date and time of
    the form ``YYYYMMDD_HHMMSS`` anywhere in the name, also with dashes, and with ``Z`` or an offset
    such as ``+0200`` after it. A time without one has no zone.

    Args:
        filename: With or without folders and suffix.
    """
    stem = _stem(filename)
    if _HEX.fullmatch(stem):
        begin = datetime.fromtimestamp(int(stem, 16), UTC)
        if _LEAST <= begin < _MOST:
            return begin
    for found in _DATED.finditer(stem):
        year, _, month, day, hour, _, minute, second, zone = found.groups()
        text = f"{year}{month}{day}{hour}{minute}{second}"
        try:
            return datetime.strptime(
                text + (zone or ""), "%Y%m%d%H%M%S" + ("%z" if zone else "")
            )  # fmt: skip
        except ValueError:  # digits that are no date
            continue
    return None


def _stem(filename: str) -> str:
    return _CHANNEL.sub("", without_suffix(base_name(filename)))


@dataclass(frozen=True)
class TimePattern:
    """A form of time in names, as `datetime.strptime` takes it; ``*`` stands for any text.

    Args:
        text: As ``site*_%y%m%d-%H%M``; it describes a whole name without folders and suffix.

    Raises:
        ConfigError: If it names no day, or something that is not known.
    """

    text: str
    _known: re.Pattern[str] = field(init=False, repr=False, compare=False)
    _form: str = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        parts, form = [], []
        for literal, directive in _pieces(self.text):
            parts.append(".*?".join(map(re.escape, literal.split("*"))))
            if directive == "%":
                parts.append("%")
            elif directive:
                if directive not in _DIRECTIVES:
                    known = " ".join(f"%{one}" for one in _DIRECTIVES)
                    raise ConfigError(
                        f"%{directive} in the time pattern {self.text!r} is not known",
                        hint=f"Known are {known}; * stands for any text",
                    )
                parts.append(f"({_DIRECTIVES[directive]})")
                form.append(f"%{directive}")
        day = {"%d", "%m"} if "%m" in form else {"%d", "%b"} if "%b" in form else {"%d", "%B"}
        if not ({"%j"} <= {*form} or day <= {*form}) or not {"%Y", "%y"} & {*form}:
            raise ConfigError(
                f"the time pattern {self.text!r} tells no day", hint="Write e.g. *_%Y%m%d_%H%M%S"
            )
        if len({*form}) < len(form):
            raise ConfigError(f"the time pattern {self.text!r} tells something twice")
        object.__setattr__(self, "_known", re.compile("".join(parts), re.DOTALL))
        object.__setattr__(self, "_form", "\n".join(form))

    def read(self, text: str) -> datetime | None:
        """The time that a text tells; None if it is not of this form."""
        found = self._known.fullmatch(text)
        if found is None:
            return None
        try:
            return datetime.strptime("\n".join(found.groups()), self._form)
        except ValueError:
            return None

    def of_name(self, filename: str) -> datetime | None:
        """The time that a recording's name tells; folders and suffix are no part of it."""
        return self.read(_stem(filename))


def _pieces(text: str) -> Iterator[tuple[str, str]]:
    """Literal text and the letter of the directive after it; none after the last."""
    rest = text
    while "%" in rest:
        literal, _, rest = rest.partition("%")
        yield literal, rest[:1] or " "
        rest = rest[1:]
    yield rest, ""


def zone_of(name: str) -> tzinfo:
    """A time zone by its name, as ``Europe/Berlin`` or ``UTC``.

    Raises:
        ConfigError: If there is none of that name.
    """
    try:
        return UTC if name.upper() == "UTC" else ZoneInfo(name)
    except (ValueError, OSError, KeyError):  # ZoneInfoNotFoundError is a KeyError
        raise ConfigError(
            f"no time zone is called {name!r}", hint="Write e.g. UTC or Europe/Berlin"
        ) from None


def later(begin: datetime, seconds: float) -> datetime:
    """The clock so many seconds later; where it has a zone, with its summer time."""
    span = timedelta(seconds=seconds)
    if begin.tzinfo is None:
        return begin + span
    return (begin.astimezone(UTC) + span).astimezone(begin.tzinfo)
