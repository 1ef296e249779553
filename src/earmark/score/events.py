"""Events as the metrics take them, checked at the door."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, Literal, Self

import numpy as np
from numpy.typing import NDArray

from earmark.core.errors import ScoreError
from earmark.core.event import EventTuple
from earmark.score.issues import suggestion

Bools = NDArray[np.bool_]
Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Events = Mapping[str, Sequence[EventTuple]]
"""Events by clip id; plain tuples of onset, offset and label are taken as well."""

TIME_DECIMALS = 6
"""Times are compared rounded to this many decimals, as sed_scores_eval does."""

Convention = Literal["sed_scores_eval", "psds_eval"]
"""Whose rules hold where the field's libraries compare times differently."""
CONVENTIONS: tuple[Convention, ...] = ("sed_scores_eval", "psds_eval")

SHOWN = 5
"""So many clip ids are named in an error."""


@dataclass(frozen=True)
class Columns:
    """Arrays of equal length, one for each field: the columns of a table."""

    def at(self, chosen: Any) -> Self:
        """Some of the rows, by index, mask or slice."""
        return type(self)(*(getattr(self, column.name)[chosen] for column in fields(self)))

    @classmethod
    def joined(cls, parts: Sequence[Self]) -> Self:
        """The rows of one part or several, one after the other."""
        names = [column.name for column in fields(cls)]
        return cls(*(np.concatenate([getattr(one, name) for one in parts]) for name in names))


@dataclass(frozen=True)
class EventArrays(Columns):
    """N events as columns; clips and labels by index, in clip, label, onset order."""

    clip: Ints
    label: Ints
    onset: Floats
    offset: Floats

    @property
    def seconds(self) -> Floats:
        """Length of each event ``[N]``."""
        return self.offset - self.onset


def some_of(names: Sequence[str], most: int = SHOWN) -> str:
    """The first names, and how many more there are."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return f"{', '.join(names[:most])}{more}"


def check_clips(found: Iterable[str], known: Collection[str], what: str, among: str) -> None:
    """Raise a ScoreError that lists the clip ids in ``found`` that are not ``known``."""
    strange = sorted(set(found) - set(known))
    if strange:
        raise ScoreError(
            f"{len(strange)} clips in the {what} are not in the {among}: {some_of(strange)}",
            hint="Clip ids are file names without their last extension; both sides must agree.",
        )


def check_durations(durations: Mapping[str, float]) -> None:
    """Raise a ScoreError for a clip that has no positive length."""
    for clip, seconds in durations.items():
        if not (seconds > 0 and math.isfinite(seconds)):
            raise ScoreError(f"the duration of {clip} is {seconds} s", hint="It must be positive.")


def known_clips(
    scores: Iterable[str], truth: Events, durations: Mapping[str, float], what: str
) -> tuple[str, ...]:
    """The clips that count, after all ids were compared."""
    clips = tuple(scores)
    check_clips(truth, set(clips), "truth", what)
    check_clips(clips, durations, what, "durations")
    check_clips(durations, set(clips), "durations", what)
    check_durations(durations)
    return clips


def tidy(
    events: Events,
    clips: Sequence[str],
    labels: Sequence[str],
    what: str,
    *,
    merge: bool,
) -> tuple[EventArrays, list[str]]:
    """Check events and bring them into arrays.

    Events of no length and exact repetitions are dropped. Events of one class that touch stay
    apart; those that overlap are merged if asked, for measures that add up overlaps.

    Args:
        events: Events by clip id; those of clips that are not in ``clips`` are ignored.
        clips: The clips that count, in order.
        labels: Every label that may occur, in order.
        what: What the events are ("truth", "detections"), for messages.
        merge: Whether to merge overlapping events of one class.

    Returns:
        The events, and a warning for each kind of change that was made.

    Raises:
        ScoreError: If a label is unknown, a time is not finite, or an event ends before it starts.
    """
    index = {label: number for number, label in enumerate(labels)}
    listed = [events.get(clip, ()) for clip in clips]
    rows = [event for found in listed for event in found]
    clip = np.repeat(np.arange(len(clips)), [len(found) for found in listed])
    label = np.array([index.get(event[2], -1) for event in rows], dtype=np.int64)
    times = np.array([event[:2] for event in rows], dtype=np.float64).reshape(len(rows), 2)
    _check(clips, rows, clip, label, times, index, what)
    kept = times[:, 1] > times[:, 0]
    clip, label, times = clip[kept], label[kept], times[kept]
    order = np.lexsort((times[:, 1], times[:, 0], label, clip))
    found = EventArrays(clip[order], label[order], times[order, 0], times[order, 1])
    size = len(found.clip)
    found = found.at(_differing(found))
    changes = [
        (len(rows) - size, "events of no length dropped from"),
        (size - len(found.clip), "exact repetitions of events dropped from"),
    ]
    if merge:
        size = len(found.clip)
        found = _merged(found)
        changes.append((size - len(found.clip), "overlapping events of one class merged in"))
    return found, [f"{number} {done} the {what}" for number, done in changes if number]


def _check(
    clips: Sequence[str],
    rows: Sequence[EventTuple],
    clip: Ints,
    label: Ints,
    times: Floats,
    index: Mapping[str, int],
    what: str,
) -> None:
    """Raise a ScoreError for the first event with an unknown label or impossible times."""
    right = (label >= 0) & np.isfinite(times).all(axis=1) & (times[:, 1] >= times[:, 0])
    for number in np.flatnonzero(~right)[:1]:
        name, (onset, offset, wrong, *_) = clips[clip[number]], rows[number]
        if label[number] < 0:
            raise ScoreError(
                f"the {what} of {name} has the label {wrong}",
                hint=f"{suggestion([wrong], index)}Known labels: {', '.join(index)}.",
            )
        raise ScoreError(
            f"the {what} of {name} has a {wrong} from {onset} s to {offset} s",
            hint="Times must be finite and an event must not end before it starts.",
        )


def _differing(events: EventArrays) -> Bools:
    """Which of sorted events differ from the one before."""
    columns = (events.clip, events.label, events.onset, events.offset)
    first = np.ones(len(events.clip), dtype=np.bool_)
    first[1:] = np.any([column[1:] != column[:-1] for column in columns], axis=0)
    return first


def _merged(events: EventArrays) -> EventArrays:
    """Sorted events, those of one class and clip that overlap made one."""
    alike = (events.clip[1:] == events.clip[:-1]) & (events.label[1:] == events.label[:-1])
    # Rounded, so that float noise does not glue two events that only touch.
    if not np.any(alike & (np.round(events.offset[:-1] - events.onset[1:], TIME_DECIMALS) > 0)):
        return events
    kept = np.ones(len(alike) + 1, dtype=np.bool_)
    offset = events.offset.copy()
    last = 0
    for number in range(1, len(kept)):
        owner = events.clip[number], events.label[number]
        over = round(float(offset[last] - events.onset[number]), TIME_DECIMALS) > 0
        if over and owner == (events.clip[last], events.label[last]):
            offset[last] = max(offset[last], offset[number])
            kept[number] = False
        else:
            last = number
    return EventArrays(events.clip, events.label, events.onset, offset).at(kept)


def counted_clips(
    clips: Iterable[str], truth: Events, drop_eventless: bool
) -> tuple[tuple[str, ...], list[str]]:
    """The clips that count, and a warning if some are dropped because nothing sounds in them."""
    names = tuple(clips)
    if not drop_eventless:
        return names, []
    kept = tuple(clip for clip in names if any(e[1] > e[0] for e in truth.get(clip, ())))
    return kept, [f"{len(names) - len(kept)} clips without events dropped"]


def left_out(
    labels: Iterable[str], measured: Collection[str]
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Classes that were not measured as they have no truth, and a warning that names them."""
    without = tuple(label for label in labels if label not in measured)
    said = f"classes without truth left out of the mean: {', '.join(without)}"
    return without, (said,) if without else ()


def ratio(count: NDArray[Any], whole: NDArray[Any]) -> Floats:
    """``count / whole`` elementwise, 0 where the whole is."""
    return np.asarray(np.divide(count, whole, out=np.zeros(whole.shape), where=whole > 0))


def at_least(
    found: Floats, criterion: float, whole: Floats, decimals: int = TIME_DECIMALS
) -> Bools:
    """Whether ``found`` seconds are at least a fraction of ``whole`` seconds, elementwise.

    Args:
        found: Overlap in seconds.
        criterion: The tolerance criterion ρ, that fraction.
        whole: Length in seconds that ρ refers to.
        decimals: Both sides are rounded to so many decimals (sed_scores_eval's convention).
    """
    scale = 10.0**decimals
    return np.asarray(np.rint(found * scale) >= np.rint(criterion * whole * scale))


def sum_by(index: NDArray[np.integer[Any]], weights: NDArray[Any] | None, size: int) -> Floats:
    """Sum of the weights (or number of entries) that fall to each index below ``size``."""
    return np.asarray(np.bincount(index, weights, minlength=size), dtype=np.float64)
