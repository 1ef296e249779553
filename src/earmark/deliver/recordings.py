"""The recordings of a batch: found, and named in tables and files so that none hides another."""

from __future__ import annotations

import glob
import hashlib
import os
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from earmark.core.audio.audio import SUFFIXES, list_audio
from earmark.core.errors import AudioError

CHANNEL = re.compile(r"\.ch\d+$")
"""How the names of channels end."""


def find_recordings(audio: Iterable[str | Path]) -> list[Path]:
    """Lists the recordings named, inside the folders named, or matching a pattern.

    Args:
        audio: Files, folders, and patterns of ``*``, ``?``, ``[…]`` and ``**`` (any folders).

    Returns:
        Full paths, each once.

    Raises:
        AudioError: If a path does not exist, or a folder or pattern gives no recording.
    """
    found: dict[Path, None] = {}
    for given in audio:
        path = Path(given)
        if path.is_dir():
            found.update(dict.fromkeys(map(_full, _inside(path))))
        elif path.exists():
            found[_full(path)] = None
        elif glob.has_magic(str(given)):
            found.update(dict.fromkeys(_matching(str(given))))
        else:
            raise AudioError("no such file or folder", where=path, hint="Check the path")
    return list(found)


def _inside(folder: Path) -> list[Path]:
    inside = list_audio(folder)
    if not inside:
        raise AudioError("no recordings in this folder", where=folder)
    return inside


def _matching(pattern: str) -> list[Path]:
    """Recordings that match a pattern, and those in folders that do, by suffix."""
    found: list[Path] = []
    for match in sorted(glob.glob(pattern, recursive=True)):  # noqa: PTH207 - of full paths too
        path = Path(match)
        if path.is_dir() and "**" not in pattern:
            found += list_audio(path)
        elif path.is_file() and match.lower().endswith(SUFFIXES):
            found.append(path)
    if not found:
        raise AudioError("no recordings match", where=pattern, hint="Check the pattern")
    return [_full(path) for path in found]


def _full(path: Path) -> Path:
    """The full path; links are kept, for they may be what gives recordings their names."""
    return Path(os.path.normpath(path.absolute()))


def file_names(
    recordings: Sequence[Path], taken: Mapping[str, Path], *, channels: bool = False
) -> dict[Path, str]:
    """Chooses what each recording's files are called, so that none overwrites another's.

    A recording keeps the name it had before. Otherwise it is its stem; where several have that,
    the whole name with the folders that tell them apart; where that is taken, more folders.

    Args:
        recordings: Full paths.
        taken: Names in use, with the recording each belongs to.
        channels: Whether each channel has files of its own, so that names must not end like them.

    Returns:
        Recording → name without extension, unique whatever the file system makes of case.
    """
    chosen = {path: name for name, path in taken.items()}
    used = {name.casefold() for name in taken}
    stems = Counter(path.stem.casefold() for path in recordings)
    shown = shown_names(recordings)
    for path in recordings:
        if path in chosen:
            continue
        parts = [part.strip("\\/:") for part in path.parts]
        first = len(Path(shown[path]).parts)
        longer = ["__".join(parts[-count:]) for count in range(first, len(parts) + 1)]
        alone = stems[path.stem.casefold()] == 1 and not (channels and CHANNEL.search(path.stem))
        digest = hashlib.sha256(os.fsencode(path)).hexdigest()[:16]
        names = [*([path.stem] if alone else []), *longer, digest]
        chosen[path] = next(name for name in names if _is_free(name, used))
        used.add(chosen[path].casefold())
    return {path: chosen[path] for path in recordings}


OWN = ("events", "recordings", "failures", "detect")
"""Stems of the files of a whole run."""


def _is_free(name: str, used: set[str]) -> bool:
    return name.casefold() not in used and name.casefold() not in OWN


def shown_names(recordings: Sequence[Path]) -> dict[Path, str]:
    """Names recordings in the tables: by base name, with as many folders as tell them apart."""
    shown = {path: path.name for path in recordings}
    depth = 1
    while True:
        count = Counter(shown.values())
        same = [path for path in recordings if count[shown[path]] > 1]
        if not same:
            return {path: readable(name) for path, name in shown.items()}
        depth += 1
        shown |= {path: "/".join(path.parts[-depth:]) for path in same}


def readable(name: str) -> str:
    """A file name as text, with a sign for each byte that is none."""
    return os.fsencode(name).decode("utf-8", "replace")
