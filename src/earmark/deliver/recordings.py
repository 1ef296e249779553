"""The recordings of a batch: found, and named in tables and files so that none hides another."""

from __future__ import annotations

import glob
import hashlib
import os
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path, PurePosixPath

from earmark.core.audio.folders import folder_content, left_out, why_no_recording
from earmark.core.errors import AudioError
from earmark.core.naming import common_root, full_path, names_from, without_suffix
from earmark.core.tables.score_files import SCORE_FORMATS

CHANNEL = re.compile(r"\.ch\d+$")
"""How the names of channels end."""
SCORES = {kind: "scores" if kind == "tsv" else f"scores-{kind}" for kind in SCORE_FORMATS}
"""Format of score tables → their folder, one each, so that a folder has a recording once."""


def named_recordings(
    audio: Iterable[str | Path], others: dict[Path, str] | None = None
) -> dict[Path, str]:
    """The recordings that `find_recordings` finds, and their names (see `earmark.core.naming`).

    Raises:
        AudioError: As `find_recordings`.
    """
    given = list(audio)
    found = find_recordings(given, others)
    folders = [path for path in map(Path, given) if path.is_dir()]
    inside = [full_path(folder) for folder in folders]
    single = [path for path in found if not any(map(path.is_relative_to, inside))]
    return names_from(common_root([*folders, *single]), found)


def find_recordings(
    audio: Iterable[str | Path], others: dict[Path, str] | None = None
) -> list[Path]:
    """Lists the recordings named, inside the folders named, or matching a pattern.

    Args:
        audio: Files, folders, and patterns of ``*``, ``?``, ``[…]`` and ``**`` (any folders).
        others: Files that are there and no recordings, with the reason; to be filled.

    Returns:
        Full paths, each once.

    Raises:
        AudioError: If a path does not exist, or a folder or pattern gives no recording.
    """
    found: dict[Path, None] = {}
    others = {} if others is None else others
    for given in audio:
        path = Path(given)
        if path.is_dir():
            found.update(dict.fromkeys(map(full_path, _inside(path, others))))
        elif path.exists():
            found[full_path(path)] = None
        elif glob.has_magic(str(given)):
            found.update(dict.fromkeys(_matching(str(given), others)))
        else:
            raise AudioError("no such file or folder", where=path, hint="Check the path")
    return list(found)


def _inside(folder: Path, others: dict[Path, str]) -> list[Path]:
    content = folder_content(folder)
    if not content.recordings:
        told = "; ".join(left_out(content.others))
        what = "no recordings in this folder"
        raise AudioError(f"{what} ({told})" if told else what, where=folder)
    others |= content.others
    return content.recordings


def _matching(pattern: str, others: dict[Path, str]) -> list[Path]:
    """Recordings that match a pattern, and those in folders that do."""
    found: list[Path] = []
    for match in sorted(glob.glob(pattern, recursive=True)):  # noqa: PTH207 - of full paths too
        path = Path(match)
        if path.is_dir() and "**" not in pattern:
            content = folder_content(path)
            found += content.recordings
            others |= content.others
        elif not path.is_dir():
            why = why_no_recording(path)
            found += [] if why else [path]
            others |= {path: why} if why else {}
    if not found:
        raise AudioError("no recordings match", where=pattern, hint="Check the pattern")
    return [full_path(path) for path in found]


def file_names(
    names: Mapping[Path, str], taken: Iterable[str] = (), *, channels: bool = False
) -> dict[Path, str]:
    """Chooses what each recording's files are called, so that none overwrites another's.

    That is its name without suffix, in folders as the recordings are; with suffix where several
    would be the same, and with more folders where that is taken.

    Args:
        names: Full path → name of each recording.
        taken: File names of other recordings.
        channels: Whether each channel has files of its own, so that names must not end like them.

    Returns:
        Recording → path without extension, unique whatever the file system makes of case.
    """
    used = {name.casefold() for name in taken}
    short = {path: without_suffix(name) for path, name in names.items()}
    count = Counter(name.casefold() for name in short.values())
    chosen: dict[Path, str] = {}
    for path, name in names.items():
        parts = [part.strip("\\/:") for part in path.parts]
        depth = len(PurePosixPath(name).parts)
        more = ["/".join(parts[-size:]) for size in range(depth + 1, len(parts) + 1)]
        own = short[path]
        alone = count[own.casefold()] == 1 and not (channels and CHANNEL.search(own))
        digest = hashlib.sha256(os.fsencode(path)).hexdigest()[:16]
        names_of = [*([own] if alone else []), name, *more, digest]
        chosen[path] = next(one for one in names_of if _is_free(one, used))
        used.add(chosen[path].casefold())
    return chosen


OWN = ("events", "recordings", "failures", "detect")
"""Stems of the files of a whole run."""


def _is_free(name: str, used: set[str]) -> bool:
    folded = name.casefold()
    top, inside, _ = folded.partition("/")
    return folded not in used and folded not in OWN and not (inside and top in SCORES.values())
