"""The parts of a dataset as the doctor looks at them: folders and tables, whatever they hold."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from earmark.core.audio.audio import SUFFIXES, list_files
from earmark.data import desed
from earmark.data.classes import Classes
from earmark.data.described import Described, description_of, is_description
from earmark.data.subsets import Kind


@dataclass(frozen=True)
class Part:
    """A source or a split.

    Attributes:
        name: Of it.
        kind: Of its labels.
        split: It is scored on.
        folders: Of its audio, the preferred one first.
        tables: Of its labels.
        durations: Of its clips.
        wanted: Where its labels should be, for messages.
        published: Least and most clips that it has by its publication.
    """

    name: str
    kind: Kind
    split: bool
    folders: tuple[Path, ...]
    tables: tuple[Path, ...]
    durations: Path | None = None
    wanted: str = ""
    published: tuple[int, int] | None = None

    def stray_files(self) -> list[Path]:
        """Files in its folders that are no recordings by their names."""
        files = (path for folder in self.folders for path in list_files(folder))
        known = (*SUFFIXES, ".jams", ".txt")
        return [path for path in files if not path.name.lower().endswith(known)]


def parts_of(path: Path) -> tuple[Path, Classes, list[Part]]:
    """Folder, classes and parts of a dataset, splits first.

    Raises:
        EarmarkError: There is no such dataset, or its description has a mistake.
    """
    if is_description(path):
        return _described(description_of(path))
    root = desed.find_root(path)
    parts = []
    for place in (*desed.SPLITS, *desed.TRAIN):
        folders = desed.folders_of(root, place)
        table = desed.table_of(root, place)
        tables: tuple[Path, ...] = () if table is None else (table,)
        if place is desed.REAL and table is None:
            tables = desed.real_division(root) or ()
        if folders or tables:
            durations = desed.table_of(root, place, place.durations) if place.split else None
            parts.append(
                Part(
                    place.name,
                    place.kind,
                    place.split,
                    tuple(folders),
                    tables,
                    durations,
                    place.labels,
                    place.published,
                )
            )
    return root, Classes(), parts


def _described(path: Path) -> tuple[Path, Classes, list[Part]]:
    described = Described(path)
    parts = []
    for name, (keys, split) in described.splits().items():
        own = tuple(described.table(keys, "strong", table) for table in split.strong)
        durations = split.durations and described.table(keys, "durations", split.durations)
        folders = tuple(described.folders(keys, split.audio))
        parts.append(Part(name, "strong", True, folders, own, durations or None))
    for keys, name, source in described.sources("train"):
        folders = tuple(described.folders(keys, source.audio))
        kind: Kind = "unlabelled"
        tables: tuple[Path, ...] = ()
        if source.strong is not None:
            kind = "strong"
            tables = tuple(described.table(keys, "strong", table) for table in source.strong)
        elif source.weak is not None:
            kind, tables = "weak", (described.table(keys, "weak", source.weak),)
        parts.append(Part(name, kind, False, folders, tables))
    return described.root, described.classes, parts
