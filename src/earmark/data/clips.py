"""Clips on disk: which file a listed name means, and when two files are one recording."""

from __future__ import annotations

import filecmp
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

from earmark.core.audio.folders import list_audio
from earmark.core.naming import (
    Faults,
    RecordingNames,
    base_name,
    clip_id,
    common_root,
    full_path,
    names_from,
)
from earmark.data.subsets import size_of

_YOUTUBE = re.compile(r"Y?(.{11}_\d+\.\d+_\d+\.\d+)")


def clip_key(name: str) -> str:
    """What names of the same recording have in common: no suffix, no Y before a YouTube id."""
    folder, slash, own = clip_id(name).rpartition("/")
    return f"{folder}{slash}{youtube_id(own)}"


def youtube_id(stem: str) -> str:
    """The id, start and end of a YouTube clip in its base name without suffix; else all of it."""
    youtube = _YOUTUBE.fullmatch(stem)
    return youtube.group(1) if youtube else stem


def names_a_recording(filename: str) -> bool:
    """Whether a base name says which recording it is: a YouTube id with start and end."""
    return _YOUTUBE.fullmatch(clip_id(base_name(filename))) is not None


def promised_seconds(filename: str) -> float | None:
    """Seconds between start and end in the name of a YouTube clip, None for other names."""
    if not names_a_recording(filename):
        return None
    _, start, end = clip_id(base_name(filename)).rsplit("_", 2)
    return float(end) - float(start)


class ClipFinder:
    """The recordings in some folders, by name.

    Empty files and dangling links are no recordings. Folders of copies (``X_16k`` beside ``X``)
    hold the same recordings: those of a later one count only if no earlier one has them.

    Args:
        folders: The preferred one first; those that do not exist are passed over.
        copies: They all hold copies of the same recordings, whatever they are called.

    Attributes:
        clips: Of each folder those that lie less deep come first.
        names: Of the clips, relative to their folder; to the root of all folders where these
            hold different recordings.
    """

    def __init__(self, folders: Sequence[Path], *, copies: bool = False) -> None:
        self.names: dict[Path, str] = {}
        there = [folder for folder in folders if folder.is_dir()]
        originals = [there[0] if copies else _original(folder) for folder in there]
        root = common_root(originals) if there else Path()
        known: dict[Path, _Keys] = {}
        for folder, original in zip(there, originals, strict=True):
            own = [path for path in list_audio(folder) if size_of(path)]
            own.sort(key=lambda path: len(path.parts))
            above = full_path(original).relative_to(root)
            below = names_from(full_path(folder), own)
            names = {path: (above / name).as_posix() for path, name in below.items()}
            seen = known.setdefault(original, _Keys())
            new = _Keys(names.values())
            self.names |= {path: name for path, name in names.items() if not seen.has(name, new)}
            seen.update(new)
        self.clips = list(self.names)
        self._paths = {name: path for path, name in self.names.items()}
        self._known = RecordingNames.of_files(self.names, youtube_id)

    def match(
        self,
        names: Iterable[str],
        where: Path | None = None,
        faults: Faults | None = None,
        loose: dict[str, str] | None = None,
    ) -> tuple[dict[str, Path], tuple[str, ...]]:
        """The file of each listed name, and the names that have none.

        Args:
            names: Of a table.
            where: The table, for errors.
            faults: Names that are not clear, to be filled; by default they are errors.
            loose: As of `RecordingNames.match`.

        Raises:
            UnclearNameError: A name could be of several clips, or two are of one.
        """
        listed, unclear = list(names), {} if faults is None else faults
        known = self._known.match(listed, where=where, faults=faults, loose=loose)
        found = {name: self._paths[known[name]] for name in listed if name in known}
        return found, tuple(name for name in listed if name not in found and name not in unclear)


def _original(folder: Path) -> Path:
    """The folder of which one holds copies, by its name; it need not be there."""
    return folder.with_name(folder.name.removesuffix("_16k") or folder.name)


class _Keys:
    """What names of recordings have in common with those of copies, with their folders or not."""

    def __init__(self, names: Iterable[str] = ()) -> None:
        self.whole = set(map(clip_key, names := list(names)))
        self.base = Counter(clip_key(base_name(name)) for name in names)

    def has(self, name: str, among: _Keys) -> bool:
        """Whether one of them is of the recording of a name that is among others."""
        base = clip_key(base_name(name))
        alone = names_a_recording(name) or self.base[base] == 1 == among.base[base]
        return clip_key(name) in self.whole or (base in self.base and alone)

    def update(self, other: _Keys) -> None:
        """Add those of another folder."""
        self.whole |= other.whole
        self.base |= other.base


class KnownRecordings:
    """Clips by the recording they are of, to find out whether another clip is one of them.

    Two clips are the same recording if they are one file, if their names carry the same YouTube
    id, start and end, or if their names agree but for the suffix and their bytes agree. Equal names
    alone say little: every set of soundscapes has a ``0.wav``.

    Args:
        clips: Files.
        names: Names of clips that are listed, but not there.
        by_name: Names of any form that agree but for the suffix are enough.
    """

    def __init__(
        self, clips: Iterable[Path], names: Iterable[str] = (), by_name: bool = False
    ) -> None:
        self._by_name = by_name
        self._clips: dict[str, list[Path]] = {}
        for path in clips:
            self._clips.setdefault(clip_key(path.name), []).append(path)
        bases = map(base_name, names)
        self._names = {clip_key(name) for name in bases if by_name or names_a_recording(name)}

    def has(self, path: Path) -> bool:
        """Whether a clip is of one of these recordings."""
        key = clip_key(path.name)
        others = self._clips.get(key, [])
        if key in self._names or (others and (self._by_name or names_a_recording(path.name))):
            return True
        return any(same_bytes(path, other) for other in others)


def same_bytes(one: Path, other: Path) -> bool:
    """Whether two files are there and hold the same."""
    try:
        return one.samefile(other) or filecmp.cmp(one, other, shallow=False)
    except OSError:
        return False
