"""The files of a batch: those of each recording, and the tables of the whole run."""

from __future__ import annotations

import glob
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from earmark.core.errors import ConfigError
from earmark.core.files import DRAFT, write_lines, write_whole
from earmark.core.formats import FORMATS, write_events
from earmark.core.formats.base import event_table
from earmark.core.naming import readable
from earmark.core.tables.rows import join_row
from earmark.core.tables.score_files import SCORE_FORMATS, score_format, write_scores
from earmark.deliver.journal import Record, Track
from earmark.deliver.recordings import SCORES
from earmark.detect.detector import channel_name

if TYPE_CHECKING:
    import pandas as pd

    from earmark.detect.detector import Result

COMBINED = tuple(name for name, kind in FORMATS.items() if not kind.one_recording)
"""Formats that hold the events of many recordings."""
_drawing = threading.Lock()  # matplotlib's fonts are not made for threads


@dataclass(frozen=True)
class Outputs:
    """Which files are made of a recording.

    Attributes:
        folder: Where.
        events: Formats of events, of ``FORMATS``.
        scores: Formats of scores, of ``SCORE_FORMATS``.
        picture: Whether pictures are drawn.
        scored_labels: Whether Audacity's labels have scores.
        shown: First and last second of the pictures; all when None.
    """

    folder: Path
    events: tuple[str, ...]
    scores: tuple[str, ...] = ()
    picture: bool = False
    scored_labels: bool = False
    shown: tuple[float, float] | None = None

    @classmethod
    def named(cls, folder: Path, events: str, scores: str = "", **more: Any) -> Outputs:
        """From formats separated by commas; ``more`` is the other attributes.

        Raises:
            ConfigError: If a format of events is unknown, none is given, or scored labels are
                asked for without Audacity's.
            ScoreError: If a format of scores is unknown.
        """
        kinds, tables = (
            tuple(dict.fromkeys(name.strip() for name in names.split(",") if name.strip()))
            for names in (events, scores)
        )
        unknown = [kind for kind in kinds if kind not in FORMATS]
        if unknown or not kinds:
            raise ConfigError(
                f"no event format is called {', '.join(map(repr, unknown)) or 'nothing'}",
                hint=f"Known formats: {', '.join(FORMATS)}",
            )
        for name in tables:
            score_format(name)
        if more.get("scored_labels") and "audacity" not in kinds:
            raise ConfigError(
                "--labels-with-score is for the format audacity, which is not written",
                hint="Add it to --format; the other formats have scores in places of their own",
            )
        return cls(folder, kinds, tables, **more)

    def scored_labels_of(self, record: Record | None) -> bool:
        """Whether a recording's label track has scores afterwards, with what was made before."""
        if "audacity" in self.events:
            return self.scored_labels
        return record is not None and record.scored_labels

    def event_files(self, name: str) -> dict[str, Path]:
        """Format → file of a track's events."""
        return {kind: self.folder / f"{name}{FORMATS[kind].suffix}" for kind in self.events}

    def score_files(self, name: str) -> dict[str, Path]:
        """Format → file of a track's scores."""
        return {
            kind: self.folder / SCORES[kind] / f"{name}{SCORE_FORMATS[kind].suffix}"
            for kind in self.scores
        }

    def pictures(self, name: str, duration: float) -> dict[Path, tuple[float, float]]:
        """A track's pictures, and first and last second of each.

        One has the recording's name; pages of a longer one, or of some of it, have their times too.
        """
        if not self.picture:
            return {}
        from earmark.deliver.pictures.view import pages_of

        pages = pages_of(duration, self.shown)
        if len(pages) == 1 and self.shown is None:
            return {self.folder / f"{name}.png": pages[0]}
        return {
            self.folder / f"{name}.{_stamp(first)}-{_stamp(last)}.png": (first, last)
            for first, last in pages
        }

    def all_there(self, name: str, tracks: Sequence[Track]) -> bool:
        """Whether all files of a recording exist."""
        return all(path.is_file() for track in tracks for path in self._files(name, track))

    def only_events_missing(self, name: str, tracks: Sequence[Track]) -> bool:
        """Whether all files exist that need scores, so that events are enough to make the rest."""
        named = [(file_name(name, track.channel), track.duration) for track in tracks]
        others = [
            [*self.score_files(one).values(), *self.pictures(one, seconds)]
            for one, seconds in named
        ]
        return all(path.is_file() for paths in others for path in paths)

    def _files(self, name: str, track: Track) -> list[Path]:
        one = file_name(name, track.channel)
        events, scores = self.event_files(one), self.score_files(one)
        return [*events.values(), *scores.values(), *self.pictures(one, track.duration)]

    def write_events(self, path: Path, name: str, filename: str, track: Track) -> None:
        """Writes the event files of a track; its recording is called ``filename`` in them."""
        events = events_of([(channel_label(filename, track.channel), track)])
        for kind, file in self.event_files(file_name(name, track.channel)).items():
            recording = Path(readable(str(path)))
            write_events(file, events, kind, recording=recording, scored_labels=self.scored_labels)

    def write_result(self, path: Path, name: str, channel: int, result: Result) -> None:
        """Writes the files of a track that need its scores."""
        one = file_name(name, channel)
        for kind, file in self.score_files(one).items():
            write_scores(file, result.table, kind)
        pages = self.pictures(one, result.duration)
        if pages:
            from earmark.deliver.pictures.view import plot_pages

            with _drawing:
                for file, draw in zip(
                    pages, plot_pages(path, result, [*pages.values()]), strict=True
                ):
                    write_whole(file, draw)

    def remove(self, name: str, tracks: Sequence[Track]) -> None:
        """Removes all files of a recording."""
        for track in tracks:
            one = file_name(name, track.channel)
            others = [folder / f"{one}{ending}" for folder, ending in self._all_others(one)]
            for path in [*self._all_events(name, track), *others]:
                path.unlink(missing_ok=True)

    def rename(self, renamed: Sequence[tuple[str, str, Sequence[Track]]]) -> None:
        """Gives files of recordings other names.

        Events have the recording's name in them: their files are removed, to be written again.

        Args:
            renamed: Old name, new name and tracks of each recording; new names may be old ones of
                others.
        """
        moves: list[tuple[Path, Path]] = []
        for old, new, tracks in renamed:
            for track in tracks:
                for path in self._all_events(old, track):
                    path.unlink(missing_ok=True)
                before, after = (file_name(name, track.channel) for name in (old, new))
                for folder, ending in self._all_others(before):
                    path = folder / f"{before}{ending}"
                    if path.is_file():
                        draft = path.with_name(f"{DRAFT}{path.name}")
                        moves.append((path.replace(draft), folder / f"{after}{ending}"))
        for draft, target in moves:
            target.parent.mkdir(parents=True, exist_ok=True)
            draft.replace(target)

    def _all_events(self, name: str, track: Track) -> list[Path]:
        one = file_name(name, track.channel)
        return [self.folder / f"{one}{kind.suffix}" for kind in FORMATS.values()]

    def _all_others(self, one: str) -> list[tuple[Path, str]]:
        """Folder and ending of every file of scores, and of every picture there is."""
        scores = [
            (self.folder / SCORES[kind], table.suffix) for kind, table in SCORE_FORMATS.items()
        ]
        beside = (self.folder / one).parent
        stem = Path(one).name
        pages = [
            path.name[len(stem) :] for path in beside.glob(f"{glob.escape(stem)}.*h*m*s-*.png")
        ]
        return [*scores, (self.folder, ".png"), *((self.folder, ending) for ending in pages)]


def _stamp(seconds: float) -> str:
    """A time as file names have it: ``0h10m00s``, ``0h00m01.5s``."""
    minutes, rest = divmod(round(seconds, 3), 60)
    tail = f"{rest:06.3f}".rstrip("0").rstrip(".")
    return f"{int(minutes) // 60}h{int(minutes) % 60:02d}m{tail}s"


def file_name(name: str, channel: int) -> str:
    """What the files of a track are called, without extension."""
    return f"{name}.ch{channel}" if channel else name


def channel_label(filename: str, channel: int) -> str:
    """What a track is called in the tables."""
    return channel_name(filename, channel) if channel else filename


def events_of(tracks: Sequence[tuple[str, Track]]) -> pd.DataFrame:
    """The events of tracks as one table; each track with its name."""
    return event_table([(name, e) for name, track in tracks for e in track.events], scored=True)


def write_tables(outputs: Outputs, records: Sequence[Record], failures: Mapping[Path, str]) -> None:
    """Writes the tables of a run.

    ``events.tsv`` (and ``.csv``, ``.json``, ``.jsonl`` where asked for) has the events of all
    recordings, ``recordings.tsv`` their lengths and counts, also of those without events;
    ``failures.tsv`` what failed and why, and is absent where nothing did.
    """
    named = [
        (channel_label(record.filename, track.channel), record, track)
        for record in records
        for track in record.tracks
    ]
    events = events_of([(name, track) for name, _, track in named])
    for kind in COMBINED:
        if kind == "tsv" or kind in outputs.events:
            write_events(outputs.folder / f"events{FORMATS[kind].suffix}", events, kind)
    rows = [
        [name, repr(track.duration), str(len(track.events)), readable(record.path)]
        for name, record, track in named
    ]
    _write_table(
        outputs.folder / "recordings.tsv", ["filename", "duration", "events", "path"], rows
    )
    lost = outputs.folder / "failures.tsv"
    if failures:
        rows = [[readable(str(path)), reason] for path, reason in failures.items()]
        _write_table(lost, ["path", "reason"], rows)
    else:
        lost.unlink(missing_ok=True)


def _write_table(path: Path, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    plain = [[" ".join(field.split()) for field in row] for row in rows]
    write_lines(path, [join_row(row, "\t") for row in [columns, *plain]])
