"""The subsets of a dataset as the doctor examines them: folders and tables, whatever they hold."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from earmark.core.audio.folders import folder_content
from earmark.data import desed
from earmark.data.classes import Classes
from earmark.data.described import Described, description_of
from earmark.data.subsets import Kind


@dataclass(frozen=True)
class SubsetFiles:
    """What a source or a split is made of.

    Attributes:
        name: Of it.
        kind: Of its labels.
        split: It is scored on.
        folders: Of its audio, the preferred one first.
        tables: Of its labels.
        durations: Of its clips.
        wanted: Where its labels should be, for messages.
        published: Least and most clips that it has by its publication.
        negatives: It is said to hold none of the classes, and needs no table.
    """

    name: str
    kind: Kind
    split: bool
    folders: tuple[Path, ...]
    tables: tuple[Path, ...]
    durations: Path | None = None
    wanted: str = ""
    published: tuple[int, int] | None = None
    negatives: bool = False

    def stray_files(self) -> dict[Path, str]:
        """Files in its folders that are neither recordings nor labels, and why."""
        others = [folder_content(folder).others for folder in self.folders]
        return {
            path: why
            for found in others
            for path, why in found.items()
            if why != "hidden" and not path.name.lower().endswith((".jams", ".txt"))
        }


def subsets_of(path: Path) -> tuple[Path, Classes, list[SubsetFiles]]:
    """Folder, classes and subsets of a dataset, splits first.

    Raises:
        EarmarkError: There is no such dataset, or its description has a mistake.
    """
    if (description := description_of(path)) is not None:
        described = Described(description)
        own = list(_described(described))
        if described.extended is None:
            return described.root, described.classes, own
        root, classes, base = subsets_of(described.extended)
        if described.classes.names is not None:
            classes = described.classes
        return root, classes, sorted([*base, *own], key=lambda files: not files.split)
    root = desed.find_root(path)
    found = (_at(root, place) for place in (*desed.SPLITS, *desed.TRAIN))
    return root, Classes(), [files for files in found if files.folders or files.tables]


def _at(root: Path, place: desed.Place) -> SubsetFiles:
    """What lies in a place of DESED."""
    table = desed.table_of(root, place)
    tables: tuple[Path, ...] = () if table is None else (table,)
    if place is desed.REAL and table is None:
        tables = desed.real_division(root) or ()
    durations = desed.table_of(root, place, place.durations) if place.split else None
    folders = tuple(desed.folders_of(root, place))
    own = (place.name, place.kind, place.split, folders, tables, durations)
    return SubsetFiles(*own, wanted=place.labels, published=place.published)


def _described(described: Described) -> Iterator[SubsetFiles]:
    """The subsets that a description names."""
    for name, (keys, split) in described.splits().items():
        tables, folders = described.tables(keys, split), described.folders(keys, split.audio)
        durations = split.durations and described.table(keys, "durations", split.durations)
        own = (tuple(folders), tuple(tables), durations or None)
        yield SubsetFiles(name, "strong", True, *own)
    for keys, name, source in described.sources("train"):
        tables, folders = described.tables(keys, source), described.folders(keys, source.audio)
        files = (tuple(folders), tuple(tables))
        yield SubsetFiles(name, source.kind, False, *files, negatives=source.negatives)
