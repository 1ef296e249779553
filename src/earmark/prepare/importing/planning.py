"""Which clips are made of which recording, for which split, with which labels."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import PurePosixPath

from earmark.core.errors import DataError, LabelError
from earmark.core.event import Event
from earmark.core.tables.rows import is_unfit
from earmark.core.timeline import samples_to_seconds, seconds_to_samples
from earmark.data.desed import REAL, TEST, UNLABELLED, VALIDATION, Place
from earmark.prepare.importing.cutting import (
    Cut,
    Cutting,
    Span,
    clips_of,
    events_of,
    spans_between,
)
from earmark.prepare.importing.preparing import Prepared
from earmark.prepare.importing.settings import ImportSettings
from earmark.prepare.importing.splitting import SPLITS, split_recordings

#: Where each split is written; what was not annotated goes where unlabelled clips are.
PLACES: Mapping[str, Place] = {
    "train": REAL, "validation": VALIDATION, "test": TEST, "unlabelled": UNLABELLED,
}  # fmt: skip


@dataclass(frozen=True)
class Clip:
    """A clip to be made.

    Attributes:
        split: One of ``PLACES``.
        file: Its name.
        span: [first, stop) of the recording, in samples at the clip's rate.
        seconds: Its duration.
        events: In its own seconds.
    """

    split: str
    file: str
    span: Span
    seconds: float
    events: tuple[Event, ...]

    @property
    def path(self) -> str:
        """Its path in the dataset."""
        return f"{PLACES[self.split].audio}/{self.file}"


@dataclass
class Plan:
    """What is to be made.

    Attributes:
        clips: Index of a recording (in the order they were given) → its clips.
        splits: Key of each annotated recording → its split.
        cuts: (key, cut) for every event that an edge of a clip goes through.
        lost: (key, event) in no clip at all: outside of what was annotated, in a rest that is too
            short for a clip, or cut so that neither side is long enough.
        left_out: Seconds of recordings that are in no clip.
    """

    clips: dict[int, list[Clip]] = field(default_factory=dict)
    splits: dict[str, str] = field(default_factory=dict)
    cuts: list[tuple[str, Cut]] = field(default_factory=list)
    lost: list[tuple[str, Event]] = field(default_factory=list)
    left_out: float = 0.0

    @property
    def all_clips(self) -> list[Clip]:
        """All clips, in the order of the recordings."""
        return [clip for own in self.clips.values() for clip in own]


def plan_import(
    prepared: Sequence[Prepared],
    settings: ImportSettings,
    given: Mapping[str, str] | None = None,
) -> Plan:
    """Divide recordings and cut them.

    Args:
        prepared: Recordings with their events.
        settings: Of the import.
        given: Key of a recording → its split, instead of dividing them.

    Raises:
        DataError: There is nothing annotated, or too few recordings to divide.
    """
    annotated = [one for one in prepared if one.spans]
    if not annotated:
        raise DataError("nothing was annotated: no recording has a label file with something in it")
    plan = Plan(splits=dict(given) if given is not None else _divided(annotated, settings))
    names = clip_names([one.recording.key for one in prepared])
    for index, (one, name) in enumerate(zip(prepared, names, strict=True)):
        plan.clips[index] = list(_clips(one, name, plan, settings))
        for first, stop in spans_between([clip.span for clip in plan.clips[index]], one.length):
            plan.left_out += samples_to_seconds(stop - first, one.rate)
    return plan


def _divided(annotated: Sequence[Prepared], settings: ImportSettings) -> dict[str, str]:
    amounts: defaultdict[str, defaultdict[str, float]] = defaultdict(lambda: defaultdict(float))
    group_of = {one.recording.key: settings.group_of(one.recording.key) for one in annotated}
    for one in annotated:
        own = amounts[group_of[one.recording.key]]
        own[""] += samples_to_seconds(sum(stop - first for first, stop in one.spans), one.rate)
        for event in one.events:
            own[event.event_label] += event.offset - event.onset
    split_of = split_recordings(amounts, settings.fractions, settings.seed)
    return {key: split_of[group] for key, group in group_of.items()}


def check_splits(
    given: Mapping[str, str], prepared: Sequence[Prepared], where: str
) -> dict[str, str]:
    """Splits that a user gave, for each annotated recording.

    Args:
        given: Name of a recording → split.
        prepared: Recordings.
        where: The file, for errors.

    Raises:
        LabelError: A split is none, or a recording has none.
    """
    for name, split in given.items():
        if split not in SPLITS:
            raise LabelError(
                f"{name} is in {split!r}, which is no split",
                where=where,
                hint=f"Splits are {', '.join(SPLITS)}",
            )
    result = {}
    for one in prepared:
        key = one.recording.key
        if key in given:
            result[key] = given[key]
        elif one.spans:
            raise LabelError(
                f"{key} has no split", where=where, hint="Add a row for each annotated recording"
            )
    return result


def _clips(one: Prepared, name: str, plan: Plan, settings: ImportSettings) -> Iterable[Clip]:
    cutting = _cutting(one.rate, settings)
    split = plan.splits.get(one.recording.key)
    whole = settings.whole and split in ("validation", "test")
    found: set[Event] = set()
    # Where the recording ends is no cut, and neither is the beginning.
    for span in one.spans if whole else clips_of(one.spans, cutting):
        own, cuts = events_of(one.events, span, cutting)
        plan.cuts += [(one.recording.key, cut) for cut in cuts]
        begin, end = (samples_to_seconds(sample, one.rate) for sample in span)
        short = {cut.event for cut in cuts if not cut.kept}
        found |= {e for e in one.events if e[0] < end and e[1] > begin and e not in short}
        yield _clip(str(split), name, span, one.rate, own)
    plan.lost += [(one.recording.key, event) for event in one.events if event not in found]
    if split in ("validation", "test"):
        return  # what was not annotated of a test recording must not be trained on either
    for span in clips_of(spans_between(one.spans, one.length), cutting):
        yield _clip("unlabelled", name, span, one.rate, [])


def _clip(split: str, name: str, span: Span, rate: int, events: Sequence[Event]) -> Clip:
    begin, end = (samples_to_seconds(sample, rate) for sample in span)
    return Clip(split, f"{name}_{begin:.3f}_{end:.3f}.flac", span, end - begin, tuple(events))


def _cutting(rate: int, settings: ImportSettings) -> Cutting:
    length = seconds_to_samples(settings.seconds, rate)
    hop = length if settings.hop is None else max(1, seconds_to_samples(settings.hop, rate))
    shortest = max(1, seconds_to_samples(settings.shortest, rate))
    return Cutting(rate, length, hop, shortest, settings.least)


def clip_names(keys: Sequence[str]) -> list[str]:
    """What the clips of each recording are called: its name, with its folder where others share it.

    Names differ even without regard to case, since not every disk has any.
    """
    stems = [PurePosixPath(key).stem for key in keys]
    counts = Counter(stem.lower() for stem in stems)
    names: list[str] = []
    taken: set[str] = set()
    for key, stem in zip(keys, stems, strict=True):
        pure = PurePosixPath(key)
        name = stem if counts[stem.lower()] == 1 else "-".join((*pure.parts[:-1], stem))
        name = "".join("_" if is_unfit(sign) else sign for sign in name).strip() or "recording"
        unique, number = name, 2
        while unique.lower() in taken:
            unique, number = f"{name}-{number}", number + 1
        taken.add(unique.lower())
        names.append(unique)
    return names
