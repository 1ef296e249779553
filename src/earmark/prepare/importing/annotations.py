"""Label files as annotators leave them, and the recordings they speak of."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from earmark.core.audio.audio import AudioInfo, audio_info, list_audio, list_files
from earmark.core.errors import AudioError, DataError, LabelError
from earmark.core.event import Event
from earmark.core.formats import READERS, format_of, read_events
from earmark.core.formats.base import Hints, own_name
from earmark.core.formats.columns import columns_of, seconds_of
from earmark.core.formats.raven import SUFFIXES as SELECTIONS
from earmark.core.tables.labels import clip_id
from earmark.core.tables.rows import parse_number, parse_row, read_header

#: How the names of label files end that are looked for in folders.
SUFFIXES = (".txt", ".tsv", ".csv", ".eaf", ".json", ".jsonl", ".ndjson", ".vtt")
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
        aside: Text files in folders that are no label files and belong to no recording.
        finder: Finds recordings by name.
        unreadable: Key of a recording that cannot be read → why; it is left out.
    """

    recordings: list[Annotated]
    missing: dict[str, Path]
    aside: list[Path]
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
    files = [
        (path, named) for path, named in _label_files(labels) if path.resolve() not in leave_out
    ]
    folders = list(audio) or [path if path.is_dir() else path.parent for path in labels]
    finder = Finder(folders)
    tables, aside = _read_all(files, reading, finder)
    events: defaultdict[Path, list[Event]] = defaultdict(list)
    speaking: defaultdict[Path, list[Path]] = defaultdict(list)
    missing: dict[str, Path] = {}
    for file, rows in tables:
        for name, found in rows.items():
            recording = finder.find(name, file)
            if recording is None:
                missing[name] = file
                continue
            events[recording] += found
            speaking[recording].append(file)
    if missing and not skip_missing:
        _refuse_missing(missing, finder)
    gathered = Gathered([], missing, aside, finder)
    for path, key in finder.keys.items():
        try:
            info = audio_info(path)
        except AudioError as error:
            gathered.unreadable[key] = error.what
            continue
        own = tuple(sorted(events[path])) if path in speaking else None
        gathered.recordings.append(Annotated(path, key, info, own, tuple(speaking[path])))
    return gathered


def read_regions(path: Path, reading: Reading) -> dict[str, list[tuple[float, float]]]:
    """Stretches that were annotated: a table with columns of file names, onsets and offsets.

    Returns:
        File name as it is written → (onset, offset) in seconds.

    Raises:
        LabelError: If it is no such table; it names the line.
    """
    delimiter = "," if path.suffix.lower() == ".csv" else "\t"
    header, lines = read_header(path, delimiter, (), reading.encoding)
    needs = ("filename", "onset", "offset")
    columns = columns_of(header, Hints(columns=reading.columns), path, needs=needs)
    found: dict[str, list[tuple[float, float]]] = {}
    for line, text in lines:
        row = parse_row(path, line, header, text, delimiter)
        onset, offset = (
            parse_number(seconds_of(row[columns[name]]), name, path, line)
            for name in ("onset", "offset")
        )
        if not 0 <= onset < offset:
            raise LabelError(
                f"a stretch from {onset:g} s to {offset:g} s",
                where=f"{path}:{line}",
                hint="It must end after it starts, and start at 0 s or later",
            )
        found.setdefault(row[columns["filename"]], []).append((onset, offset))
    return found


def _label_files(sources: Sequence[Path]) -> list[tuple[Path, bool]]:
    """Label files, each with whether it was named itself."""
    files: dict[Path, bool] = {}
    for source in sources:
        if source.is_dir():
            for path in list_files(source):
                if path.suffix.lower() in SUFFIXES:
                    files.setdefault(path, False)
        elif source.is_file():
            files[source] = True
        else:
            raise LabelError("no such file or folder", where=source, hint="Check the path")
    if not files:
        raise DataError(
            "no label file found",
            where=sources[0] if sources else None,
            hint=f"Looked for {', '.join(SUFFIXES)}",
        )
    return list(files.items())


Rows = dict[str, list[Event]]


def _read_all(
    files: Iterable[tuple[Path, bool]], reading: Reading, finder: Finder
) -> tuple[list[tuple[Path, Rows]], list[Path]]:
    """Events of each label file by the recording's name, and files that are none."""
    tables: list[tuple[Path, Rows]] = []
    aside: list[Path] = []
    faults: list[LabelError] = []
    for file, named in files:
        try:
            rows = _read(file, reading)
        except LabelError as error:
            # A stray text file in a folder of recordings is no mistake.
            if named or finder.find(own_name(file, SELECTIONS), file) is not None:
                faults.append(error)
            else:
                aside.append(file)
            continue
        tables.append((file, rows))
    if faults:
        first, more = faults[0], [str(fault.where) for fault in faults[1:]]
        also = f" ({len(more)} more label files have mistakes: {', '.join(more[:5])})"
        raise LabelError(first.what + (also if more else ""), where=first.where, hint=first.hint)
    return tables, aside


def _read(file: Path, reading: Reading) -> Rows:
    format = reading.format or format_of(file, reading.encoding)
    # Raven's times have names of their own; label tracks and documents have no columns.
    named = {"tsv": set(reading.columns), "csv": set(reading.columns), "raven": {"filename"}}
    table = read_events(
        file,
        format,
        label_column=reading.label_column,
        columns={n: c for n, c in reading.columns.items() if n in named.get(format, ())},
        encoding=reading.encoding,
    )
    rows: Rows = {}
    columns = (table[name].tolist() for name in ("filename", "onset", "offset", "event_label"))
    for name, onset, offset, label in zip(*columns, strict=True):
        rows.setdefault(name, []).append(Event(onset, offset, label))
    # An empty label track says that nothing happens; an empty table says nothing of anything.
    return rows if rows or format in ("tsv", "csv") else {own_name(file, SELECTIONS): []}


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
    """Finds recordings by the names that label files use."""

    def __init__(self, folders: Sequence[Path]) -> None:
        self.folders = list(dict.fromkeys(folders))
        self.keys: dict[Path, str] = {}
        for folder in self.folders:
            for path in list_audio(folder):
                self.keys.setdefault(path, path.relative_to(folder).as_posix())
        if not self.keys:
            raise DataError(
                "no recording found",
                where=self.folders[0],
                hint="Name the folder of recordings with --audio",
            )
        self._by_name: defaultdict[str, list[Path]] = defaultdict(list)
        for path in self.keys:
            for name in {path.name.lower(), clip_id(path.name).lower()}:
                self._by_name[name].append(path)

    def find(self, listed: str, file: Path) -> Path | None:
        """The recording of a name, preferably one beside the label file.

        Raises:
            LabelError: Several fit.
        """
        pure = PurePosixPath(listed.replace("\\", "/"))
        for name in dict.fromkeys((pure.name, clip_id(pure.name), _TAIL.sub("", pure.name))):
            found = self._by_name.get(name.lower(), [])
            if len(found) > 1:
                tail = pure.as_posix().lower()
                found = (
                    [path for path in found if f"/{self.keys[path].lower()}".endswith(f"/{tail}")]
                    or [path for path in found if path.parent == file.parent]
                    or found
                )
            if len(found) > 1:
                both = " and ".join(self.keys[path] for path in found[:2])
                raise LabelError(
                    f"{listed!r} could be {both}",
                    where=file,
                    hint="Write the file name with its folder and ending",
                )
            if found:
                return found[0]
        return None
