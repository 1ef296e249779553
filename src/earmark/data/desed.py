"""DESED as its owners have it: which of its subsets lie in a folder, and where.

The layout is that of DESED (Turpault et al., "Sound event detection in domestic environments
with weakly labeled data and soundscape synthesis", DCASE 2019) as the DCASE task 4 baselines use
it. Audio may exist as published, as 16-kHz copies in folders whose names end in ``_16k``, or both.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from earmark.core.config import DataSettings
from earmark.core.errors import DataError
from earmark.data.clips import ClipFinder
from earmark.data.reading import SubsetReader, Subsets, relative, unlabelled_source
from earmark.data.subsets import Domain, Evaluation, Kind, Source

HINT = "The layout is DESED's: audio/train/… and metadata/train/… in this folder"
CLASSES = (
    "Alarm_bell_ringing",
    "Blender",
    "Cat",
    "Dishes",
    "Dog",
    "Electric_shaver_toothbrush",
    "Frying",
    "Running_water",
    "Speech",
    "Vacuum_cleaner",
)
"""DESED's, in the order of published networks' outputs."""
_INNER = ("dataset", "DESED/dataset", "dcase2021/dataset", "DESED", "desed", "dcase2021")
_SYNTHETIC_ROOT = "dcase_synth"


@dataclass(frozen=True)
class Place:
    """Where a subset of DESED lies; an audio folder ending in ``_16k`` is looked for as well.

    Attributes:
        name: Of the source or split.
        kind: Of its labels; ``strong`` for splits.
        audio: Folder.
        labels: Table of labels; empty for unlabelled clips.
        split: It is to be scored on, not to learn from.
        durations: Tables of durations, the first that is there.
        published: Clips it has by its publication; the least and the most over releases.
    """

    name: str
    kind: Kind
    audio: str
    labels: str = ""
    split: bool = False
    durations: tuple[str, ...] = ()
    domain: Domain = "real"
    published: tuple[int, int] | None = None


SYNTHETIC = Place(
    "synthetic",
    "strong",
    "audio/train/synthetic21_train/soundscapes",
    "metadata/train/synthetic21_train/soundscapes.tsv",
    durations=("metadata/train/synthetic21_train/durations.tsv",),
    domain="synthetic",
    published=(10_000, 10_000),
)
REAL = Place(
    "real",
    "strong",
    "audio/train/strong_label_real",
    "metadata/train/audioset_strong.tsv",
    published=(3_373, 3_470),
)
WEAK = Place(
    "weak", "weak", "audio/train/weak", "metadata/train/weak.tsv", published=(1_578, 1_578)
)
UNLABELLED = Place(
    "unlabelled", "unlabelled", "audio/train/unlabel_in_domain", published=(14_412, 14_412)
)
VALIDATION = Place(
    "validation",
    "strong",
    "audio/validation/validation",
    "metadata/validation/validation.tsv",
    split=True,
    durations=("metadata/validation/validation_durations.tsv",),
    published=(1_168, 1_168),
)
TEST = Place(
    "test",
    "strong",
    "audio/test/test",
    "metadata/test/test.tsv",
    split=True,
    durations=("metadata/test/test_durations.tsv", "metadata/test/durations.tsv"),
)
PUBLIC = Place(
    "public",
    "strong",
    "audio/eval/public",
    "metadata/eval/public.tsv",
    split=True,
    durations=("metadata/eval/public_durations.tsv",),
    published=(692, 692),
)
SYNTHETIC_VALIDATION = Place(
    "synthetic_validation",
    "strong",
    "audio/validation/synthetic21_validation/soundscapes",
    "metadata/validation/synthetic21_validation/soundscapes.tsv",
    split=True,
    durations=("metadata/validation/synthetic21_validation/durations.tsv",),
    domain="synthetic",
    published=(2_500, 2_500),
)
TRAIN = (SYNTHETIC, REAL, WEAK, UNLABELLED)
SPLITS = (VALIDATION, TEST, PUBLIC, SYNTHETIC_VALIDATION)

REAL_DIVIDED = (
    "metadata/train/audioset_strong_train.tsv",
    "metadata/train/audioset_strong_val.tsv",
)
"""ATST-SED's division of the real strong clips: tables from its repository's ``val_utils``."""
REAL_DURATIONS = "metadata/train/audioset_strong_val_dur.tsv"


def find_root(folder: Path) -> Path:
    """The folder that holds ``audio`` and ``metadata``: this one, or one of a usual name in it.

    Raises:
        DataError: There is no such folder, or it is one of the two itself.
    """
    if not folder.is_dir():
        raise DataError("no such folder", where=folder, hint="Check the path of the dataset")
    for candidate in (folder, *(folder / name for name in _INNER)):
        if (candidate / "audio").is_dir() or (candidate / "metadata").is_dir():
            return candidate
    if folder.name in ("audio", "metadata"):
        raise DataError(
            f"only the {folder.name} of a dataset",
            where=folder,
            hint=f"Give the folder above, which holds audio and metadata: {folder.parent}",
        )
    return folder


def roots_of(root: Path, place: Place) -> list[Path]:
    """Where a subset may lie; synthetic ones also in ``dcase_synth`` in or beside the folder."""
    if place.domain == "real":
        return [root]
    return [root, root / _SYNTHETIC_ROOT, root.parent / _SYNTHETIC_ROOT]


def folders_of(root: Path, place: Place) -> list[Path]:
    """The audio folders of a subset that are there, those of 16-kHz copies first."""
    names = (f"{place.audio}_16k", place.audio)
    both = [base / name for name in names for base in roots_of(root, place)]
    return [folder for folder in both if folder.is_dir()]


def finder_of(root: Path, place: Place) -> ClipFinder:
    """The recordings of a subset by name."""
    return ClipFinder(folders_of(root, place), copies=True)


def table_of(root: Path, place: Place, tables: Sequence[str] = ()) -> Path | None:
    """The first of some tables of a subset that is there; by default its labels."""
    for base in roots_of(root, place):
        for table in tables or (place.labels,):
            if table and (base / table).is_file():
                return base / table
    return None


def real_division(root: Path) -> tuple[Path, Path] | None:
    """ATST-SED's two tables of the real strong clips, to train and to select, if both are there."""
    train, held_out = (root / name for name in REAL_DIVIDED)
    return (train, held_out) if train.is_file() and held_out.is_file() else None


def read_desed(root: Path, settings: DataSettings) -> Subsets:
    """All subsets of a dataset in DESED's layout.

    Args:
        root: Of `find_root`.
        settings: Whether real clips are to be kept back.
    """
    subsets = Subsets(root, SubsetReader(root), HINT, by_name=True)
    for place in TRAIN:
        source = _read_source(subsets, place, settings)
        if source is not None:
            subsets.train.append(source)
    for place in SPLITS:
        split = _read_split(subsets, place)
        if split is not None:
            subsets.splits[split.name] = split
    return subsets


def _read_source(subsets: Subsets, place: Place, settings: DataSettings) -> Source | None:
    reader, finder = subsets.reader, finder_of(subsets.root, place)
    if place.kind == "unlabelled":
        return unlabelled_source(place.name, finder)
    division = real_division(subsets.root) if place is REAL else None
    if division is not None and settings.real_held_out:
        train, rest = division
        held_out = reader.strong("real_held_out", [rest], finder)
        if held_out is not None:
            subsets.held_out.append(held_out)
            if (subsets.root / REAL_DURATIONS).is_file():
                subsets.durations[held_out.name] = subsets.root / REAL_DURATIONS
        return reader.strong(place.name, [train], finder)
    table = table_of(subsets.root, place)
    if table is None and division is not None:
        return reader.strong(place.name, division, finder)
    if table is None:
        _note_unlabelled(subsets, place)
        return None
    if place.kind == "weak":
        return reader.weak(place.name, table, finder)
    return reader.strong(place.name, [table], finder, place.domain)


def _read_split(subsets: Subsets, place: Place) -> Evaluation | None:
    table = table_of(subsets.root, place)
    if table is None:
        _note_unlabelled(subsets, place)
        return None
    durations = table_of(subsets.root, place, place.durations)
    # The public evaluation set is the test set unless the dataset has one of its own.
    name = "test" if place is PUBLIC and "test" not in subsets.splits else place.name
    return subsets.reader.evaluation(name, [table], finder_of(subsets.root, place), durations)


def _note_unlabelled(subsets: Subsets, place: Place) -> None:
    for folder in folders_of(subsets.root, place):
        subsets.reader.note(
            f"{place.name}: {relative(folder, subsets.root)} is left out, "
            f"its labels {place.labels} are not there",
            lost=True,
        )
