"""Clips on disk: which file a listed name means, and when two files are one recording."""

from __future__ import annotations

import filecmp
import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from earmark.core.audio.audio import list_audio
from earmark.core.tables.labels import clip_id
from earmark.data.subsets import size_of

_YOUTUBE = re.compile(r"Y?(.{11}_\d+\.\d+_\d+\.\d+)")


def clip_key(filename: str) -> str:
    """What names of the same recording have in common: no suffix, no Y before a YouTube id."""
    stem = clip_id(filename)
    youtube = _YOUTUBE.fullmatch(stem)
    return youtube.group(1) if youtube else stem


def names_a_recording(filename: str) -> bool:
    """Whether a name alone says which recording it is: a YouTube id with start and end."""
    return _YOUTUBE.fullmatch(clip_id(filename)) is not None


def promised_seconds(filename: str) -> float | None:
    """Seconds between start and end in the name of a YouTube clip, None for other names."""
    if not names_a_recording(filename):
        return None
    _, start, end = clip_id(filename).rsplit("_", 2)
    return float(end) - float(start)


class ClipFinder:
    """The recordings in some folders, by name.

    Empty files and dangling links are no recordings. Within a folder, those that lie less deep
    come first; those of a later folder count only if no earlier one has them.

    Args:
        folders: The preferred one first; those that do not exist are passed over.
    """

    def __init__(self, folders: Sequence[Path]) -> None:
        self.clips: list[Path] = []
        self._exact: dict[str, Path] = {}
        self._alike: dict[str, Path] = {}
        for folder in folders:
            if not folder.is_dir():
                continue
            own = [path for path in list_audio(folder) if size_of(path)]
            own.sort(key=lambda path: len(path.parts))
            self.clips += [path for path in own if clip_key(path.name) not in self._alike]
            for path in own:
                self._exact.setdefault(path.name, path)
                self._alike.setdefault(clip_key(path.name), path)

    def find(self, name: str) -> Path | None:
        """The file of a listed name: of the same name, else of the same name but for suffix."""
        return self._exact.get(name) or self._alike.get(clip_key(name))

    def match(self, names: Iterable[str]) -> tuple[dict[str, Path], tuple[str, ...]]:
        """The file of each listed name, and the names that have none."""
        found: dict[str, Path] = {}
        missing = []
        for name in names:
            path = self.find(name)
            if path is None:
                missing.append(name)
            else:
                found[name] = path
        return found, tuple(missing)


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
        self._names = {clip_key(name) for name in names if by_name or names_a_recording(name)}

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
