"""An import from label files to a plan of clips, in one call."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from earmark._version import __version__
from earmark.core.errors import LabelError
from earmark.core.tables.rows import read_rows
from earmark.prepare.importing.annotations import Annotated, Gathered, Reading, gather, read_regions
from earmark.prepare.importing.class_map import ClassMap
from earmark.prepare.importing.planning import Plan, check_splits, plan_import
from earmark.prepare.importing.preparing import Changes, Prepared, Stretch, prepare
from earmark.prepare.importing.settings import ImportSettings


@dataclass(frozen=True)
class Import:
    """All of an import, before anything is written.

    Attributes:
        gathered: Recordings, and what did not fit.
        prepared: Their events as classes.
        changes: What was done to labels.
        plan: Clips, splits and cuts.
        record: What decides the dataset.
    """

    gathered: Gathered
    prepared: Sequence[Prepared]
    changes: Changes
    plan: Plan
    record: Mapping[str, Any]


def read_import(
    labels: Sequence[Path],
    audio: Sequence[Path],
    reading: Reading,
    class_map: ClassMap,
    settings: ImportSettings,
    *,
    regions: Path | None = None,
    splits: Path | None = None,
    skip_missing: bool = False,
) -> Import:
    """Read label files and plan a dataset of them.

    Args:
        labels: Label files and folders of them.
        audio: Folders of recordings; by default those of the label files.
        reading: How label files are read.
        class_map: What names become.
        settings: Of the cutting and the division.
        regions: Table of what was annotated; by default all of each labelled recording.
        splits: Table with the columns ``filename`` and ``split``, instead of dividing.
        skip_missing: Leave out events of recordings that are not there.

    Raises:
        LabelError: Label files cannot be understood.
        DataError: Something is missing.
    """
    aside = {path.resolve() for path in (regions, splits) if path is not None}
    gathered = gather(labels, audio, reading, skip_missing=skip_missing, leave_out=aside)
    marked = _regions(regions, reading, gathered) if regions is not None else None
    prepared, changes = prepare(gathered.recordings, class_map, settings, marked)
    given = _splits(splits, prepared, gathered) if splits is not None else None
    plan = plan_import(prepared, settings, given)
    more = {"regions": marked, "splits": given}
    record = _record(gathered.recordings, class_map, settings, more)
    return Import(gathered, prepared, changes, plan, record)


def _record(
    recordings: Sequence[Annotated],
    class_map: ClassMap,
    settings: ImportSettings,
    more: Mapping[str, Any],
) -> dict[str, Any]:
    """What decides a dataset: settings, the classes, and a hash of recordings and label files.

    Args:
        recordings: Of which only names, lengths and label files count.
        class_map: Of the import.
        settings: Of the import.
        more: Whatever else decides it.
    """
    digest = hashlib.sha256()
    for one in recordings:
        events = None if one.events is None else tuple(event[:3] for event in one.events)
        entry = (one.key, one.info.samples, one.info.sample_rate, events)
        digest.update(repr(entry).encode())
    return {
        "earmark": __version__,
        "recordings": len(recordings),
        "fingerprint": digest.hexdigest()[:16],
        "settings": settings.model_dump(mode="json"),
        "classes": class_map.model_dump(mode="json"),
        **more,
    }


def _regions(path: Path, reading: Reading, gathered: Gathered) -> dict[str, list[Stretch]]:
    """Annotated stretches by the recordings' keys."""
    found: dict[str, list[Stretch]] = {}
    regions = read_regions(path, reading)
    known = gathered.finder.match(path, regions)
    for name, stretches in regions.items():
        if name not in known:
            raise LabelError(f"no recording {name!r}", where=path, hint="Correct or remove the row")
        found.setdefault(known[name], []).extend(stretches)
    return found


def _splits(path: Path, prepared: Sequence[Prepared], gathered: Gathered) -> dict[str, str]:
    rows = read_rows(path, ("filename", "split"))
    listed = {row["filename"]: row["split"] for _, row in rows}
    known = gathered.finder.match(path, listed)
    return check_splits(
        {known.get(name, name): split for name, split in listed.items()}, prepared, str(path)
    )


def unannotated(recordings: Sequence[Annotated]) -> list[str]:
    """Keys of recordings that no label file speaks of."""
    return [one.key for one in recordings if one.events is None]
