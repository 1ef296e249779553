"""Events of recordings made ready: names become classes, and what is odd is mended or refused."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from earmark.core.errors import LabelError
from earmark.core.event import Event
from earmark.core.timeline import resampled_length
from earmark.prepare.importing.annotations import Annotated
from earmark.prepare.importing.class_map import ClassMap
from earmark.prepare.importing.cutting import Span, joined_events, joined_spans
from earmark.prepare.importing.settings import ImportSettings

Stretch = tuple[float, float]


@dataclass(frozen=True)
class Prepared:
    """A recording whose events are ready to be cut.

    Attributes:
        recording: The recording.
        rate: Samples per second of its clips.
        length: Its samples at that rate.
        events: Within the recording, in order, those of one class apart.
        spans: What of it was annotated, in samples at ``rate``.
    """

    recording: Annotated
    rate: int
    length: int
    events: tuple[Event, ...]
    spans: tuple[Span, ...]


@dataclass
class Changes:
    """What was done to labels before any cutting.

    Attributes:
        classes: Name → the class it became, or None where it was left out; with how often.
        merged: Events that overlapped one of their own class and were joined with it.
        trimmed: (recording, event) that ended after the recording did.
        points: Labels without a length: given one, or left out.
    """

    classes: dict[str, tuple[str | None, int]] = field(default_factory=dict)
    merged: int = 0
    trimmed: list[tuple[str, Event]] = field(default_factory=list)
    points: int = 0


def prepare(
    recordings: Sequence[Annotated],
    class_map: ClassMap,
    settings: ImportSettings,
    regions: Mapping[str, Sequence[Stretch]] | None = None,
) -> tuple[list[Prepared], Changes]:
    """Make events ready.

    Args:
        recordings: With the names annotators wrote.
        class_map: What names become.
        settings: Of the import.
        regions: Key of a recording → what of it was annotated; None where all of it was.

    Raises:
        LabelError: A name stands nowhere, a label has no length, or lies beyond its recording.
    """
    changes = Changes()
    names = Counter(event.event_label for one in recordings for event in one.events or ())
    names.pop(settings.region_label or "", None)
    where = [
        (event.event_label, str(one.files[0]))
        for one in recordings
        for event in one.events or ()
        if event.event_label != settings.region_label
    ]
    targets = class_map.targets(where)
    changes.classes = {name: (targets[name], count) for name, count in sorted(names.items())}
    prepared = [
        _prepared(one, targets, settings, regions, changes)
        for one in recordings
        if not (one.events is None and settings.unlisted == "skip")
    ]
    return prepared, changes


def _prepared(
    recording: Annotated,
    targets: Mapping[str, str | None],
    settings: ImportSettings,
    regions: Mapping[str, Sequence[Stretch]] | None,
    changes: Changes,
) -> Prepared:
    info = recording.info
    rate = settings.rate or info.sample_rate
    length = resampled_length(info.samples, info.sample_rate, rate)
    mapped: list[Event] = []
    marked: list[Stretch] = []
    for event in recording.events or ():
        onset, offset, name, _ = _with_length(recording, event, settings, changes)
        if name == settings.region_label:
            marked.append((onset, offset))
        elif (label := targets[name]) is not None and offset > onset:
            mapped.append(_inside(recording, Event(onset, offset, label), changes))
    events, merged = joined_events(mapped)
    changes.merged += merged
    stretches = _annotated(recording, marked, settings, regions)
    spans = tuple(joined_spans(stretches, length, rate))
    if events and not spans:
        raise LabelError(
            f"{recording.key} has events, but no stretch of it is marked as annotated",
            where=recording.files[0],
            hint="Mark what was annotated, in this recording too",
        )
    return Prepared(recording, rate, length, tuple(events), spans)


def _with_length(
    recording: Annotated, event: Event, settings: ImportSettings, changes: Changes
) -> Event:
    """An event; one without a length gets some, or none at all and is left out later."""
    onset, offset, label, _ = event
    if offset > onset:
        return event
    if settings.points is None:
        raise LabelError(
            f"the label {label!r} at {onset:g} s has no length",
            where=recording.files[0],
            hint="Give such labels one (--points 0.5 is half a second around each), or leave "
            "them out (--points 0)",
        )
    changes.points += 1
    half = settings.points / 2
    return Event(max(0.0, onset - half), onset + half if half else onset, label)


def _inside(recording: Annotated, event: Event, changes: Changes) -> Event:
    """An event, ended where its recording ends."""
    seconds = recording.info.seconds
    if event.onset >= seconds:
        raise LabelError(
            f"{event.event_label!r} is at {event.onset:g} s, but {recording.key} ends at "
            f"{seconds:g} s",
            where=recording.files[0],
            hint="Is it the label file of another recording?",
        )
    if event.offset > seconds:
        changes.trimmed.append((recording.key, event))
    return event._replace(offset=min(event.offset, seconds))


def _annotated(
    recording: Annotated,
    marked: Sequence[Stretch],
    settings: ImportSettings,
    regions: Mapping[str, Sequence[Stretch]] | None,
) -> Sequence[Stretch]:
    """What of a recording was annotated, in seconds."""
    whole = (0.0, recording.info.seconds + 1.0)  # a second more, so that rounding leaves no rest
    if recording.events is None and settings.unlisted != "empty":
        return []
    if regions is not None:
        return regions.get(recording.key, ())
    if settings.region_label is not None:
        return marked
    return [whole]
