r"""What recordings are called, and which recording a listed name means.

A recording's name is its path relative to the common root of what was given, with ``/`` between
folders: two recordings never have one. Everything that names recordings uses it: tables of events,
scores and durations, label files, splits, journals.

A listed name may be such a path, one of another machine or program (``C:\rec\a.wav``,
``file:///rec/a%20b.wav``), or a base name, with or without suffix. It means the recording with
which it has the longest common tail of folders. Where several have that, it means none.
"""

from __future__ import annotations

import os
import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import takewhile
from pathlib import Path
from urllib.parse import unquote

from earmark.core.errors import LabelError

Parts = tuple[str, ...]
Faults = dict[str, "UnclearNameError"]
"""Listed names that are not clear, and why."""
READ_SUFFIXES = (
    *(".wav", ".flac", ".ogg", ".oga", ".opus", ".mp3", ".aiff", ".aif"),
    *(".m4a", ".m4b", ".aac", ".wma", ".amr", ".caf", ".mka", ".weba"),  # from here on with PyAV
    *(".mp4", ".mov", ".mkv", ".webm", ".avi", ".3gp", ".wmv", ".mts", ".flv", ".rm"),
    *(".wv", ".tta", ".ape", ".mpc", ".dsf"),
)
"""How the names of recordings end; files with another suffix are known by their content."""
SOUND_SUFFIXES = frozenset(
    (
        *READ_SUFFIXES,
        *(".wave", ".bwf", ".w64", ".rf64", ".mp2", ".aifc", ".au", ".snd", ".voc", ".sph"),
        *(".ac3", ".mpg", ".mpeg", ".m4v", ".asf", ".ts", ".m2ts", ".wac"),
    )
)
"""Endings that say that a file is sound; a name means the same recording without them."""
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+)://")
_FILE = re.compile(r"file:(//[^/\\]*)?(?=[/\\])", re.IGNORECASE)
_DRIVE = re.compile(r"[A-Za-z]:(?=[/\\])")


def clip_id(filename: str) -> str:
    """A file name without its last extension.

    The end of ``Y00pbt6aJV8Y_350.000_360.000`` is a time and no extension, so it stays.
    """
    stem, dot, suffix = filename.rpartition(".")
    plain = dot and stem and not suffix.isdecimal() and "/" not in suffix and stem[-1] != "/"
    return stem if plain else filename


def without_suffix(filename: str) -> str:
    """A file name without the suffix of a sound file, if it has one."""
    stem, dot, suffix = filename.rpartition(".")
    sound = stem and stem[-1] not in "/\\" and f"{dot}{suffix.lower()}" in SOUND_SUFFIXES
    return stem if sound else filename


def base_name(listed: str) -> str:
    """The last name of a path, with slashes of either kind."""
    return listed.replace("\\", "/").rpartition("/")[2]


def common_root(given: Iterable[Path]) -> Path:
    """The folder that recordings are named from: the deepest that holds all files and folders.

    Args:
        given: Files and folders as a user named them; a folder is its own root.
    """
    folders = {full_path(path if path.is_dir() else path.parent) for path in given}
    try:
        return Path(os.path.commonpath(folders))
    except ValueError:  # several drives, or nothing
        return Path()


def full_path(path: Path) -> Path:
    """The full path; links are kept, for they may be what gives recordings their names."""
    return Path(os.path.normpath(path.absolute()))


def parts_of(path: Path) -> Parts:
    """Components of the full path of a file of this machine."""
    return tuple(readable(part) for part in full_path(path).parts)


def listed_at(path: Path, root: Path) -> Listed:
    """The name of a file of this machine, in a folder that was given, as if a file listed it."""
    return Listed(
        _below(full_path(root), full_path(path)),
        (parts_of(path),),
        True,
        len(full_path(root).parts),
    )


def names_from(root: Path, paths: Iterable[Path]) -> dict[Path, str]:
    """The name of each recording, relative to a root, as text.

    Bytes that are no text become a sign, or an escape where two names would become one.
    """
    raw = {path: _below(root, full_path(path)) for path in paths}
    count = Counter(readable(name) for name in raw.values())
    return {
        path: readable(name)
        if count[readable(name)] == 1
        else os.fsencode(name).decode("utf-8", "backslashreplace")
        for path, name in raw.items()
    }


def _below(root: Path, path: Path) -> str:
    if root.parts and path.is_relative_to(root):
        return path.relative_to(root).as_posix()
    return "/".join(part.strip("\\/:") for part in path.parts if part.strip("\\/:"))


def readable(name: str) -> str:
    """A file name as text, with a sign for each byte that is none."""
    return os.fsencode(name).decode("utf-8", "replace")


def short_names(names: Collection[str]) -> dict[str, str]:
    """Name of a recording → the same without suffix, where that is still its alone."""
    count = Counter(without_suffix(name) for name in names)
    return {
        name: without_suffix(name) if count[without_suffix(name)] == 1 else name for name in names
    }


class UnclearNameError(LabelError):
    """A listed name means several recordings, or several names mean one.

    Attributes:
        recordings: Names of the recordings.
    """

    def __init__(self, what: str, where: str | Path | None, recordings: Sequence[str]) -> None:
        hint = "Write the file name with its folder and ending"
        super().__init__(what, where=where, hint=hint)
        self.recordings = tuple(recordings)


@dataclass(frozen=True)
class Listed:
    """A name that a file lists, taken apart.

    Attributes:
        text: As it is written.
        readings: Its components, for each way in which it can be read; the likeliest first.
        absolute: Whether it is a full path, of this machine or another.
        root: Of a full path, how many folders lie above what was given; None if nobody knows.
    """

    text: str
    readings: tuple[Parts, ...]
    absolute: bool
    root: int | None = None

    @property
    def parts(self) -> Parts:
        """Components of the likeliest reading."""
        return self.readings[0]

    def beyond(self, shared: int) -> int:
        """How many components, the base name included, are a path from a root; 0 if unknown.

        Args:
            shared: Folders that all full paths of the file begin with; 0 where that is not known.
        """
        if not self.absolute:
            return len(self.parts)
        skipped = shared if self.root is None else self.root
        return len(self.parts) - skipped if skipped else 0


def parse_listed(text: str) -> Listed:
    """A listed name taken apart: separators of any system, drives, URLs, percent signs."""
    rest, absolute = _FILE.sub("", text, count=1), False
    local = rest != text
    scheme = _SCHEME.match(rest)
    if scheme:
        rest, absolute = rest[scheme.end() :], True
    drive = _DRIVE.match(rest.lstrip("/"))
    if drive:
        rest, absolute = rest.lstrip("/")[drive.end() :], True
    absolute = absolute or rest.startswith(("/", "\\\\", "~/"))
    slashed = rest.replace("\\", "/")
    forms = [unquote(slashed), slashed] if local or scheme else [slashed, unquote(slashed)]
    forms += [] if absolute else [rest]  # a backslash may be part of a name
    readings = [_components(form) for form in forms]
    return Listed(text, tuple(dict.fromkeys(parts for parts in readings if parts)), absolute)


def _components(path: str) -> Parts:
    kept: list[str] = []
    for part in unicodedata.normalize("NFC", path).split("/"):
        if part == "..":
            kept = kept[:-1]
        elif part not in ("", ".", "~"):
            kept.append(part)
    return tuple(kept)


@dataclass(frozen=True)
class _Known:
    """A recording: its name, and the components of its whole path, of which the name has some."""

    name: str
    parts: Parts
    depth: int

    @cached_property
    def folded(self) -> Parts:
        return tuple(map(str.casefold, self.parts))


@dataclass(frozen=True)
class _Match:
    """A recording that a listed name may mean.

    Attributes:
        known: The recording.
        parts: The listed name's components.
        tail: How many components both end in.
        odd: 0 where the base names are equal, 1 but for case, 2 but for a suffix that is not
            listed, 3 for another.
    """

    known: _Known
    parts: Parts
    tail: int
    odd: int

    @property
    def is_loose(self) -> bool:
        """Whether the folders that both name differ."""
        return self.tail < min(self.known.depth, len(self.parts))

    def fits(self, own: int) -> bool:
        """Whether no folder differs that both name; ``own`` components of the listed name count."""
        return self.tail >= min(own, self.known.depth)


Claims = dict[str, tuple[Listed, Parts, bool]]
"""By recording the name that it was found by, and whether that tells its place wholly."""


class RecordingNames:
    """The recordings there are, found by the names that files list.

    Args:
        names: Name of each recording → the components of its whole path, and how many of these, the
            base name included, tell it from the others.
        stem: A recording's name without its suffix.
        alike: Of two names without suffix what they have in common if they are of one recording.
    """

    def __init__(
        self,
        names: Mapping[str, tuple[Parts, int]],
        stem: Callable[[str], str] = clip_id,
        alike: Callable[[str], str] = str,
    ) -> None:
        self._stem, self._plain = stem, alike
        self._alike: defaultdict[str, list[_Known]] = defaultdict(list)
        self._beside: defaultdict[tuple[str, str], list[_Known]] = defaultdict(list)
        self._folders: set[str] = set()
        for name, (parts, depth) in names.items():
            whole = tuple(unicodedata.normalize("NFC", part) for part in parts)
            known = _Known(name, whole, depth)
            self._folders.update(known.folded[-depth:-1])
            for variant in {known.folded[-1], self._stems_of(whole[-1], stem)}:
                self._alike[variant].append(known)
                if len(whole) > 1:
                    self._beside[known.folded[-2], variant].append(known)

    @classmethod
    def of_files(
        cls, names: Mapping[Path, str], alike: Callable[[str], str] = str
    ) -> RecordingNames:
        """Recordings on disk, with their names."""
        known = {name: (parts_of(path), name.count("/") + 1) for path, name in names.items()}
        return cls(known, alike=alike)

    def _stems_of(self, name: str, stem: Callable[[str], str]) -> str:
        return self._plain(stem(name)).casefold()

    def match(
        self,
        listed: Iterable[str | Listed],
        *,
        where: str | Path | None = None,
        beside: Path | None = None,
        claims: Claims | None = None,
        faults: Faults | None = None,
        loose: dict[str, str] | None = None,
    ) -> dict[str, str]:
        """The recordings that the names of a file mean.

        Args:
            listed: The names.
            where: The file, for errors.
            beside: Its folder: of several recordings that fit equally, those in it and below come
                first.
            claims: Which name each recording was found by, to be filled; one for all files that
                speak of the same recordings. Of this file alone by default.
            faults: Names that are not clear, to be filled; by default they are errors.
            loose: Names whose base name only one recording has, and in folders of other names, to
                be filled with these recordings; by default such names mean none.

        Returns:
            Listed name → recording; those that mean none are left out.

        Raises:
            UnclearNameError: A name means several recordings, or two names mean one.
        """
        parsed = [parse_listed(name) if isinstance(name, str) else name for name in listed]
        root = common_folder([one.parts for one in parsed if one.absolute and one.readings])
        claims = {} if claims is None else claims
        found: dict[str, str] = {}
        for one in parsed:
            try:
                match = None
                if one.readings:
                    match = self._find(one, root, where, beside, alone=loose is not None)
                if match is not None:
                    self._claim(match, one, root, claims, where)
                    found[one.text] = match.known.name
                    if loose is not None and one.root is None and match.is_loose:
                        loose[one.text] = match.known.name
            except UnclearNameError as error:
                if faults is None:
                    raise
                # Of two names that may mean one recording neither is known to.
                twice = [text for text, name in found.items() if error.recordings == (name,)]
                faults |= dict.fromkeys([*twice, one.text], error)
                found = {text: name for text, name in found.items() if text not in twice}
        return found

    def find(
        self, listed: str, *, where: str | Path | None = None, beside: Path | None = None
    ) -> str | None:
        """The recording that one name means; see `match`.

        Raises:
            UnclearNameError: It means several.
        """
        return self.match([listed], where=where, beside=beside).get(listed)

    def _find(
        self,
        listed: Listed,
        root: int,
        where: str | Path | None,
        beside: Path | None,
        *,
        alone: bool,
    ) -> _Match | None:
        matches = [m for parts in listed.readings for m in self._matches(parts)]
        longest = max((match.tail for match in matches), default=0)
        own = listed.beyond(root)
        # Where a label file lies need not be what its recording's folders are called.
        told = own if own and listed.root is None else 1
        if alone and len({match.known.name for match in matches}) == 1:
            told = 1
        fitting: Sequence[_Match] = [
            m for m in matches if m.tail == longest and m.fits(told) and not self._elsewhere(m)
        ]
        if len({m.known.name for m in fitting}) > 1:
            fitting = _chosen(fitting, listed, own, beside)
        names = dict.fromkeys(match.known.name for match in fitting)
        if len(names) > 1:
            both, more = " and ".join(list(names)[:2]), len(names) - 2
            also = f" (and {more} more)" if more > 0 else ""
            raise UnclearNameError(f"{listed.text!r} could be {both}{also}", where, list(names))
        return fitting[0] if fitting else None

    def _matches(self, parts: Parts) -> list[_Match]:
        folded = tuple(map(str.casefold, parts))
        variants = dict.fromkeys((folded[-1], self._stems_of(parts[-1], without_suffix)))
        near: list[_Known] = []
        if len(parts) > 1:
            near = [known for v in variants for known in self._beside.get((folded[-2], v), ())]
        near = near or [known for variant in variants for known in self._alike.get(variant, ())]
        found = []
        for known in {known.name: known for known in near}.values():
            tail, most = 1, min(len(parts), len(known.parts))
            while tail < most and folded[-1 - tail] == known.folded[-1 - tail]:
                tail += 1
            found.append(_Match(known, parts, tail, self._odd(known, parts[-1])))
        return found

    def _odd(self, known: _Known, name: str) -> int:
        """How much a listed base name differs from a recording's."""
        bare = self._stems_of(known.parts[-1], self._stem)
        kinds = (known.parts[-1] == name, known.folded[-1] == name.casefold())
        return 0 if kinds[0] else 1 if kinds[1] else 2 if bare == name.casefold() else 3

    def _elsewhere(self, match: _Match) -> bool:
        """Whether the name has a folder that is here, and does not hold the recording."""
        if match.tail == len(match.parts) or match.tail > match.known.depth:
            return False
        return match.parts[-1 - match.tail].casefold() in self._folders

    def _claim(
        self,
        match: _Match,
        listed: Listed,
        root: int,
        claims: Claims,
        where: str | Path | None,
    ) -> None:
        """Note which name a recording was found by; several must be one, or tell all of it."""
        name, depth = match.known.name, match.known.depth
        whole = match.tail > depth or match.tail >= depth == listed.beyond(root)
        other, parts, both = claims.setdefault(name, (listed, match.parts, whole))
        if not (whole and both) and not self._agree(match.parts, parts):
            what = f"{other.text!r} and {listed.text!r} could both be {name}"
            raise UnclearNameError(what, where, [name])

    def _agree(self, parts: Parts, other: Parts) -> bool:
        """Whether two names are equal, whatever the case and suffix."""
        one, two = (
            (*map(str.casefold, name[:-1]), self._stems_of(name[-1], without_suffix))
            for name in (parts, other)
        )
        return one == two


def by_base_name(loose: Mapping[str, str]) -> list[str]:
    """A sentence on names that were matched by base name alone, where there are any."""
    if not loose:
        return []
    listed, name = next(iter(loose.items()))
    count = f"{len(loose):,} listed name{'s' if len(loose) > 1 else ''}"
    return [f"{count} matched by base name alone, folders differ: {listed!r} is taken for {name}"]


def common_folder(listed: Sequence[Parts]) -> int:
    """How many folders all full paths begin with; 0 where they are all in one folder."""
    folders = {parts[:-1] for parts in listed}
    if len(folders) < 2:
        return 0
    first, last = min(folders), max(folders)
    same = (one == other for one, other in zip(first, last, strict=False))
    return sum(1 for _ in takewhile(bool, same))


def _chosen(
    matches: Sequence[_Match], listed: Listed, own: int, beside: Path | None
) -> Sequence[_Match]:
    """Of recordings that fit equally: those near the file, of that very name, of that suffix.

    Args:
        matches: The recordings.
        listed: The listed name.
        own: How many of its components are the name from a root; 0 where that is not known.
        beside: The file's folder.
    """
    if beside is not None:
        folder = [unicodedata.normalize("NFC", part).casefold() for part in parts_of(beside)]
        size = len(folder)
        near = [match for match in matches if list(match.known.folded[:size]) == folder]
        there = [
            match
            for match in near
            if not listed.absolute and len(match.known.parts) == size + len(match.parts)
        ]
        matches = there or near or matches
    least = min(match.odd for match in matches)
    matches = [match for match in matches if match.odd == least]
    return [match for match in matches if match.tail >= match.known.depth == own] or matches
