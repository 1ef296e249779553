"""Anyone's predictions, truth and durations from files, as the field writes them.

Clips are known as `earmark.score.clips` says: ``a.wav``, ``audio/a.flac`` and ``a`` are the same
clip, unless there is another ``a`` in another folder. Tables are separated by tabs or by commas,
and may be packed (``.gz``).
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from earmark.core.errors import LabelError, ScoreError, together
from earmark.core.event import EVENT_COLUMNS, Event
from earmark.core.files import Notes
from earmark.core.naming import full_path, names_from
from earmark.core.parallel import Progress, tracked
from earmark.core.tables.rows import Row, parse_event, parse_number, read_table
from earmark.core.tables.scores import ScoreTable
from earmark.score.clips import ClipIds, clip_name
from earmark.score.issues import is_confidence, unused_columns

Points = dict[float | None, dict[str, list[Event]]]
"""Threshold (``None`` for one that is not known) → clip id → the events there."""
TABLES = (".tsv", ".csv", ".tsv.gz", ".csv.gz")
NUMBER_AT_END = re.compile(r"(\d+(?:\.\d+)?|\.\d+)$")


@dataclass(frozen=True)
class Truth:
    """Ground truth from a file.

    Args:
        events: By clip id, in the file's order; every listed clip is a key.
        path: The file.
        ids: Of the clips, by the names in the file.
        unused: Columns of confidence.
    """

    events: dict[str, list[Event]]
    path: Path
    ids: ClipIds
    unused: tuple[str, ...] = ()

    def under(self, clips: ClipIds, ids: Mapping[str, str]) -> Truth:
        """The same, with other ids of the clips."""
        return replace(self, events=_by_id(self.events, ids), ids=clips)

    @property
    def clips(self) -> tuple[str, ...]:
        """All clips listed, those without events too."""
        return tuple(self.events)

    @property
    def labels(self) -> tuple[str, ...]:
        """The classes of the events, sorted."""
        return tuple(sorted({event.event_label for own in self.events.values() for event in own}))


def read_truth(path: str | Path) -> Truth:
    """Read ground truth: columns ``filename onset offset event_label``, seconds, in any order.

    Args:
        path: The file. A row with nothing but a file name is a clip without events.

    Raises:
        LabelError: If it is not such a table; all lines that are wrong are named.
    """
    path = Path(path)
    listed: dict[str, list[Event]] = {}
    notes = Notes()
    table = read_table(path, EVENT_COLUMNS)
    with _all_faults() as faults:
        for line, text in table.lines:
            with faults.row():
                row = table.row(line, text)
                own = listed.setdefault(_name(row, path, line), [])
                event = parse_event(path, line, row, notes)
                own += [] if event is None else [event]
    notes.report()
    ids = ClipIds(listed, path)
    return Truth(_by_id(listed, ids), path, ids, tuple(unused_columns(table.columns, path)))


@dataclass(frozen=True)
class Durations:
    """Seconds by clip id, in order, from a file or a folder, and the ids by the names there."""

    seconds: dict[str, float]
    ids: ClipIds


def read_listed(
    truth: str | Path, durations: str | Path | None
) -> tuple[Truth, dict[str, float] | None]:
    """Truth and durations of the same clips, under the same ids.

    Raises:
        LabelError: If they are no such tables, or a name could be of several clips.
    """
    true = read_truth(truth)
    if durations is None:
        return true, None
    lengths = read_durations(durations)
    clips, ids, others = true.ids.joined(lengths.ids, durations)
    seconds = {others[clip]: length for clip, length in lengths.seconds.items()}
    return true.under(clips, ids), seconds


def read_seconds(path: str | Path) -> dict[str, float]:
    """Durations by clip id, as `read_durations` reads them."""
    return read_durations(path).seconds


def read_durations(path: str | Path) -> Durations:
    """Durations of clips: columns ``filename duration``, or a folder of the recordings.

    Raises:
        LabelError: If it is not such a table, a duration is not positive, or a clip has two.
        AudioError: If a recording cannot be read, or the folder has none.
    """
    path = Path(path)
    if path.is_dir():
        return _durations_of_recordings(path)
    table, rows = read_table(path, ("filename", "duration")), list[tuple[int, str, float]]()
    with _all_faults() as faults:
        for line, text in table.lines:
            with faults.row():
                row = table.row(line, text)
                seconds = parse_number(row["duration"], "duration", path, line)
                rows.append((line, _name(row, path, line), seconds))
    ids, found = ClipIds((name for _, name, _ in rows), path), dict[str, float]()
    with _all_faults() as faults:
        for line, name, seconds in rows:
            clip = ids[name]
            with faults.row():
                if seconds <= 0 or found.get(clip, seconds) != seconds:
                    other = f", before it was {found[clip]:g} s" if clip in found else ""
                    raise LabelError(
                        f"{clip} has the duration {seconds:g} s{other}",
                        where=f"{path}:{line}",
                        hint="Give each clip one positive duration",
                    )
                found[clip] = seconds
    return Durations(found, ids)


def _durations_of_recordings(folder: Path) -> Durations:
    from earmark.core.audio.audio import audio_info
    from earmark.core.audio.folders import list_audio

    names = names_from(full_path(folder), list_audio(folder))
    if not names:
        raise LabelError(
            "no recordings in this folder", where=folder, hint="Give a table of durations instead"
        )
    ids = ClipIds(names.values(), folder)
    return Durations({ids[name]: audio_info(path).seconds for path, name in names.items()}, ids)


class ScoreFolder(Mapping[str, ScoreTable]):
    """Score tables of a folder by clip id, each read when it is asked for and not kept.

    Args:
        folder: Holds one table a clip, ``<clip>.tsv`` (or ``.csv``, ``.gz``), with the columns
            ``onset offset`` and one for each class; those of clips in folders lie in such folders.
        clips: The clips that are known; ids are theirs.

    Raises:
        ScoreError: If there is no such folder, it has no tables, or two of one clip.
        LabelError: If a table could be of several clips.
    """

    def __init__(self, folder: str | Path, clips: ClipIds | None = None) -> None:
        self.folder = folder = Path(folder)
        if not folder.is_dir():
            raise ScoreError(
                "no such folder of score tables",
                where=folder,
                hint="Give the folder with one <clip>.tsv for each clip; --events takes tables of "
                "events",
            )
        named = {path: _clip_of_table(path, folder, clips) for path in _tables_in(folder)}
        if not named:
            raise ScoreError("no score tables (.tsv or .csv) in this folder", where=folder)
        ids = ClipIds(named.values(), folder)
        known = None if clips is None else clips.of(ids, folder)
        self.paths: dict[str, Path] = {}
        for path, name in named.items():
            clip = ids[name] if known is None else known[ids[name]]
            if clip in self.paths:
                both = f"{_below(folder, path)} and {_below(folder, self.paths[clip])}"
                raise ScoreError(f"{both} are tables of the same clip", where=folder)
            self.paths[clip] = path

    def __getitem__(self, clip: str) -> ScoreTable:
        return ScoreTable.read(self.paths[clip])

    def __iter__(self) -> Iterator[str]:
        return iter(self.paths)

    def __len__(self) -> int:
        return len(self.paths)


def read_all(
    tables: Mapping[str, ScoreTable], progress: Progress | None = None
) -> dict[str, ScoreTable]:
    """All tables at once; ``progress`` is called with tables read and tables in all."""
    return {clip: tables[clip] for clip in tracked(tables, len(tables), progress)}


def is_score_folder(path: str | Path) -> bool:
    """Whether a path is a folder of score tables, and not of events.

    Raises:
        ScoreError: If there is nothing of that name, nor a ``THRESHOLD=TABLE``.
    """
    folder = Path(path)
    if not folder.exists() and not Path(str(path).partition("=")[2] or folder).exists():
        raise ScoreError("no such file or folder", where=path)
    first = next(iter(_tables_in(folder)), None) if folder.is_dir() else None
    if first is None:
        return folder.is_dir()
    return "filename" not in read_table(first, notes=Notes()).columns


def _tables_in(folder: Path) -> list[Path]:
    """Tables in a folder and, behind these, in the folders in it."""
    found = [path for path in folder.rglob("*") if _table_ending(path)]
    hidden = (
        any(part.startswith(".") for part in path.relative_to(folder).parts) for path in found
    )
    kept = [path for path, out in zip(found, hidden, strict=True) if not out]
    return sorted(kept, key=lambda path: (len(path.parts), path))


def _below(folder: Path, path: Path) -> str:
    return path.relative_to(folder).as_posix()


def _clip_of_table(path: Path, folder: Path, clips: ClipIds | None) -> str:
    """The name of a score table's clip."""
    name = _below(folder, path).removesuffix(str(_table_ending(path)))
    # Before folders were kept, their names were joined by two strokes.
    if clips is not None and "__" in name and not clips.has(name):
        return name.replace("__", "/")
    return name


def _table_ending(path: Path) -> str | None:
    if path.name.startswith(".") or not path.is_file():
        return None
    return next((ending for ending in TABLES if path.name.lower().endswith(ending)), None)


@dataclass(frozen=True)
class Detections:
    """What a system detected, from files.

    Args:
        points: By threshold the events of each clip; one threshold, ``None``, if none is given.
        scored: Events with a score each, if there is one threshold and the file has scores.
        clips: All clips with a row in any of the files.
        notes: What was taken for the scores, in words.
    """

    points: Points
    scored: dict[str, list[Event]] | None
    clips: frozenset[str]
    notes: tuple[str, ...] = ()

    def under(self, ids: Mapping[str, str]) -> Detections:
        """The same, with other ids of the clips."""
        points = {point: _by_id(own, ids) for point, own in self.points.items()}
        scored = None if self.scored is None else _by_id(self.scored, ids)
        clips = frozenset(ids[clip] for clip in self.clips)
        return replace(self, points=points, scored=scored, clips=clips)

    @property
    def labels(self) -> set[str]:
        """The classes of the events."""
        clips = (own for found in self.points.values() for own in found.values())
        return {event.event_label for own in clips for event in own}

    def at(self, threshold: float) -> tuple[float | None, dict[str, list[Event]]]:
        """The operating point nearest to a threshold, and its threshold."""
        known = [point for point in self.points if point is not None]
        if not known:
            return None, self.points[None]
        nearest = min(known, key=lambda point: (round(abs(point - threshold), 9), point))
        return nearest, self.points[nearest]


def read_detections(sources: Sequence[str | Path], clips: ClipIds | None = None) -> Detections:
    """Read the events a system detected, at one threshold or at several.

    Args:
        sources: A table with the columns ``filename onset offset event_label``, and ``score`` or
            ``threshold`` (then the rows of each are an operating point of their own); a column
            of confidence is taken for the score where there is none, if it holds numbers; or
            ``THRESHOLD=TABLE``, one for each operating point; or a folder of tables whose names
            end in the threshold (``predictions0.5.csv``).
        clips: The clips that are known; ids are theirs.

    Raises:
        LabelError: If a file is no such table (the line is named), or a name could be of several
            clips.
        ScoreError: If thresholds are missing or come twice.
    """
    files: list[tuple[float | None, Path]] = []
    for source in sources:
        files += _point_files(str(source))
    if len(files) == 1:
        threshold, path = files[0]
        found, listed = _one_file(path, threshold)
        return _identified(found, listed, clips, path)
    points: Points = {}
    every: dict[str, None] = {}
    notes: tuple[str, ...] = ()
    for threshold, path in files:
        if threshold is None or threshold in points:
            what = "no threshold" if threshold is None else f"the threshold {threshold:g} twice"
            raise ScoreError(
                f"several tables of events, and {path} has {what}",
                hint="Give each its own, as in --events 0.5=dets.tsv",
            )
        found, listed = _one_file(path, threshold)
        points[threshold] = found.points[threshold]
        notes += found.notes
        every |= dict.fromkeys(listed)
    found = Detections(_by_threshold(points), None, frozenset(every), notes)
    return _identified(found, every, clips, files[0][1])


def _identified(
    found: Detections, listed: Iterable[str], clips: ClipIds | None, where: Path
) -> Detections:
    """Detections by clip id, from those by the names that are listed."""
    own = ClipIds(listed, where)
    known = None if clips is None else clips.of(own, where)
    ids = {name: own[name] if known is None else known[own[name]] for name in found.clips}
    return found.under(ids)


def _point_files(source: str) -> list[tuple[float | None, Path]]:
    """Files and thresholds that one source stands for."""
    before, equals, after = source.partition("=")
    if equals and not Path(source).exists():
        try:
            return [(float(before), Path(after))]
        except ValueError:
            raise ScoreError(
                f"{before!r} in {source!r} is not a threshold",
                hint="Use THRESHOLD=TABLE, e.g. 0.5=dets.tsv",
            ) from None
    path = Path(source)
    if not path.is_dir():
        return [(None, path)]
    inside = {file: ending for file in sorted(path.iterdir()) if (ending := _table_ending(file))}
    found: list[tuple[float | None, Path]] = []
    for file, ending in inside.items():
        number = NUMBER_AT_END.search(file.name.removesuffix(ending))
        if number is None:
            raise ScoreError(
                "the name does not end in a threshold, as predictions0.5.csv does",
                where=file,
                hint="Give single files: --events 0.3=one.tsv --events 0.5=another.tsv",
            )
        found.append((float(number[1]), file))
    if not found:
        raise ScoreError("no tables of events (.tsv or .csv) in this folder", where=path)
    return found


def _one_file(path: Path, threshold: float | None) -> tuple[Detections, list[str]]:
    """Events of one file by listed name, its own thresholds apart unless one is given."""
    points: Points = {}
    scored: dict[str, list[Event]] = {}
    listed, unscored, notes = dict[str, None](), threshold is not None, Notes()
    with _all_faults() as faults:
        rows = list(_event_rows(path, faults))
        column, said = _score_column(rows, path, threshold)
        for line, row in rows:
            with faults.row():
                clip, event = _name(row, path, line), parse_event(path, line, row, notes)
                listed[clip] = None
                if event is None:
                    continue
                point = threshold
                if threshold is None and "threshold" in row:
                    point = parse_number(row["threshold"], "threshold", path, line)
                points.setdefault(point, {}).setdefault(clip, []).append(event)
                unscored = unscored or point is not None or column is None
                if not unscored and column is not None:
                    score = parse_number(row[column], "score", path, line)
                    scored.setdefault(clip, []).append(event._replace(score=score))
    notes.report()
    given = None if unscored or not scored else scored
    found = Detections(_by_threshold(points or {threshold: {}}), given, frozenset(listed), said)
    return found, list(listed)


def _score_column(
    rows: Sequence[Row], path: Path, threshold: float | None
) -> tuple[str | None, tuple[str, ...]]:
    """The column that says how sure the events are, and what is to be said of it.

    It is ``score``; without one a column of confidence, if it holds a number in every row.
    """
    columns = rows[0][1] if rows else {}
    if "score" in columns:
        return "score", ()
    column = next((name for name in columns if is_confidence(name)), None)
    if column is None:
        return None, ()
    why = ""
    if threshold is not None or "threshold" in columns:
        why = "the threshold of each event is given"
    for line, row in rows:
        try:
            if not why and any(row[name] for name in ("onset", "offset")):
                parse_number(row[column], column, path, line)
        except LabelError as error:
            why = f"{error.what} in line {line}"
    if why:
        return None, (f"the column {column} of {path.name} is not used: {why}",)
    return column, (f"the scores of the events are the column {column} of {path.name}",)


def _by_threshold(points: Points) -> Points:
    order = sorted(points, key=lambda point: -math.inf if point is None else point)
    return {point: points[point] for point in order}


class _Faults:
    """Rows of a table that cannot be used."""

    def __init__(self) -> None:
        self.found: list[LabelError] = []

    @contextmanager
    def row(self) -> Iterator[None]:
        """What is done with one row: its mistake is kept."""
        try:
            yield
        except LabelError as error:
            self.found.append(error)


@contextmanager
def _all_faults() -> Iterator[_Faults]:
    """Raises at its end one error for all rows of a table that cannot be used, in their order."""
    faults = _Faults()
    yield faults
    if faults.found:
        raise together(sorted(faults.found, key=_line_of))


def _line_of(fault: LabelError) -> int:
    line = str(fault.where).rpartition(":")[2]
    return int(line) if line.isdecimal() else 0


def _event_rows(path: Path, faults: _Faults) -> Iterator[Row]:
    """Rows of a table of events; of other kinds of file what `earmark` reads of them."""
    if path.name.lower().endswith(TABLES):
        table = read_table(path, EVENT_COLUMNS)
        for line, text in table.lines:
            with faults.row():
                yield line, table.row(line, text)
        return
    from earmark.core.formats import read_events

    events = read_events(path)
    for number, record in enumerate(events.to_dict("records"), start=1):
        yield number, {str(name): str(value) for name, value in record.items()}


def _name(row: Mapping[str, str], path: Path, line: int) -> str:
    name = row["filename"]
    if not clip_name(name):
        raise LabelError("a row without a file name", where=f"{path}:{line}")
    return name


def _by_id(
    listed: Mapping[str, Sequence[Event]], ids: ClipIds | Mapping[str, str]
) -> dict[str, list[Event]]:
    """Events by clip id, those of a clip under several names together."""
    found: dict[str, list[Event]] = {}
    for name, own in listed.items():
        found.setdefault(ids[name], []).extend(own)
    return found
