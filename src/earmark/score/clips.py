"""Which clip a row of someone's table is of: names of clips across truth, durations, predictions.

A clip is known by the path that a table lists (`earmark.core.naming`). Its id is short: the base
name without the suffix of a sound file, where no other clip of the table has that; else the path.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path

from earmark.core.naming import (
    Listed,
    Parts,
    RecordingNames,
    UnclearNameError,
    common_folder,
    parse_listed,
    without_suffix,
)


def clip_name(filename: str) -> str:
    """The id of a clip alone: its file's name without folder and without the suffix of sound."""
    readings = parse_listed(filename).readings
    return without_suffix(readings[0][-1]) if readings else ""


class ClipIds:
    """The clips that a table lists, by id.

    ``a`` and ``a.wav`` are one clip, ``a.wav`` and ``b/a.wav`` two.

    Args:
        listed: All names of the table, in its order.
        where: The table, for errors.

    Raises:
        LabelError: A name could be of several of the others.
    """

    def __init__(self, listed: Iterable[str], where: str | Path | None = None) -> None:
        self.where = where
        parsed = [one for name in dict.fromkeys(listed) if (one := parse_listed(name)).readings]
        self._whole = _united(parsed, where)
        wholes = {one.parts: one for one in self._whole.values()}
        self._ids = _short(wholes)
        root = common_folder([one.parts for one in wholes.values() if one.absolute])
        self._names = RecordingNames(
            {
                self._ids[parts]: (parts, len(parts) - (root if one.absolute else 0))
                for parts, one in wholes.items()
            },
            stem=without_suffix,
        )

    def __getitem__(self, listed: str) -> str:
        """The id of a name of the table."""
        return self._ids[self._whole[listed].parts]

    @property
    def wholes(self) -> list[str]:
        """Of each clip the name that tells most."""
        return list(dict.fromkeys(one.text for one in self._whole.values()))

    def of(self, other: ClipIds, where: str | Path | None = None) -> dict[str, str]:
        """Ids of another table → ids here; clips that are not here get their paths.

        Raises:
            LabelError: A name could be of several clips, or several names are of one.
        """
        found = self._names.match(other.wholes, where=where)
        return {other[name]: found.get(name) or _path(name) for name in other.wholes}

    def has(self, listed: str) -> bool:
        """Whether a name means one of the clips.

        Raises:
            LabelError: It could mean several.
        """
        return self._names.find(listed, where=self.where) is not None

    def joined(
        self, other: ClipIds, where: str | Path | None = None
    ) -> tuple[ClipIds, dict[str, str], dict[str, str]]:
        """The clips of both tables, and what each table's ids become.

        Raises:
            LabelError: A name could be of several clips, or several names are of one.
        """
        best = {self[name]: name for name in self.wholes}
        met = self._names.match(other.wholes, where=where)
        for name, clip in met.items():
            best[clip] = max(best[clip], name, key=lambda one: len(parse_listed(one).parts))
        rest = [name for name in other.wholes if name not in met]
        both = ClipIds([*best.values(), *rest], where)
        mine = {clip: both[name] for clip, name in best.items()}
        theirs = {
            other[name]: both[best[met[name]] if name in met else name] for name in other.wholes
        }
        return both, mine, theirs


def _path(listed: str) -> str:
    return without_suffix("/".join(parse_listed(listed).parts))


def _united(parsed: Sequence[Listed], where: str | Path | None) -> dict[str, Listed]:
    """Text of each name → the name of its clip that tells most: of two, that with a suffix."""
    alike: defaultdict[Parts, dict[Parts, Listed]] = defaultdict(dict)
    for one in parsed:
        alike[_stems(one.parts)][one.parts] = one
    found: dict[str, Listed] = {}
    for one in parsed:
        names = alike[_stems(one.parts)]
        more = [parts for parts in names if parts != _stems(parts)]
        if one.parts in more or not more:
            more = [one.parts]
        elif len(more) > 1:
            both = " and ".join("/".join(parts) for parts in more[:2])
            raise UnclearNameError(f"{one.text!r} could be {both}", where, both.split(" and "))
        found[one.text] = names[more[0]]
    return found


def _stems(parts: Parts) -> Parts:
    return (*parts[:-1], without_suffix(parts[-1]))


def _short(names: Iterable[Parts]) -> dict[Parts, str]:
    """An id for each name: its base name without suffix, or as much as tells it from the others."""
    found: dict[Parts, str] = {}
    left, size = list(names), 1
    while left:
        ids = {parts: "/".join(_stems(parts)[-size:]) for parts in left}
        if size > max(map(len, left)):
            ids = {parts: "/".join(parts) for parts in left}
        count = Counter([*ids.values(), *found.values()])
        found |= {parts: name for parts, name in ids.items() if count[name] == 1}
        left, size = [parts for parts in left if parts not in found], size + 1
    return found
