"""Anyone's predictions, truth and durations from files, as the field writes them.

A clip's id is the name of its file without folder and without the suffix of an audio format, so
that ``a.wav``, ``audio/a.flac`` and ``a`` are the same clip. Tables are separated by tabs or by
commas, and may be packed (``.gz``).
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from earmark.core.errors import LabelError, ScoreError
from earmark.core.event import Event
from earmark.core.files import read_text
from earmark.core.tables.rows import Row, base_name, parse_event, parse_number, read_rows
from earmark.core.tables.scores import ScoreTable

Points = dict[float | None, dict[str, list[Event]]]
"""Threshold (``None`` for one that is not known) → clip id → the events there."""
AUDIO = (
    *(".wav", ".flac", ".ogg", ".oga", ".opus", ".mp3", ".aiff", ".aif"),
    *(".m4a", ".aac", ".wma", ".mp4", ".webm", ".mkv"),
)
TABLES = (".tsv", ".csv", ".tsv.gz", ".csv.gz")
NUMBER_AT_END = re.compile(r"(\d+(?:\.\d+)?|\.\d+)$")


def clip_name(filename: str) -> str:
    """The id of a clip from the name of its file, with or without folder and suffix."""
    name = base_name(filename)
    stem, dot, suffix = name.rpartition(".")
    return stem if stem and f"{dot}{suffix.lower()}" in AUDIO else name


@dataclass(frozen=True)
class Truth:
    """Ground truth from a file.

    Args:
        events: By clip id, in the file's order; every listed clip is a key.
        path: The file.
    """

    events: dict[str, list[Event]]
    path: Path

    @property
    def clips(self) -> tuple[str, ...]:
        """All clips listed, those without events too."""
        return tuple(self.events)

    @property
    def labels(self) -> tuple[str, ...]:
        """The classes of the events, sorted."""
        return tuple(
            sorted({event.event_label for found in self.events.values() for event in found})
        )


def read_truth(path: str | Path) -> Truth:
    """Read ground truth: columns ``filename onset offset event_label``, seconds, in any order.

    Args:
        path: The file. A row with nothing but a file name is a clip without events.

    Raises:
        LabelError: If it is not such a table; the line is named.
    """
    path = Path(path)
    events: dict[str, list[Event]] = {}
    for line, row in read_rows(path, None, ("filename", "onset", "offset", "event_label")):
        own = events.setdefault(_clip(row, path, line), [])
        event = parse_event(path, line, row)
        if event is not None:
            own.append(event)
    return Truth(events, path)


def read_seconds(path: str | Path) -> dict[str, float]:
    """Durations by clip id: columns ``filename duration``, or a folder of the recordings.

    Raises:
        LabelError: If it is not such a table, a duration is not positive, or a clip has two.
        AudioError: If a recording cannot be read, or the folder has none.
    """
    path = Path(path)
    if path.is_dir():
        return _seconds_of_recordings(path)
    found: dict[str, float] = {}
    for line, row in read_rows(path, None, ("filename", "duration")):
        clip = _clip(row, path, line)
        seconds = parse_number(row["duration"], "duration", path, line)
        if seconds <= 0 or found.get(clip, seconds) != seconds:
            other = f", before it was {found[clip]:g} s" if clip in found else ""
            raise LabelError(
                f"{clip} has the duration {seconds:g} s{other}",
                where=f"{path}:{line}",
                hint="Give each clip one positive duration",
            )
        found[clip] = seconds
    return found


def _seconds_of_recordings(folder: Path) -> dict[str, float]:
    from earmark.core.audio.audio import audio_info, list_audio

    paths = list_audio(folder)
    if not paths:
        raise LabelError(
            "no recordings in this folder", where=folder, hint="Give a table of durations instead"
        )
    return {clip_name(path.name): audio_info(path).seconds for path in paths}


class ScoreFolder(Mapping[str, ScoreTable]):
    """Score tables of a folder by clip id, each read when it is asked for and not kept.

    Args:
        folder: Holds one table a clip, ``<clip>.tsv`` (or ``.csv``, ``.gz``), with the columns
            ``onset offset`` and one for each class.

    Raises:
        ScoreError: If there is no such folder, it has no tables, or two of one clip.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = folder = Path(folder)
        if not folder.is_dir():
            raise ScoreError(
                "no such folder of score tables",
                where=folder,
                hint="Give the folder with one <clip>.tsv for each clip; --events takes tables of "
                "events",
            )
        self.paths: dict[str, Path] = {}
        for path in sorted(folder.iterdir()):
            ending = _table_ending(path)
            if ending is None:
                continue
            clip = clip_name(path.name.removesuffix(ending))
            if clip in self.paths:
                raise ScoreError(
                    f"{path.name} and {self.paths[clip].name} are tables of the same clip",
                    where=folder,
                )
            self.paths[clip] = path
        if not self.paths:
            raise ScoreError("no score tables (.tsv or .csv) in this folder", where=folder)

    def __getitem__(self, clip: str) -> ScoreTable:
        return ScoreTable.read(self.paths[clip])

    def __iter__(self) -> Iterator[str]:
        return iter(self.paths)

    def __len__(self) -> int:
        return len(self.paths)


def read_all(
    tables: Mapping[str, ScoreTable], progress: Callable[[int, int], None] | None = None
) -> dict[str, ScoreTable]:
    """All tables at once; ``progress`` is called with tables read and tables in all."""
    found = {}
    for number, clip in enumerate(tables, start=1):
        found[clip] = tables[clip]
        if progress is not None:
            progress(number, len(tables))
    return found


def is_score_folder(path: str | Path) -> bool:
    """Whether a path is a folder of score tables, and not of events.

    Raises:
        ScoreError: If there is nothing of that name, nor a ``THRESHOLD=TABLE``.
    """
    folder = Path(path)
    if not folder.exists() and not Path(str(path).partition("=")[2] or folder).exists():
        raise ScoreError("no such file or folder", where=path)
    inside = sorted(folder.iterdir()) if folder.is_dir() else []
    first = next((file for file in inside if _table_ending(file)), None)
    if first is None:
        return folder.is_dir()
    header = next(iter(read_text(first).splitlines()), "")
    return "filename" not in header.replace(",", "\t").split("\t")


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
    """

    points: Points
    scored: dict[str, list[Event]] | None
    clips: frozenset[str]

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


def read_detections(sources: Sequence[str | Path]) -> Detections:
    """Read the events a system detected, at one threshold or at several.

    Args:
        sources: A table with the columns ``filename onset offset event_label``, and ``score`` or
            ``threshold`` (then the rows of each are an operating point of their own); or
            ``THRESHOLD=TABLE``, one for each operating point; or a folder of tables whose names
            end in the threshold (``predictions0.5.csv``).

    Raises:
        LabelError: If a file is no such table; the line is named.
        ScoreError: If thresholds are missing or come twice.
    """
    files: list[tuple[float | None, Path]] = []
    for source in sources:
        files += _point_files(str(source))
    if len(files) == 1:
        threshold, path = files[0]
        return _one_file(path, threshold)
    points: Points = {}
    clips: frozenset[str] = frozenset()
    for threshold, path in files:
        if threshold is None or threshold in points:
            what = "no threshold" if threshold is None else f"the threshold {threshold:g} twice"
            raise ScoreError(
                f"several tables of events, and {path} has {what}",
                hint="Give each its own, as in --events 0.5=dets.tsv",
            )
        found = _one_file(path, threshold)
        points[threshold] = found.points[threshold]
        clips |= found.clips
    return Detections(_by_threshold(points), None, clips)


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


def _one_file(path: Path, threshold: float | None) -> Detections:
    """Events of one file, its own thresholds apart unless one is given."""
    points: Points = {}
    scored: dict[str, list[Event]] = {}
    clips, unscored = set(), threshold is not None
    for line, row in _event_rows(path):
        clip, event = _clip(row, path, line), parse_event(path, line, row)
        clips.add(clip)
        if event is None:
            continue
        point = threshold
        if threshold is None and "threshold" in row:
            point = parse_number(row["threshold"], "threshold", path, line)
        points.setdefault(point, {}).setdefault(clip, []).append(event)
        unscored = unscored or point is not None or "score" not in row
        if not unscored:
            score = parse_number(row["score"], "score", path, line)
            scored.setdefault(clip, []).append(event._replace(score=score))
    given = None if unscored or not scored else scored
    return Detections(_by_threshold(points or {threshold: {}}), given, frozenset(clips))


def _by_threshold(points: Points) -> Points:
    order = sorted(points, key=lambda point: -math.inf if point is None else point)
    return {point: points[point] for point in order}


def _event_rows(path: Path) -> Iterator[Row]:
    """Rows of a table of events; of other kinds of file what `earmark` reads of them."""
    if path.name.lower().endswith(TABLES):
        yield from read_rows(path, None, ("filename", "onset", "offset", "event_label"))
        return
    from earmark.core.formats import read_events

    table = read_events(path)
    for number, record in enumerate(table.to_dict("records"), start=1):
        yield number, {str(name): str(value) for name, value in record.items()}


def _clip(row: Mapping[str, str], path: Path, line: int) -> str:
    clip = clip_name(row["filename"])
    if not clip:
        raise LabelError("a row without a file name", where=f"{path}:{line}")
    return clip
