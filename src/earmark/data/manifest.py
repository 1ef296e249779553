"""What a dataset holds: strong, weak and unlabelled clips to learn from, splits to be scored on.

The layout is that of DESED (Turpault et al., "Sound event detection in domestic environments
with weakly labeled data and soundscape synthesis", DCASE 2019). Every part is optional. Clips
that are listed but not there are counted and named, because recordings vanish from where DESED
takes them. What is on disk decides a clip's name: labels are carried over to it.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal

import pandas as pd

from earmark.core.audio import audio_info, list_audio
from earmark.core.errors import DataError
from earmark.core.events import (
    LabelSet,
    clip_id,
    events_by_clip,
    read_durations,
    read_strong,
    read_weak,
)

Kind = Literal["strong", "weak", "unlabelled"]
_YOUTUBE = re.compile(r"Y(.{11}_\d+\.\d+_\d+\.\d+)")
_MEND = "The layout is DESED's: audio/train/… and metadata/train/… in this folder"


@dataclass(frozen=True, eq=False)
class Source:
    """Clips to learn from, with one kind of label.

    Attributes:
        kind: ``strong``, ``weak`` or ``unlabelled``.
        name: ``synthetic``, ``real``, ``weak`` or ``unlabelled``.
        clips: Files that are there, in the order of the labels (unlabelled: sorted).
        events: Strong labels of these clips, by their names on disk.
        weak: Weak labels of these clips, by their names on disk.
        missing: Names that are listed, but not there or empty.
        excluded: Names of unlabelled clips left out because they have labels elsewhere.
    """

    kind: Kind
    name: str
    clips: tuple[Path, ...]
    events: pd.DataFrame | None = None
    weak: Mapping[str, tuple[str, ...]] | None = None
    missing: tuple[str, ...] = ()
    excluded: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class Evaluation:
    """Clips with strong labels to be scored on.

    Attributes:
        name: Name of the split.
        clips: Files that are there, in the order of the labels.
        events: Their events, by their names on disk.
        durations: Seconds by name on disk, for each of the clips.
        missing: Names that are listed, but not there or empty.
    """

    name: str
    clips: tuple[Path, ...]
    events: pd.DataFrame
    durations: Mapping[str, float]
    missing: tuple[str, ...] = ()

    @property
    def listed(self) -> int:
        """Number of clips that are listed, whether there or not."""
        return len(self.clips) + len(self.missing)

    @cached_property
    def fingerprint(self) -> str:
        """16 hexadecimal digits that change with the clips, their sizes or their labels."""
        return _digest(_entries(self.name, self.clips, self.events, None))


@dataclass(frozen=True, eq=False)
class Manifest:
    """A dataset.

    Attributes:
        root: Its folder.
        labels: All classes that any label file names, sorted.
        train: What there is to learn from.
        splits: What there is to be scored on: ``validation``, ``test``, ``synthetic_validation``.
        notes: What a user should know, a sentence each: clips missing, excluded, not labelled.
    """

    root: Path
    labels: LabelSet
    train: tuple[Source, ...]
    splits: Mapping[str, Evaluation]
    notes: tuple[str, ...] = ()

    @cached_property
    def fingerprint(self) -> str:
        """16 hexadecimal digits that change with any clip's name, size or label.

        It does not depend on where the dataset lies or on the order of its files.
        """
        entries: list[tuple[str, str, int, str]] = []
        for source in self.train:
            entries += _entries(source.name, source.clips, source.events, source.weak)
        for split in self.splits.values():
            entries += _entries(split.name, split.clips, split.events, None)
        return _digest(entries)


@dataclass(frozen=True)
class _Place:
    """Where a part of DESED lies; a path ending in ``_16k`` is looked for as well."""

    name: str
    audio: str
    labels: str = ""
    durations: tuple[str, ...] = ()
    synthetic: bool = False


_STRONG = (
    _Place(
        "synthetic",
        "audio/train/synthetic21_train/soundscapes",
        "metadata/train/synthetic21_train/soundscapes.tsv",
        synthetic=True,
    ),
    _Place("real", "audio/train/strong_label_real", "metadata/train/audioset_strong.tsv"),
)
_WEAK = _Place("weak", "audio/train/weak", "metadata/train/weak.tsv")
_UNLABELLED = _Place("unlabelled", "audio/train/unlabel_in_domain")
_PUBLIC = _Place(
    "test", "audio/eval/public", "metadata/eval/public.tsv", ("metadata/eval/public_durations.tsv",)
)
_SPLITS = (
    _Place(
        "validation",
        "audio/validation/validation",
        "metadata/validation/validation.tsv",
        ("metadata/validation/validation_durations.tsv",),
    ),
    _Place(
        "test",
        "audio/test/test",
        "metadata/test/test.tsv",
        ("metadata/test/test_durations.tsv", "metadata/test/durations.tsv"),
    ),
    _PUBLIC,
    _Place(
        "synthetic_validation",
        "audio/validation/synthetic21_validation/soundscapes",
        "metadata/validation/synthetic21_validation/soundscapes.tsv",
        ("metadata/validation/synthetic21_validation/durations.tsv",),
        synthetic=True,
    ),
)


def load_manifest(root: str | Path) -> Manifest:
    """Read a dataset in DESED's layout.

    Audio folders may carry the suffix ``_16k``; where both are there, a clip is taken from the
    16 kHz one. Clips are found by name without suffix, with or without the ``Y`` before a
    YouTube id. The synthetic parts may also lie in ``dcase_synth`` inside or beside the folder.

    Args:
        root: The dataset's folder, or one that holds it as ``dataset``.

    Raises:
        DataError: If there is neither a labelled clip to learn from nor a split to be scored on.
        LabelError: If a label file cannot be read.
        AudioError: If a duration is listed nowhere and the clip cannot be read.
    """
    return _Reader(_find_root(Path(root))).manifest()


def _find_root(root: Path) -> Path:
    if not root.is_dir():
        raise DataError("no such folder", where=root, mend="Check the path of the dataset")
    inner = root / "dataset"
    return inner if not (root / "audio").is_dir() and (inner / "audio").is_dir() else root


class _Reader:
    """Reads the parts of a dataset and remembers what to tell about them."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.labels: set[str] = set()
        self.notes: list[str] = []

    def manifest(self) -> Manifest:
        labelled = [self.strong(place) for place in _STRONG] + [self.weak()]
        train = [source for source in labelled if source is not None]
        unlabelled = self.unlabelled(train)
        splits: dict[str, Evaluation] = {}
        for place in _SPLITS:
            # The public evaluation set is the test set unless the dataset has one of its own.
            known = place is _PUBLIC and "test" in splits
            split = None if known else self.evaluation(place)
            if split is not None:
                splits[place.name] = split
        if not any(source.clips for source in train) and not splits:
            found = "; ".join(self.notes) or "no part of a dataset found"
            raise DataError(
                f"no labelled clip to learn from or to be scored on ({found})",
                where=self.root,
                mend=_MEND,
            )
        if unlabelled is not None:
            train.append(unlabelled)
        labels = LabelSet.from_names(self.labels)
        return Manifest(self.root, labels, tuple(train), splits, tuple(self.notes))

    def strong(self, place: _Place) -> Source | None:
        listing = self.listing(place)
        if listing is None:
            return None
        events, names = read_strong(listing)
        found, missing = self.match(place, names)
        self.labels.update(events["event_label"])
        return Source(
            "strong", place.name, _paths(found), events=_renamed(events, found), missing=missing
        )

    def weak(self) -> Source | None:
        listing = self.listing(_WEAK)
        if listing is None:
            return None
        labels = read_weak(listing)
        found, missing = self.match(_WEAK, list(labels))
        self.labels.update(label for own in labels.values() for label in own)
        weak: dict[str, tuple[str, ...]] = {}
        for name, path in found.items():
            weak[path.name] = tuple(dict.fromkeys([*weak.get(path.name, ()), *labels[name]]))
        return Source("weak", "weak", _paths(found), weak=weak, missing=missing)

    def unlabelled(self, labelled: Iterable[Source]) -> Source | None:
        clips = _folder_clips(self.folders(_UNLABELLED))
        if not clips:
            return None
        taken = {_key(path.name) for source in labelled for path in source.clips}
        excluded = tuple(path.name for path in clips if _key(path.name) in taken)
        if excluded:
            self.notes.append(
                f"unlabelled: {len(excluded)} of {len(clips)} clips left out, "
                f"they are in weak or strong by name ({_some(excluded)})"
            )
        kept = tuple(path for path in clips if _key(path.name) not in taken)
        return Source("unlabelled", "unlabelled", kept, excluded=excluded)

    def evaluation(self, place: _Place) -> Evaluation | None:
        listing = self.listing(place)
        if listing is None:
            return None
        events, names = read_strong(listing)
        found, missing = self.match(place, names)
        self.labels.update(events["event_label"])
        if not found:
            return None
        durations = self.durations(place, found)
        own = _renamed(events, found)
        return Evaluation(place.name, _paths(found), own, durations, missing)

    def durations(self, place: _Place, found: Mapping[str, Path]) -> dict[str, float]:
        """Seconds by name on disk: as listed, else from the clip's header."""
        listed: dict[str, float] = {}
        for candidate in place.durations:
            for root in self.roots(place):
                if not listed and (root / candidate).is_file():
                    listed = read_durations(root / candidate)
        by_key = {_key(name): seconds for name, seconds in listed.items()}
        return {
            path.name: by_key[_key(name)] if _key(name) in by_key else audio_info(path).seconds
            for name, path in found.items()
        }

    def listing(self, place: _Place) -> Path | None:
        """The label file of a part; None, with a note if there is audio, where it has none."""
        for root in self.roots(place):
            if (root / place.labels).is_file():
                return root / place.labels
        for folder in self.folders(place):
            self.notes.append(
                f"{place.name}: {_relative(folder, self.root)} is left out, "
                f"its labels {place.labels} are not there"
            )
        return None

    def roots(self, place: _Place) -> list[Path]:
        if not place.synthetic:
            return [self.root]
        return [self.root, self.root / "dcase_synth", self.root.parent / "dcase_synth"]

    def folders(self, place: _Place) -> list[Path]:
        """The audio folders of a part, the preferred one first."""
        for root in self.roots(place):
            both = (root / f"{place.audio}_16k", root / place.audio)
            if found := [folder for folder in both if folder.is_dir()]:
                return found
        return []

    def match(self, place: _Place, names: Sequence[str]) -> tuple[dict[str, Path], tuple[str, ...]]:
        """The file of each listed name, and the names that have none."""
        exact: dict[str, Path] = {}
        alike: dict[str, Path] = {}
        for path in _folder_clips(self.folders(place)):
            exact.setdefault(path.name, path)
            alike.setdefault(_key(path.name), path)
        found: dict[str, Path] = {}
        for name in names:
            path_or_none = exact.get(name) or alike.get(_key(name))
            if path_or_none is not None:
                found[name] = path_or_none
        missing = tuple(name for name in names if name not in found)
        if missing:
            self.notes.append(
                f"{place.name}: {len(missing)} of {len(names)} clips listed are missing "
                f"or empty files ({_some(missing)})"
            )
        return found, missing


def _key(filename: str) -> str:
    """What names of the same recording have in common: no suffix, no Y before a YouTube id."""
    stem = clip_id(filename)
    youtube = _YOUTUBE.fullmatch(stem)
    return youtube.group(1) if youtube else stem


def _folder_clips(folders: Sequence[Path]) -> list[Path]:
    """Clips that are not empty files; those of a later folder only if no earlier one has them.

    Within a folder, clips that lie less deep come first.
    """
    clips: list[Path] = []
    seen: set[str] = set()
    for folder in folders:
        own = [path for path in list_audio(folder) if path.stat().st_size]
        own.sort(key=lambda path: len(path.parts))
        clips += [path for path in own if _key(path.name) not in seen]
        seen |= {_key(path.name) for path in own}
    return clips


def _paths(found: Mapping[str, Path]) -> tuple[Path, ...]:
    return tuple(dict.fromkeys(found.values()))


def _renamed(events: pd.DataFrame, found: Mapping[str, Path]) -> pd.DataFrame:
    """The events of the clips found, under the clips' names on disk."""
    kept = events[events["filename"].isin(list(found))]
    on_disk = [found[name].name for name in kept["filename"]]
    return kept.assign(filename=on_disk).reset_index(drop=True)


def _relative(path: Path, root: Path) -> str:
    return path.relative_to(root).as_posix() if path.is_relative_to(root) else str(path)


def _some(names: Sequence[str], shown: int = 3) -> str:
    return ", ".join(names[:shown]) + (", …" if len(names) > shown else "")


def _entries(
    subset: str,
    clips: Iterable[Path],
    events: pd.DataFrame | None,
    weak: Mapping[str, tuple[str, ...]] | None,
) -> list[tuple[str, str, int, str]]:
    """Subset, file name, size in bytes and labels of each clip."""
    by_clip = events_by_clip(events) if events is not None else {}
    entries = []
    for path in clips:
        labels = (
            sorted(by_clip.get(clip_id(path.name), ())),
            sorted((weak or {}).get(path.name, ())),
        )
        entries.append((subset, path.name, path.stat().st_size, repr(labels)))
    return entries


def _digest(entries: Iterable[tuple[str, str, int, str]]) -> str:
    text = "\n".join("\t".join(map(str, entry)) for entry in sorted(entries))
    return hashlib.sha256(text.encode()).hexdigest()[:16]
