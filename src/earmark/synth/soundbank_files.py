"""The files of a soundbank: which class, which split, which recording each belongs to."""

from __future__ import annotations

import csv
import hashlib
import re
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

from earmark.core.errors import DataError
from earmark.synth.supplier import SPLITS

SUFFIXES = (".wav", ".flac")
BACKGROUND = "background"
FOREGROUND = "foreground"

#: Names of splits in a manifest, and what Earmark calls them.
MANIFEST_SPLITS: Mapping[str, str] = {
    "train-synthetic": "synthetic",
    "train-real": "real",
    "validation": "validation",
    "test": "test",
}
#: Fraction of the recordings each split gets when no manifest says so.
SPLIT_FRACTIONS: Mapping[str, float] = {
    "synthetic": 0.4, "real": 0.3, "validation": 0.1, "test": 0.2,
}  # fmt: skip

#: Class → split → recording → its files.
Files = dict[str, dict[str, dict[str, tuple[Path, ...]]]]


def soundbank_files(folder: Path, needed: Collection[str] = SPLITS) -> Files:
    """The files of a soundbank, as its ``manifest.csv`` says or else divided by their names.

    Args:
        folder: Of the soundbank.
        needed: Splits in which every class needs a recording where there is no manifest.

    Raises:
        DataError: The manifest does not fit the folder, a class has no file, or too few
            recordings to divide.
    """
    manifest = folder / "manifest.csv"
    return _read_manifest(manifest) if manifest.is_file() else _divide_folder(folder, needed)


def divide_recordings(
    classes: Mapping[str, Sequence[str]], needed: Collection[str] = SPLITS
) -> dict[str, str]:
    """Assign recordings to splits by a stable hash of their names.

    A recording that serves several classes goes to one split for all of them. Classes with few
    recordings choose first; one with fewer than four has none for the last of synthetic, real,
    test and validation.

    Args:
        classes: Class → names of its recordings.
        needed: Splits in which every class needs a recording. The division is the same whichever
            they are, so that no recording changes sides when more splits are asked for later.

    Returns:
        Name of a recording → split.

    Raises:
        DataError: A class has no recording left for one of the splits needed.
    """
    assigned: dict[str, str] = {}
    for label in sorted(classes, key=lambda name: (len(set(classes[name])), name)):
        names = sorted(set(classes[label]), key=_stable_hash)
        counts = dict.fromkeys(SPLIT_FRACTIONS, 0)
        for name in names:
            if name in assigned:
                counts[assigned[name]] += 1
        for name in names:
            if name not in assigned:
                assigned[name] = _neediest(counts, len(names))
                counts[assigned[name]] += 1
        lacking = [split for split in SPLITS if split in needed and not counts[split]]
        if lacking:
            raise DataError(
                f"class {label!r} has {len(names)} recordings, too few to keep the splits apart: "
                f"none is left for {', '.join(lacking)}",
                hint="Add recordings (files NAME-1, NAME-2 count as pieces of one recording "
                "NAME), write a manifest.csv with event_label, file and split, or make no clips "
                "of these splits.",
            )
    return assigned


def _read_manifest(path: Path) -> Files:
    """Class → split → recording → files, as the manifest says; every file must exist."""
    gathered: defaultdict[tuple[str, str, str], list[Path]] = defaultdict(list)
    split_of: dict[str, str] = {}
    with path.open(newline="", encoding="utf-8-sig") as file:
        reader = csv.DictReader(file)
        lacking = {"event_label", "file", "split"} - set(reader.fieldnames or ())
        if lacking:
            raise DataError(f"the manifest lacks the columns {sorted(lacking)}", where=path)
        for row in reader:
            where = f"{path}:{reader.line_num}"
            split = MANIFEST_SPLITS.get((row["split"] or "").strip())
            if split is None:
                raise DataError(
                    f"unknown split {row['split']!r}",
                    where=where,
                    hint=f"Splits are {', '.join(MANIFEST_SPLITS)}.",
                )
            audio = path.parent / row["file"]
            if not audio.is_file():
                raise DataError(f"listed file {row['file']!r} does not exist", where=where)
            name = row.get("recording") or recording_name(audio)
            if split_of.setdefault(name, split) != split:
                raise DataError(f"recording {name!r} is in two splits", where=where)
            label = row["event_label"]
            label = BACKGROUND if label.lower() == BACKGROUND else label
            gathered[label, split, name].append(audio)
    return _nested(gathered)


def _divide_folder(folder: Path, needed: Collection[str]) -> Files:
    """Class → split → recording → files, divided by the names of the recordings."""
    audio = _files_by_class(folder)
    names = {label: [recording_name(path) for path in paths] for label, paths in audio.items()}
    try:
        split_of = divide_recordings(names, needed)
    except DataError as error:
        raise DataError(error.what, where=folder, hint=error.hint) from None
    gathered: defaultdict[tuple[str, str, str], list[Path]] = defaultdict(list)
    for label, paths in audio.items():
        for path in paths:
            name = recording_name(path)
            gathered[label, split_of[name], name].append(path)
    return _nested(gathered)


def _files_by_class(folder: Path) -> dict[str, list[Path]]:
    """Class (or ``background``) → its files, sorted."""
    classes = _folders(folder)
    inner = [one for one in classes if one.name.lower() == FOREGROUND]
    if inner:  # Scaper's layout: anything but the backgrounds beside it is no class
        classes = [one for one in classes if one.name.lower() == BACKGROUND]
        classes += [one for outer in inner for one in _folders(outer)]
    audio: dict[str, list[Path]] = {}
    for own in classes:
        behind = own.name.lower() == BACKGROUND
        label = BACKGROUND if behind else own.name
        inside = own.rglob("*") if behind else own.iterdir()
        found = sorted(path for path in inside if path.suffix.lower() in SUFFIXES)
        if not found:
            raise DataError(
                f"class {label!r} has no .wav or .flac file",
                where=own,
                hint="Add some, or remove it",
            )
        audio[label] = found
    return audio


def _folders(folder: Path) -> list[Path]:
    return sorted(p for p in folder.iterdir() if p.is_dir() and not p.name.startswith("."))


def recording_name(path: Path) -> str:
    """The recording a file is a piece of: its stem without a trailing ``-NUMBER``."""
    return re.sub(r"(?<=.)-\d+$", "", path.stem)


def _nested(gathered: Mapping[tuple[str, str, str], list[Path]]) -> Files:
    files: Files = {}
    for (label, split, name), paths in sorted(gathered.items()):
        files.setdefault(label, {}).setdefault(split, {})[name] = tuple(sorted(paths))
    return files


def _stable_hash(name: str) -> bytes:
    return hashlib.sha256(name.encode()).digest()


def _neediest(counts: Mapping[str, int], total: int) -> str:
    """The split furthest below its fraction; an empty one before all others."""
    lacking = {split: SPLIT_FRACTIONS[split] * total - counts[split] for split in SPLITS}
    return max(SPLITS, key=lambda split: (counts[split] == 0, lacking[split]))
