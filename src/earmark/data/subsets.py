"""What a dataset is made of: sources to learn from, splits to be scored on, and its fingerprint."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Literal, TypeVar

from earmark.core.event import Event
from earmark.core.tables.labels import LabelSet
from earmark.score.clips import ClipIds

EventsByName = Mapping[str, Sequence[Event]]
"""Events of clips by their names; a clip without events need not be a key."""

Kind = Literal["strong", "weak", "unlabelled"]
Domain = Literal["real", "synthetic"]
V = TypeVar("V")


@dataclass(frozen=True, eq=False)
class Source:
    """Clips to learn from, with one kind of label.

    Attributes:
        kind: ``strong``, ``weak`` or ``unlabelled``.
        name: In DESED ``synthetic``, ``real``, ``weak`` or ``unlabelled``.
        clips: Files that are there, in the order of the labels (unlabelled: sorted).
        events: Strong labels of these clips, by their names.
        weak: Weak labels of these clips, by their names.
        missing: Names that are listed, but not there or empty.
        excluded: Names of clips left out because they are in another subset, or because the
            user said so.
        faulty: Names of clips left out because their labels cannot be understood.
        domain: ``real`` recordings or ``synthetic`` ones.
        labelled: Classes it was annotated for; of others neither presence nor absence is known.
            None stands for all classes.
        names: Of the clips: their paths in the folder of the source; the base name by default.
        unused: Columns of confidence in its tables.
        negatives: It is said to hold none of the classes.
        pseudo: A network labelled it, no one else.
        scores: Files of score tables by clip name, which are the frames' targets in place of its
            events; None for events.
    """

    kind: Kind
    name: str
    clips: tuple[Path, ...]
    events: EventsByName | None = None
    weak: Mapping[str, tuple[str, ...]] | None = None
    missing: tuple[str, ...] = ()
    excluded: tuple[str, ...] = ()
    faulty: tuple[str, ...] = ()
    domain: Domain = "real"
    labelled: tuple[str, ...] | None = None
    names: Mapping[Path, str] = field(default_factory=dict)
    unused: tuple[str, ...] = ()
    negatives: bool = False
    pseudo: bool = False
    scores: Mapping[str, Path] | None = None

    @property
    def can_be_held_out(self) -> bool:
        """Whether clips of it can choose an epoch: real ones with strong labels of people."""
        heard = not (self.negatives or self.pseudo)
        return self.kind == "strong" and self.domain == "real" and heard

    @property
    def place(self) -> str:
        """Its place in a batch: of strong labels that people made the domain."""
        if self.pseudo:
            return "pseudo"
        return self.domain if self.kind == "strong" else self.kind

    def name_of(self, clip: Path) -> str:
        """The name of a clip."""
        return self.names.get(clip, clip.name)

    def only(self, clips: Iterable[Path], name: str | None = None) -> Source:
        """The same with some of its clips, and the labels of these."""
        kept = tuple(clips)
        names = set(map(self.name_of, kept))
        events = None if self.events is None else of_clips(self.events, names)
        weak = None if self.weak is None else of_clips(self.weak, names)
        scores = None if self.scores is None else of_clips(self.scores, names)
        own = replace(self, clips=kept, events=events, weak=weak, scores=scores)
        return own if name is None else replace(own, name=name)


@dataclass(frozen=True, eq=False)
class Evaluation:
    """Clips with strong labels to be scored on.

    Attributes:
        name: Name of the split.
        clips: Files that are there, in the order of the labels.
        events: Their events, by their names.
        durations: Seconds by name, for each of the clips.
        missing: Names that are listed, but not there or empty.
        faulty: Names of clips left out because their labels cannot be understood, or because
            their duration is listed nowhere and the clip cannot be read.
        labelled: Classes it was annotated for; None stands for all.
        unreadable: Names of clips that turned out to be unreadable when they were scored.
        names: Of the clips: their paths in the folder of the split; the base name by default.
        unused: Columns of confidence in its tables.
    """

    name: str
    clips: tuple[Path, ...]
    events: EventsByName
    durations: Mapping[str, float]
    missing: tuple[str, ...] = ()
    faulty: tuple[str, ...] = ()
    labelled: tuple[str, ...] | None = None
    unreadable: tuple[str, ...] = ()
    names: Mapping[Path, str] = field(default_factory=dict)
    unused: tuple[str, ...] = ()

    def name_of(self, clip: Path) -> str:
        """The name of a clip."""
        return self.names.get(clip, clip.name)

    @cached_property
    def ids(self) -> ClipIds:
        """Ids of its clips by their names, for score tables."""
        return ClipIds(map(self.name_of, self.clips))

    @cached_property
    def by_id(self) -> dict[str, Path]:
        """Its clips by id."""
        return {self.ids[self.name_of(path)]: path for path in self.clips}

    @property
    def listed(self) -> int:
        """Number of clips that are listed, whether there or not."""
        lost = (self.missing, self.faulty, self.unreadable)
        return len(self.clips) + sum(map(len, lost))

    def only(self, clips: Collection[str]) -> Evaluation:
        """The same on some clips, by their ids; the others count as unreadable."""
        kept = tuple(path for clip, path in self.by_id.items() if clip in clips)
        if len(kept) == len(self.clips):
            return self
        names = set(map(self.name_of, kept))
        lost = tuple(name for path in self.clips if (name := self.name_of(path)) not in names)
        return replace(
            self,
            clips=kept,
            events=of_clips(self.events, names),
            durations=of_clips(self.durations, names),
            unreadable=(*self.unreadable, *lost),
        )

    @cached_property
    def fingerprint(self) -> str:
        """16 hexadecimal digits that change with the clips, their sizes or their labels."""
        return _digest(_entries(self, self.events, None))


@dataclass(frozen=True, eq=False)
class Manifest:
    """A dataset.

    Attributes:
        root: Its folder.
        labels: All classes that any label file names, sorted; or those a description lists.
        train: What there is to learn from.
        splits: What there is to be scored on: ``validation``, ``test``, ``synthetic_validation``,
            and what else a dataset names.
        notes: What a user should know, a sentence each: clips missing, excluded, not labelled.
        damage: Those of the notes about something lost.
        held_out: Labelled clips that are kept from training, to choose among epochs.
    """

    root: Path
    labels: LabelSet
    train: tuple[Source, ...]
    splits: Mapping[str, Evaluation]
    notes: tuple[str, ...] = ()
    damage: tuple[str, ...] = ()
    held_out: tuple[Source, ...] = ()

    @cached_property
    def fingerprint(self) -> str:
        """16 hexadecimal digits that change with any clip's name, size or label.

        It does not depend on where the dataset lies or on the order of its files.
        """
        entries: list[tuple[str, ...]] = []
        for source in (*self.train, *self.held_out):
            entries += _entries(source, source.events, source.weak)
        for split in self.splits.values():
            entries += _entries(split, split.events, None)
        return _digest(entries)


def of_clips(by_name: Mapping[str, V], names: Collection[str]) -> dict[str, V]:
    """What some clips have, by their names on disk."""
    return {name: value for name, value in by_name.items() if name in names}


def size_of(path: Path) -> int:
    """Bytes of a file; 0 for one that is not there (any more), a dangling link for instance."""
    try:
        return path.stat().st_size
    except OSError:
        return 0


def _entries(
    subset: Source | Evaluation,
    events: EventsByName | None,
    weak: Mapping[str, tuple[str, ...]] | None,
) -> list[tuple[str, ...]]:
    """Subset, name, size in bytes and labels of each clip."""
    known = () if subset.labelled is None else (",".join(sorted(subset.labelled)),)
    entries = []
    for path in subset.clips:
        name = subset.name_of(path)
        labels = (
            sorted(event[:3] for event in (events or {}).get(name, ())),
            sorted((weak or {}).get(name, ())),
        )
        soft = (subset.scores or {}).get(name) if isinstance(subset, Source) else None
        digest = () if soft is None else (hashlib.sha256(soft.read_bytes()).hexdigest(),)
        entries.append((subset.name, name, str(size_of(path)), repr(labels), *known, *digest))
    return entries


def _digest(entries: Iterable[tuple[str, ...]]) -> str:
    text = "\n".join("\t".join(entry) for entry in sorted(entries))
    return hashlib.sha256(text.encode()).hexdigest()[:16]
