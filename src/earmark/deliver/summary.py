"""How much of what was found, and when: counts and seconds by class, recording, hour and day."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, tzinfo
from pathlib import Path

from earmark.core.clock_times import TimePattern, later, written_time
from earmark.core.errors import LabelError
from earmark.core.event import Event
from earmark.core.files import write_lines
from earmark.core.formats import read_events
from earmark.core.formats.base import Hints
from earmark.core.formats.columns import columns_of
from earmark.core.tables.rows import join_row, parse_number, read_table

EVENTS, RECORDINGS = "events.tsv", "recordings.tsv"
"""What ``earmark detect`` leaves in its folder."""
DELIMITERS = {"tsv": "\t", "csv": ","}
"""Formats of tables, and what stands between their fields."""
AS_WRITTEN = "as written"
Key = tuple[str, ...]


@dataclass
class FoundEvents:
    """Events of recordings, with what is known of these.

    Attributes:
        events: Recording → its events; a recording without events has none.
        durations: Recording → seconds, where they are known.
        begins: Recording → when it began, where a column says so.
    """

    events: dict[str, list[Event]] = field(default_factory=dict)
    durations: dict[str, float] = field(default_factory=dict)
    begins: dict[str, datetime] = field(default_factory=dict)


def read_found(
    paths: Iterable[Path], *, time_column: str | None = None, pattern: TimePattern | None = None
) -> FoundEvents:
    """Reads tables of events and folders of ``earmark detect``.

    Args:
        paths: Files in any format that `read_events` reads; of a folder its ``events.tsv``, and its
            ``recordings.tsv`` for lengths and for recordings without events.
        time_column: Column of these tables that says when the recording began.
        pattern: Its form; by default ISO 8601.

    Raises:
        LabelError: If a file cannot be read; it names the line.
    """
    found = FoundEvents()
    for path in paths:
        table = path / EVENTS if path.is_dir() else path
        rows = read_events(table)
        columns = (rows[name] for name in ("filename", "onset", "offset", "event_label"))
        for name, onset, offset, label in zip(*columns, strict=True):
            found.events.setdefault(name, []).append(Event(float(onset), float(offset), label))
        if time_column is not None:
            _read_begins(table, time_column, pattern, found.begins)
        if (path / RECORDINGS).is_file():
            _read_durations(path / RECORDINGS, found)
    return found


def _read_durations(path: Path, found: FoundEvents) -> None:
    for line, row in read_table(path, ("filename", "duration")):
        found.durations[row["filename"]] = parse_number(row["duration"], "duration", path, line)
        found.events.setdefault(row["filename"], [])


def _read_begins(
    path: Path, column: str, pattern: TimePattern | None, begins: dict[str, datetime]
) -> None:
    table = read_table(path, (column,))
    name = columns_of(table.columns, Hints(), path, needs=("filename",))["filename"]
    for line, row in table:
        begin = _parsed(row[column], pattern)
        where = f"{path}:{line}"
        if begin is None:
            raise LabelError(
                f"{row[column]!r} in the column {column} is no date and time", where=where,
                hint="Write it as 2026-05-31 04:30:00, or give its form with --time-pattern",
            )  # fmt: skip
        if begins.setdefault(row[name], begin) != begin:
            raise LabelError(
                f"{row[name]} began at {begin} and at {begins[row[name]]}", where=where,
                hint="A recording begins once",
            )  # fmt: skip


def _parsed(text: str, pattern: TimePattern | None) -> datetime | None:
    if pattern is not None:
        return pattern.read(text.strip())
    try:
        return datetime.fromisoformat(text.strip())
    except ValueError:
        return None


@dataclass
class Tally:
    """Events and their seconds."""

    events: int = 0
    seconds: float = 0.0


@dataclass
class Activity:
    """What was found, counted.

    Attributes:
        by_class: (class,) → events.
        by_recording: (recording, class) → events.
        by_hour: (day, hour, class) → events; an event counts in the hour that it begins in, its
            seconds where they are.
        by_day: (day, class) → events.
        recorded: (day, hour) → seconds of recordings, of those whose length is known.
        undated: Recordings of which nobody knows when they began.
        all_lengths: Whether the length of every dated recording is known.
        zone: What the clock times are in.
    """

    by_class: dict[Key, Tally] = field(default_factory=dict)
    by_recording: dict[Key, Tally] = field(default_factory=dict)
    by_hour: dict[Key, Tally] = field(default_factory=dict)
    by_day: dict[Key, Tally] = field(default_factory=dict)
    recorded: dict[Key, float] = field(default_factory=dict)
    undated: list[str] = field(default_factory=list)
    all_lengths: bool = True
    zone: str = AS_WRITTEN

    @property
    def classes(self) -> list[str]:
        """All classes, those with most events first."""
        return sorted((key[0] for key in self.by_class), key=lambda one: (-self.count(one), one))

    def count(self, label: str) -> int:
        """How often a class was found."""
        return self.by_class[label,].events


def summarise(
    found: FoundEvents,
    *,
    pattern: TimePattern | None = None,
    zone: tzinfo | None = None,
    written_in: tzinfo | None = None,
) -> Activity:
    """Counts events by class, recording, hour and day.

    Args:
        found: The events.
        pattern: Form of the time in names, where none is known from a column; by default what
            `written_time` knows.
        zone: Of the clock; as written by default.
        written_in: Zone of times that say none; that of the clock by default.
    """
    activity = Activity()
    zones: set[str] = set()
    for name, events in sorted(found.events.items()):
        begin = found.begins.get(name) or (
            written_time(name) if pattern is None else pattern.of_name(name)
        )
        for event in events:
            for table, key in (
                (activity.by_class, (event.event_label,)),
                (activity.by_recording, (name, event.event_label)),
            ):
                _add(table, key, 1, event.offset - event.onset)
        if not events:
            activity.by_recording[name, ""] = Tally()
        if begin is None:
            activity.undated.append(name)
            continue
        begin = _in_zone(begin, zone, written_in)
        zones.add("no zone" if begin.tzinfo is None else str(begin.tzname()))
        _place(activity, begin, events, found.durations.get(name))
    activity.zone = _zone_words(zone, zones)
    return activity


def _zone_words(zone: tzinfo | None, zones: set[str]) -> str:
    if zone is not None:
        return str(zone)
    said = sorted(zones - {"no zone"})
    return f"{AS_WRITTEN}: {', '.join([*said, *zones - {*said}])}" if said else AS_WRITTEN


def _in_zone(begin: datetime, zone: tzinfo | None, written_in: tzinfo | None) -> datetime:
    if begin.tzinfo is None and (written_in or zone) is not None:
        begin = begin.replace(tzinfo=written_in or zone)
    return begin if zone is None else begin.astimezone(zone)


def _place(
    activity: Activity, begin: datetime, events: Sequence[Event], duration: float | None
) -> None:
    """Counts a recording's events on the clock."""
    for event in events:
        first = True
        for day, hour, seconds in _hours(begin, event.onset, event.offset):
            _add(activity.by_hour, (day, hour, event.event_label), int(first), seconds)
            _add(activity.by_day, (day, event.event_label), int(first), seconds)
            first = False
    if duration is None:
        activity.all_lengths = False
        return
    for day, hour, seconds in _hours(begin, 0.0, duration):
        activity.recorded[day, hour] = activity.recorded.get((day, hour), 0.0) + seconds


def _hours(begin: datetime, onset: float, offset: float) -> Iterator[tuple[str, str, float]]:
    """Day, hour and seconds of each hour of the clock that a stretch of a recording lies in."""
    while True:
        clock = later(begin, onset)
        left = 3600.0 - (clock.minute * 60 + clock.second + clock.microsecond / 1e6)
        end = min(offset, onset + left)
        yield f"{clock:%Y-%m-%d}", f"{clock:%H}", end - onset
        if offset - end < 1e-6:
            return
        onset = end


def _add(table: dict[Key, Tally], key: Key, events: int, seconds: float) -> None:
    tally = table.setdefault(key, Tally())
    tally.events += events
    tally.seconds += seconds


def write_summary(folder: Path, activity: Activity, kind: str = "tsv") -> list[Path]:
    """Writes the tables; those by hour and day where a recording says when it began.

    By hour and day every class has a row in each hour and day in which something was recorded or
    found, and ``recorded`` says how many seconds were (empty where a length is not known).

    Args:
        folder: Where.
        activity: What was counted.
        kind: One of `DELIMITERS`.

    Returns:
        The files.
    """
    tables: dict[str, tuple[list[str], list[list[str]]]] = {
        "by_class": (["event_label", "events", "seconds"], _rows(activity.by_class)),
        "by_recording": (
            ["filename", "event_label", "events", "seconds"], _rows(activity.by_recording),
        ),
    }  # fmt: skip
    hours = {*activity.recorded, *((day, hour) for day, hour, _ in activity.by_hour)}
    if hours:
        days: Counter[Key] = Counter()
        for (day, _), seconds in activity.recorded.items():
            days[day,] += seconds  # type: ignore[assignment]
        tables["by_hour"] = (
            ["day", "hour", "event_label", "events", "seconds", "recorded"],
            _full_rows(activity, activity.by_hour, sorted(hours), activity.recorded),
        )
        tables["by_day"] = (
            ["day", "event_label", "events", "seconds", "recorded"],
            _full_rows(activity, activity.by_day, sorted({(day,) for day, _ in hours}), days),
        )
    written = []
    for name, (columns, rows) in tables.items():
        written.append(folder / f"{name}.{kind}")
        write_lines(written[-1], [join_row(row, DELIMITERS[kind]) for row in [columns, *rows]])
    for name in {"by_hour", "by_day"} - {*tables}:  # of an earlier summary
        (folder / f"{name}.{kind}").unlink(missing_ok=True)
    return written


def _rows(table: Mapping[Key, Tally]) -> list[list[str]]:
    return [[*key, str(one.events), f"{one.seconds:.3f}"] for key, one in sorted(table.items())]


def _full_rows(
    activity: Activity,
    table: Mapping[Key, Tally],
    places: Sequence[Key],
    recorded: Mapping[Key, float],
) -> list[list[str]]:
    rows = []
    for place in places:
        span = f"{recorded.get(place, 0.0):.3f}" if activity.all_lengths else ""
        for label in sorted(activity.classes):
            one = table.get((*place, label), Tally())
            rows.append([*place, label, str(one.events), f"{one.seconds:.3f}", span])
    return rows


def clock_counts(activity: Activity) -> dict[str, dict[int, float]]:
    """Class → hour of the day → events an hour of recording; events where lengths are unknown."""
    counts: defaultdict[str, Counter[int]] = defaultdict(Counter)
    for (_, hour, label), one in activity.by_hour.items():
        counts[label][int(hour)] += one.events
    spans: Counter[int] = Counter()
    for (_, hour), seconds in activity.recorded.items():
        spans[int(hour)] += seconds  # type: ignore[assignment]
    return {
        label: {
            hour: count * 3600.0 / spans[hour] if activity.all_lengths and spans[hour] else count
            for hour, count in hours.items()
        }
        for label, hours in counts.items()
    }
