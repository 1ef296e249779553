"""Subsets of a dataset from their label tables and their folders, with notes for the user.

What cannot be used is left out whole, counted and named: a clip that is not there, a clip with a
label that cannot be understood (half its labels would teach, or score, a falsehood), a table that
is none. Nothing here is fatal; who reads a dataset decides whether enough is left.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TypeVar

from earmark.core.audio.audio import audio_info
from earmark.core.errors import AudioError, LabelError
from earmark.core.event import Event
from earmark.core.naming import Faults, RecordingNames, by_base_name
from earmark.core.tables.label_tables import (
    StrongRow,
    Table,
    duration_table,
    join_weak,
    strong_table,
    weak_table,
)
from earmark.data.classes import Classes
from earmark.data.clips import ClipFinder, youtube_id
from earmark.data.subsets import Domain, Evaluation, Source, of_clips
from earmark.score.issues import unused_columns

R = TypeVar("R")


class SubsetReader:
    """Reads the subsets of a dataset and keeps notes on them for the user.

    Attributes:
        labels: Classes found so far.
        notes: A sentence each.
        damage: Those of them about a loss.
        rows: Name of the clip of each row of a weak table, by source; as listed if it is not there.

    Args:
        root: The dataset's folder, for messages.
        classes: Of the dataset.
    """

    def __init__(self, root: Path, classes: Classes | None = None) -> None:
        self.root = root
        self.classes = classes or Classes()
        self.labels: set[str] = set()
        self.notes: list[str] = []
        self.damage: list[str] = []
        self.rows: dict[str, tuple[str, ...]] = {}
        self._unused: dict[str, tuple[str, ...]] = {}

    def note(self, note: str, lost: bool = False) -> None:
        """Note something for the user."""
        self.notes.append(note)
        if lost:
            self.damage.append(note)

    def strong(
        self,
        name: str,
        tables: Sequence[Path],
        finder: ClipFinder,
        domain: Domain = "real",
        labelled: tuple[str, ...] | None = None,
    ) -> Source | None:
        """A source with strong labels; None, with a note, where a table is none."""
        read = self._strong(name, tables, finder, labelled)
        if read is None:
            return None
        found, events, missing, faulty = read
        return Source(
            "strong",
            name,
            _paths(found),
            events=events,
            missing=missing,
            faulty=faulty,
            domain=domain,
            labelled=labelled,
            names=finder.names,
            unused=self._unused.get(name, ()),
        )

    def weak(
        self,
        name: str,
        table: Path,
        finder: ClipFinder,
        domain: Domain = "real",
        labelled: tuple[str, ...] | None = None,
    ) -> Source | None:
        """A source with weak labels; None, with a note, where the table is none."""
        read = self._table(name, table, weak_table)
        if read is None:
            return None
        stray: Counter[str] = Counter()
        rows = [
            row._replace(labels=self._classes(row.labels, table, row.line, labelled, stray))
            for row in read.rows
        ]
        self._note_stray(name, stray)
        faulty = self._faulty(name, read)
        found, missing, faulty = self.match(name, read.listed, finder, faulty, table)
        names = {listed: finder.names[path] for listed, path in found.items()}
        self.rows[name] = tuple(names.get(listed, listed) for listed in read.clips)
        labels = join_weak(rows)
        weak: dict[str, tuple[str, ...]] = {}
        for listed, own in names.items():
            weak[own] = tuple(dict.fromkeys([*weak.get(own, ()), *labels[listed]]))
        return Source(
            "weak",
            name,
            _paths(found),
            weak=weak,
            missing=missing,
            faulty=faulty,
            domain=domain,
            labelled=labelled,
            names=finder.names,
            unused=self._unused.get(name, ()),
        )

    def evaluation(
        self,
        name: str,
        tables: Sequence[Path],
        finder: ClipFinder,
        durations: Path | None = None,
        labelled: tuple[str, ...] | None = None,
    ) -> Evaluation | None:
        """A split with strong labels; None, with a note, where nothing of it can be used."""
        read = self._strong(name, tables, finder, labelled)
        if read is None:
            return None
        found, events, missing, faulty = read
        seconds, unknown = self.durations(name, durations, finder.names, found.values())
        found = {listed: path for listed, path in found.items() if finder.names[path] in seconds}
        if not found:
            return None
        return Evaluation(
            name,
            _paths(found),
            of_clips(events, seconds),
            seconds,
            missing,
            (*faulty, *unknown),
            labelled,
            names=finder.names,
            unused=self._unused.get(name, ()),
        )

    def match(
        self,
        name: str,
        listed: Sequence[str],
        finder: ClipFinder,
        faulty: Sequence[str] = (),
        where: Path | None = None,
    ) -> tuple[dict[str, Path], tuple[str, ...], tuple[str, ...]]:
        """The file of each listed clip whose labels are understood, and the names of the others.

        Returns:
            Listed name → file; names that are not there; names of clips whose labels cannot be
            used, because rows are faulty or names not clear.
        """
        unclear: Faults = {}
        loose: dict[str, str] = {}
        found, missing = finder.match(listed, where, unclear, loose)
        for text in by_base_name(loose):
            self.note(f"{name}: {text}")
        if unclear:
            self.note(
                f"{name}: {len(unclear)} names are not clear and left out "
                f"({next(iter(unclear.values()))})",
                lost=True,
            )
        out = {found[clip] for clip in faulty if clip in found}
        lost = [clip for clip in faulty if clip not in found and clip not in unclear]
        lost += [finder.names[path] for path in out]
        lost += [
            error.recordings[0] if len(error.recordings) == 1 else clip
            for clip, error in unclear.items()
        ]
        found = {clip: path for clip, path in found.items() if path not in out}
        missing = tuple(clip for clip in missing if clip not in faulty)
        if missing:
            self.note(
                f"{name}: {len(missing)} of {len(listed)} clips listed are missing "
                f"or empty files ({some(missing)})",
                lost=True,
            )
        return found, missing, tuple(dict.fromkeys(lost))

    def _strong(
        self,
        name: str,
        tables: Sequence[Path],
        finder: ClipFinder,
        labelled: tuple[str, ...] | None,
    ) -> tuple[dict[str, Path], dict[str, list[Event]], tuple[str, ...], tuple[str, ...]] | None:
        """Files of the clips that some tables list, their events, and missing and faulty clips."""
        rows: list[StrongRow] = []
        listed: dict[str, None] = {}
        faulty: list[str] = []
        stray: Counter[str] = Counter()
        for path in tables:
            table = self._table(name, path, strong_table)
            if table is None:
                return None
            for row in table.rows:
                known = self._classes((row.event.event_label,), path, row.line, labelled, stray)
                rows += [
                    row._replace(event=row.event._replace(event_label=label)) for label in known
                ]
            listed |= dict.fromkeys(table.listed)
            faulty += self._faulty(name, table)
        self._note_stray(name, stray)
        found, missing, lost = self.match(name, list(listed), finder, faulty, tables[0])
        events: dict[str, list[Event]] = {}
        for row in rows:
            if row.filename in found:
                events.setdefault(finder.names[found[row.filename]], []).append(row.event)
        return found, events, missing, lost

    def _table(self, name: str, path: Path, read: Callable[[Path], Table[R]]) -> Table[R] | None:
        try:
            table = read(path)
            known = self._unused.get(name, ())
            self._unused[name] = (*known, *unused_columns(table.columns, path))
            return table
        except LabelError as error:
            self.note(f"{name}: left out, its labels cannot be read ({error})", lost=True)
            return None

    def _faulty(self, name: str, table: Table[R]) -> tuple[str, ...]:
        """Names of the clips of rows that cannot be understood."""
        clips = tuple(dict.fromkeys(fault.filename for fault in table.faults if fault.filename))
        if table.faults:
            count, rows = len(table.faults), "row" if len(table.faults) == 1 else "rows"
            what = f"{len(clips)} of {len(table.listed)} clips" if clips else f"{count} {rows}"
            self.note(
                f"{name}: {what} left out, {count} {rows} of their labels cannot be understood "
                f"({table.faults[0].error})",
                lost=True,
            )
        return clips

    def _classes(
        self,
        labels: Iterable[str],
        path: Path,
        line: int,
        labelled: tuple[str, ...] | None,
        stray: Counter[str],
    ) -> tuple[str, ...]:
        """The classes of labels; those the source is not annotated for are counted as stray."""
        own = self.classes.many(labels, f"{path}:{line}")
        self.labels.update(own)
        if labelled is None:
            return own
        stray.update(label for label in own if label not in labelled)
        return tuple(label for label in own if label in labelled)

    def _note_stray(self, name: str, stray: Counter[str]) -> None:
        if stray:
            shown = ", ".join(f"{label} ({count})" for label, count in sorted(stray.items()))
            self.note(
                f"{name}: labels of classes that it is not `labelled` for are left aside: {shown}"
            )

    def durations(
        self, name: str, table: Path | None, names: Mapping[Path, str], clips: Iterable[Path]
    ) -> tuple[dict[str, float], tuple[str, ...]]:
        """Seconds by name, as listed, else from the header; and names of clips with neither.

        Args:
            name: Of the subset.
            table: Of durations.
            names: Of all clips of the subset's folders.
            clips: Those that count.
        """
        seconds, listed = dict[str, float](), dict[str, float]()
        read = None if table is None else self._table(f"durations of {name}", table, duration_table)
        if read is not None:
            unclear: Faults = {}
            known = RecordingNames.of_files(names, youtube_id).match(
                read.listed, where=table, faults=unclear
            )
            for error in unclear.values():
                self.note(f"{name}: durations are taken from the clips instead ({error})")
            listed = {
                known[row.filename]: row.seconds for row in read.rows if row.filename in known
            }
            for fault in read.faults:
                listed.pop(known.get(fault.filename, ""), None)
                self.note(f"{name}: a duration is taken from the clip instead ({fault.error})")
        unknown: list[str] = []
        for path in dict.fromkeys(clips):
            clip = names[path]
            try:
                seconds[clip] = listed[clip] if clip in listed else audio_info(path).seconds
            except AudioError as error:
                unknown.append(clip)
                self.note(f"{name}: {clip} is left out, it cannot be read ({error})", lost=True)
        return seconds, tuple(unknown)


@dataclass
class Subsets:
    """What was found of a dataset, before its clips are divided.

    Attributes:
        root: Its folder.
        reader: What it was read with.
        hint: What to do if there is too little.
        by_name: Unlabelled clips are labelled ones if their names agree.
        train: To learn from.
        splits: To be scored on.
        held_out: Kept from training by the dataset itself.
        durations: Table of durations of what is held out, by name.
        exclude: Table of clips not to train on.
    """

    root: Path
    reader: SubsetReader
    hint: str
    by_name: bool = False
    train: list[Source] = field(default_factory=list)
    splits: dict[str, Evaluation] = field(default_factory=dict)
    held_out: list[Source] = field(default_factory=list)
    durations: dict[str, Path] = field(default_factory=dict)
    exclude: Path | None = None

    def beside(self, base: Subsets) -> Subsets:
        """These and those of the dataset that they extend, which come first."""
        reader, above = self.reader, base.reader
        reader.labels |= above.labels
        reader.notes[:0], reader.damage[:0] = above.notes, above.damage
        reader.rows = above.rows | reader.rows
        return replace(
            self,
            by_name=base.by_name,
            train=[*base.train, *self.train],
            splits=base.splits | self.splits,
            held_out=[*base.held_out, *self.held_out],
            durations=base.durations | self.durations,
            exclude=self.exclude or base.exclude,
        )


def unlabelled_source(name: str, finder: ClipFinder, domain: Domain = "real") -> Source | None:
    """A source without labels: every recording in its folders; None where there is none."""
    clips = tuple(finder.clips)
    return Source("unlabelled", name, clips, domain=domain, names=finder.names) if clips else None


def relative(path: Path, root: Path) -> str:
    """A path within the dataset's folder, for messages."""
    return path.relative_to(root).as_posix() if path.is_relative_to(root) else str(path)


def some(names: Sequence[str], shown: int = 3) -> str:
    """The first few of many names."""
    return ", ".join(names[:shown]) + (", …" if len(names) > shown else "")


def _paths(found: Mapping[str, Path]) -> tuple[Path, ...]:
    return tuple(dict.fromkeys(found.values()))
