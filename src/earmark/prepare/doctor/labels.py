"""What is wrong with label tables, row by row."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping
from difflib import SequenceMatcher
from functools import partial
from itertools import combinations, pairwise
from pathlib import Path
from typing import Any

from earmark.core.errors import LabelError
from earmark.core.event import EVENT_COLUMNS
from earmark.core.tables.label_tables import (
    DURATION_COLUMNS,
    WEAK_COLUMNS,
    Fault,
    StrongRow,
    Table,
    WeakRow,
    duration_table,
    strong_table,
    weak_table,
)
from earmark.data.classes import Classes
from earmark.prepare.doctor.catalogue import Findings
from earmark.prepare.doctor.subsets import SubsetFiles
from earmark.score.issues import is_confidence, plain

Note = Callable[[str, str, int], None]
"""Notes a finding in a table: kind, detail, line."""


_ALIKE = 0.85
_FAULTS = (
    ("is not a number", "bad-number"),
    ("needs onset, offset", "incomplete-event"),
    ("without a file name", "no-file-name"),
    ("class name", "bad-class-name"),
)


class Labels:
    """The labels of a subset, checked.

    Attributes:
        listed: Names of its clips.
        lines: Table and line of a row with each name.
        events: Rows of strong labels by clip, each with its table.
        classes: Number of labels by class, as they are spelt.
        first: Table and line where each class occurs first.
    """

    def __init__(self) -> None:
        self.listed: list[str] = []
        self.lines: dict[str, tuple[Path, int | None]] = {}
        self.events: dict[str, list[tuple[Path, StrongRow]]] = {}
        self.classes: Counter[str] = Counter()
        self.first: dict[str, tuple[Path, int]] = {}


def check_labels(subset: SubsetFiles, classes: Classes, found: Findings) -> Labels:
    """Read the tables of a subset and note what is wrong with their rows."""
    labels, listed, weak = Labels(), dict[str, None](), subset.kind == "weak"
    for path in subset.tables:
        note = partial(found.add, subset.name, path)
        try:
            table: Table[Any] = (weak_table if weak else strong_table)(path)
        except LabelError as error:
            note("bad-table", error.what)
            continue
        _check_columns(table.columns, WEAK_COLUMNS if weak else EVENT_COLUMNS, note)
        for fault in table.faults:
            note(_kind_of(fault), fault.error.what, fault.line)
        listed |= dict.fromkeys(table.listed)
        if weak:
            _check_weak(table.rows, note)
        else:
            _check_strong(table.rows, note)
        for row in table.rows:
            labels.lines[row.filename] = (path, row.line)
            if not weak:
                labels.events.setdefault(row.filename, []).append((path, row))
            for label in row.labels if weak else (row.event.event_label,):
                labels.classes[label] += 1
                labels.first.setdefault(label, (path, row.line))
                try:
                    classes.of(label)
                except LabelError as error:
                    note("unknown-class", error.what, row.line)
    if not (weak or subset.negatives) and listed and not labels.events:
        found.add(subset.name, subset.tables[0], "no-events", f"{len(listed)} clips")
    labels.listed = list(listed)
    return labels


def _check_columns(columns: Iterable[str], known: Collection[str], note: Note) -> None:
    extra = [column or "(no name)" for column in columns if column not in known]
    for column in filter(is_confidence, extra):
        note("unused-confidence", column, 1)
    extra = [column for column in extra if not is_confidence(column)]
    if extra:
        note("unknown-column", ", ".join(extra), 1)


def _kind_of(fault: Fault) -> str:
    what = fault.error.what
    times = re.match(r"an event from (\S+) s to", what)
    if times:
        return "negative-times" if float(times.group(1)) < 0 else "inverted-times"
    return next((kind for text, kind in _FAULTS if text in what), "bad-row")


def _check_strong(rows: Iterable[StrongRow], note: Note) -> None:
    seen: dict[tuple[Any, ...], int] = {}
    by_class: dict[tuple[str, str], list[StrongRow]] = {}
    for row in rows:
        event = row.event
        if event.offset == event.onset:
            note("zero-length", f"{event.event_label} of {row.filename}", row.line)
        if row[1:] in seen:
            note("duplicate-row", f"as line {seen[row[1:]]}", row.line)
            continue
        seen[row[1:]] = row.line
        by_class.setdefault((row.filename, event.event_label), []).append(row)
    for (clip, label), own in by_class.items():
        own.sort(key=lambda row: row.event.onset)
        for one, other in pairwise(own):
            if other.event.onset < one.event.offset:
                note("overlap", f"{label} of {clip}, with line {one.line}", other.line)


def _check_weak(rows: Iterable[WeakRow], note: Note) -> None:
    seen: dict[str, int] = {}
    for row in rows:
        if row.filename in seen:
            note("duplicate-row", f"as line {seen[row.filename]}", row.line)
        seen.setdefault(row.filename, row.line)
        if not row.labels:
            note("no-labels", row.filename, row.line)


def check_durations(subset: SubsetFiles, found: Findings) -> dict[str, float]:
    """Seconds by name as a subset's table lists them."""
    if subset.durations is None:
        return {}
    note = partial(found.add, subset.name, subset.durations)
    try:
        table = duration_table(subset.durations)
    except LabelError as error:
        note("bad-table", error.what)
        return {}
    _check_columns(table.columns, DURATION_COLUMNS, note)
    for fault in table.faults:
        note("bad-duration", fault.error.what, fault.line)
    return {row.filename: row.seconds for row in table.rows}


def check_classes(labels: Mapping[str, Labels], found: Findings) -> None:
    """Class names that are nearly alike, over the labels of all subsets."""
    total: Counter[str] = Counter()
    for own in labels.values():
        total.update(own.classes)
    for one, other in combinations(sorted(total), 2):
        if plain(one) == plain(other) or (
            min(len(one), len(other)) > 4
            and SequenceMatcher(None, plain(one), plain(other)).ratio() >= _ALIKE
        ):
            rare, usual = sorted((one, other), key=lambda name: total[name])
            path, line = next(own.first[rare] for own in labels.values() if rare in own.first)
            detail = f"{rare!r} ({total[rare]} times) and {usual!r} ({total[usual]} times)"
            found.add("", path, "alike-classes", detail, line)
