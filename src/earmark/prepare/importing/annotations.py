"""Label files as annotators leave them, and the recordings they speak of."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from earmark.core.audio.audio import AudioInfo, audio_info
from earmark.core.audio.folders import folder_content, left_out, list_files, why_no_recording
from earmark.core.errors import AudioError, DataError, LabelError, together
from earmark.core.event import Event
from earmark.core.formats import READERS, format_of
from earmark.core.formats import SUFFIXES as LABEL_SUFFIXES
from earmark.core.formats.base import Hints, own_name
from earmark.core.formats.columns import columns_of
from earmark.core.formats.raven import SUFFIXES as SELECTIONS
from earmark.core.naming import (
    Claims,
    Faults,
    Listed,
    RecordingNames,
    by_base_name,
    common_root,
    full_path,
    listed_at,
    names_from,
)
from earmark.core.tables.rows import EARLY, parse_number, read_table

#: How the names of label files end that are looked for in folders.
SUFFIXES = tuple(LABEL_SUFFIXES)
_OWN = "\0"  # what no file can name: the recording of the label file's own name
_TAIL = re.compile(r"[ _.-]+(labels?|label track|annotations?|events?|selections)$", re.IGNORECASE)


@dataclass(frozen=True)
class Reading:
    """How label files are read.

    Attributes:
        format: One of ``READERS``; None tells it from each file.
        columns: Names of a table's columns: ``onset``, ``offset``, ``duration``, ``filename``.
        label_column: Its column of classes; for ELAN ``value`` or ``tier``.
        encoding: Of text that is not Unicode.
    """

    format: str | None = None
    columns: Mapping[str, str] = field(default_factory=dict)
    label_column: str | None = None
    encoding: str | None = None

    def __post_init__(self) -> None:
        if self.format is not None and self.format not in READERS:
            raise LabelError(
                f"no kind of label file is called {self.format!r}",
                hint=f"Known: {', '.join(READERS)}",
            )


@dataclass(frozen=True)
class Annotated:
    """A recording and what was written about it.

    Attributes:
        path: The recording.
        key: Its path below the folder it was found in.
        info: Its length and rate.
        events: In order, with the names annotators wrote; None if nobody annotated it.
        files: The label files that speak of it.
    """

    path: Path
    key: str
    info: AudioInfo
    events: tuple[Event, ...] | None
    files: tuple[Path, ...] = ()


@dataclass
class Gathered:
    """Recordings with their events, and what did not fit.

    Attributes:
        recordings: In order of their keys.
        missing: Recordings that label files name and that are not there, with the label file.
        aside: Files in folders that hold no labels and belong to no recording, with the reason.
        notes: What of label files is not among the events, a sentence each.
        finder: Finds recordings by name.
        unreadable: Key of a recording that cannot be read → why; it is left out.
    """

    recordings: list[Annotated]
    missing: dict[str, Path]
    aside: dict[Path, str]
    notes: list[str]
    finder: Finder
    unreadable: dict[str, str] = field(default_factory=dict)


def gather(
    labels: Sequence[Path],
    audio: Sequence[Path],
    reading: Reading,
    *,
    skip_missing: bool = False,
    leave_out: Collection[Path] = (),
) -> Gathered:
    """Read label files and find their recordings.

    A label file that names no recording is of the one with its own name (``rec.txt``,
    ``rec_labels.txt``, ``rec.Table.1.selections.txt`` of ``rec.wav``).

    Args:
        labels: Label files, and folders that are searched for them.
        audio: Folders of recordings; without any, those of the label files.
        reading: How to read them.
        skip_missing: Leave out events of recordings that are not there.
        leave_out: Files in the folders that are no label files, as resolved paths.

    Raises:
        LabelError: A label file cannot be read, or its recording is not there or not clear.
        DataError: There is no label file or no recording.
    """
    files = [file for file in _label_files(labels) if file.path.resolve() not in leave_out]
    folders = list(audio) or [path if path.is_dir() else path.parent for path in labels]
    gathered = Gathered([], {}, {}, [], Finder(folders))
    finder, faults = gathered.finder, list[LabelError]()
    tables = _read_all(files, reading, gathered, faults)
    gathered.notes += left_out(finder.others, SUFFIXES)
    events: defaultdict[str, list[Event]] = defaultdict(list)
    speaking: defaultdict[str, list[Path]] = defaultdict(list)
    claims: Claims = {}
    for file, rows in tables:
        unclear: Faults = {}
        known = finder.match(file.path, filter(None, rows), claims, unclear)
        if "" in rows and (own := finder.of_file(file, claims, unclear)):
            known[""] = own
        faults += unclear.values()
        for name, found in rows.items():
            if name in known:
                events[known[name]] += found
                speaking[known[name]].append(file.path)
            elif name not in unclear:
                gathered.missing.setdefault(name or own_name(file.path, SELECTIONS), file.path)
    if faults:
        raise together(faults)
    gathered.notes += by_base_name(finder.loose)
    if gathered.missing and not skip_missing:
        _refuse_missing(gathered.missing, finder)
    for path, key in finder.keys.items():
        try:
            info = audio_info(path)
        except AudioError as error:
            gathered.unreadable[key] = error.what
            continue
        labels_of = tuple(dict.fromkeys(speaking[key])) if key in speaking else ()
        written = tuple(sorted(events[key])) if labels_of else None
        gathered.recordings.append(Annotated(path, key, info, written, labels_of))
    return gathered


def read_regions(path: Path, reading: Reading) -> dict[str, list[tuple[float, float]]]:
    """Stretches that were annotated: a table with columns of file names, onsets and offsets.

    Returns:
        File name as it is written → (onset, offset) in seconds.

    Raises:
        LabelError: If it is no such table; it names the line.
    """
    table = read_table(path, encoding=reading.encoding)
    needs = ("filename", "onset", "offset")
    columns = columns_of(table.columns, Hints(columns=reading.columns), path, needs=needs)
    found: dict[str, list[tuple[float, float]]] = {}
    for line, row in table:
        onset, offset = (
            parse_number(row[columns[name]], name, path, line) for name in ("onset", "offset")
        )
        onset = 0.0 if -EARLY <= onset < 0 else onset
        if not 0 <= onset < offset:
            raise LabelError(
                f"a stretch from {onset:g} s to {offset:g} s",
                where=f"{path}:{line}",
                hint="It must end after it starts, and start at 0 s or later",
            )
        found.setdefault(row[columns["filename"]], []).append((onset, offset))
    return found


class LabelFile(NamedTuple):
    """A label file: whether it was named itself, and else the folder it was found in."""

    path: Path
    named: bool
    root: Path


def _label_files(sources: Sequence[Path]) -> list[LabelFile]:
    files: dict[Path, LabelFile] = {}
    for source in sources:
        if source.is_dir():
            for path in list_files(source):
                if path.suffix.lower() in SUFFIXES and why_no_recording(path):
                    files.setdefault(path, LabelFile(path, False, source))
        elif source.is_file():
            files[source] = LabelFile(source, True, source.parent)
        else:
            raise LabelError("no such file or folder", where=source, hint="Check the path")
    if not files:
        raise DataError(
            "no label file found",
            where=sources[0] if sources else None,
            hint=f"Looked for {', '.join(SUFFIXES)}",
        )
    return list(files.values())


Rows = dict[str, list[Event]]
"""Events by the name that a file gives of their recording; ``""`` where it gives none."""


def _read_all(
    files: Iterable[LabelFile], reading: Reading, gathered: Gathered, faults: list[LabelError]
) -> list[tuple[LabelFile, Rows]]:
    """Events of each label file; faults of rows are added, files without labels put aside."""
    tables: list[tuple[LabelFile, Rows]] = []
    for file in files:
        own: list[LabelError] = []
        try:
            rows, notes = _read(file.path, reading, gathered.finder, own)
        except LabelError as error:
            rows, notes = {}, ()
            own.append(error)
        # A stray text in a folder of recordings is no mistake; a table with some bad rows is one.
        unclear: Faults = {}
        stray = own and not file.named and not any(rows.values())
        if stray and not (gathered.finder.of_file(file, {}, unclear) or unclear):
            gathered.aside[file.path] = own[0].what
            continue
        faults += own
        gathered.notes += notes
        tables.append((file, rows))
    return tables


def _read(
    file: Path, reading: Reading, finder: Finder, faults: list[LabelError]
) -> tuple[Rows, tuple[str, ...]]:
    format = reading.format or format_of(file, reading.encoding)
    # Raven's times have names of their own; label tracks and documents have no columns.
    named = {"tsv": set(reading.columns), "csv": set(reading.columns), "raven": {"filename"}}
    hints = Hints(
        recording=_OWN,
        label_column=reading.label_column,
        columns={n: c for n, c in reading.columns.items() if n in named.get(format, ())},
        encoding=reading.encoding,
        find=lambda name: finder.find(name, file),
        faults=faults,
    )
    content = READERS[format](file, hints)
    notes = (*content.notes, *hints.notes.sentences())
    rows: Rows = {}
    for name, event in content.events:
        rows.setdefault("" if name == _OWN else name, []).append(event)
    # An empty label track says that nothing happens; an empty table says nothing of anything.
    return rows if rows or format in ("tsv", "csv") else {"": []}, notes


def _refuse_missing(missing: Mapping[str, Path], finder: Finder) -> None:
    name, file = next(iter(missing.items()))
    more = f" (and {len(missing) - 1} more)" if len(missing) > 1 else ""
    raise LabelError(
        f"no recording {name!r}{more} in {', '.join(map(str, finder.folders))}",
        where=file,
        hint="Name the recordings' folder (--audio) or the column of file names "
        "(--columns filename=…), or leave them out (--skip-missing)",
    )


class Finder:
    """Finds recordings by the names that label files use.

    Attributes:
        keys: Name of each recording, by its file.
        others: Files of the folders that are no recordings, with the reason.
        loose: Listed names of recordings that lie in folders of other names, with these.
    """

    def __init__(self, folders: Sequence[Path]) -> None:
        self.folders = list(dict.fromkeys(folders))
        contents = [folder_content(folder) for folder in self.folders]
        found = dict.fromkeys(path for content in contents for path in content.recordings)
        self.loose: dict[str, str] = {}
        self.others = {path: why for content in contents for path, why in content.others.items()}
        if not found:
            told = "; ".join(left_out(self.others, SUFFIXES))
            raise DataError(
                f"no recording found ({told})" if told else "no recording found",
                where=self.folders[0],
                hint="Name the folder of recordings with --audio",
            )
        unique = {full_path(path): path for path in reversed(found)}
        root = common_root(self.folders)
        self.keys = names_from(root, [path for path in found if unique[full_path(path)] == path])
        self._names = RecordingNames.of_files(self.keys)

    def match(
        self,
        file: Path,
        names: Iterable[str | Listed],
        claims: Claims | None = None,
        faults: Faults | None = None,
    ) -> dict[str, str]:
        """The recordings that names in a file mean, as `RecordingNames.match` says."""
        return self._names.match(
            names, where=file, beside=file.parent, claims=claims, faults=faults, loose=self.loose
        )

    def of_file(self, file: LabelFile, claims: Claims, faults: Faults) -> str | None:
        """The recording that a label file has the name of, less what annotators add to it."""
        name = own_name(file.path, SELECTIONS)
        for own in dict.fromkeys((name, _TAIL.sub("", name) or name)):
            listed = listed_at(file.path.with_name(own), file.root)
            found = self.match(file.path, [listed], claims, faults)
            if found or faults:
                return found.get(listed.text)
        return None

    def find(self, name: str, file: Path) -> str | None:
        """The recording that a name in a file means; the name itself where that is not clear."""
        faults: Faults = {}
        found = self._names.match([name], where=file, beside=file.parent, faults=faults, loose={})
        return found.get(name) or next(iter(faults), None)
