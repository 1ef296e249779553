"""Long recordings into clips, and their events with them: whole numbers of samples throughout."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from earmark.core.event import Event
from earmark.core.timeline import samples_to_seconds, seconds_to_samples

Span = tuple[int, int]


@dataclass(frozen=True)
class Cutting:
    """How recordings are cut.

    Attributes:
        rate: Samples per second.
        length: Samples of a clip.
        hop: Samples from one clip's start to the next; below ``length`` they overlap.
        shortest: Samples a last, shorter clip must have; what is less is left out.
        least: Seconds of an event that must be left in a clip that cuts it.
    """

    rate: int
    length: int
    hop: int
    shortest: int
    least: float


@dataclass(frozen=True)
class Cut:
    """An event that an edge of a clip goes through.

    Attributes:
        event: The event, in seconds of the recording.
        clip: The clip [first, stop) that cuts it, in samples.
        seconds: What of it lies in the clip.
        kept: Whether that became an event of the clip; else it is too short.
    """

    event: Event
    clip: Span
    seconds: float
    kept: bool


def clips_of(spans: Iterable[Span], cutting: Cutting) -> list[Span]:
    """Clips [first, stop) over spans of a recording, each span from its start on.

    The last clip of a span is what is left, if that is long enough and not part of the clip
    before it.
    """
    clips: list[Span] = []
    for start, stop in spans:
        covered = start
        for first in range(start, stop, cutting.hop):
            if covered >= stop:
                break
            last = min(first + cutting.length, stop)
            if last - first >= min(cutting.shortest, cutting.length):
                clips.append((first, last))
                covered = last
    return clips


def events_of(
    events: Iterable[Event], clip: Span, cutting: Cutting
) -> tuple[list[Event], list[Cut]]:
    """Events of a clip, in its own seconds, and those of them that it cuts.

    Args:
        events: Of the recording, in its seconds.
        clip: [first, stop) in samples.
        cutting: How short the rest of an event may be.
    """
    begin, end = (samples_to_seconds(sample, cutting.rate) for sample in clip)
    kept: list[Event] = []
    cuts: list[Cut] = []
    for event in events:
        onset, offset, label, _ = event
        if not ((onset < end and offset > begin) or begin <= onset == offset < end):
            continue
        first, last = max(onset, begin), min(offset, end)
        whole = (first, last) == (onset, offset)
        enough = whole or last - first >= cutting.least
        if not whole:
            cuts.append(Cut(event, clip, last - first, enough))
        if enough:
            # To the nanosecond, so that 19.3 - 10 is 9.3 in a table.
            kept.append(Event(round(first - begin, 9), round(last - begin, 9), label))
    return sorted(kept), cuts


def spans_between(spans: Sequence[Span], length: int) -> list[Span]:
    """What spans leave free of [0, length)."""
    free: list[Span] = []
    position = 0
    for first, stop in sorted(spans):
        if first > position:
            free.append((position, first))
        position = max(position, stop)
    if position < length:
        free.append((position, length))
    return free


def joined_spans(spans: Iterable[tuple[float, float]], length: int, rate: int) -> list[Span]:
    """Spans in seconds as samples within [0, length), in order; those that touch are one."""
    joined: list[Span] = []
    for onset, offset in sorted(spans):
        first, stop = seconds_to_samples(onset, rate), min(seconds_to_samples(offset, rate), length)
        if stop <= first:
            continue
        if joined and first <= joined[-1][1]:
            joined[-1] = (joined[-1][0], max(stop, joined[-1][1]))
        else:
            joined.append((first, stop))
    return joined


def joined_events(events: Iterable[Event]) -> tuple[list[Event], int]:
    """Events in order, those of one class that overlap joined; and how many were swallowed.

    Merging classes makes such overlaps: a bark within "dogs".
    """
    last: dict[str, Event] = {}
    done: list[Event] = []
    swallowed = 0
    for event in sorted(events):
        label = event.event_label
        before = last.get(label)
        if before is not None and event.onset < before.offset:
            last[label] = before._replace(offset=max(before.offset, event.offset))
            swallowed += 1
            continue
        if before is not None:
            done.append(before)
        last[label] = event
    return sorted([*done, *last.values()]), swallowed
