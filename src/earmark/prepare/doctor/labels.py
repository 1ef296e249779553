"""What is wrong with label tables, row by row."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping
from difflib import SequenceMatcher
from itertools import combinations, pairwise
from pathlib import Path
from typing import Any

from earmark.core.errors import LabelError
from earmark.core.tables.label_tables import (
    DURATION_COLUMNS,
    EVENT_COLUMNS,
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
from earmark.prepare.doctor.parts import Part

END_SLACK = 0.25
"""Seconds by which an event may outlast its clip before it is told: annotators round."""
_ALIKE = 0.85
_FAULTS = (
    ("is not a number", "bad-number"),
    ("needs onset, offset", "incomplete-event"),
    ("without a file name", "no-file-name"),
    ("same base name", "same-base-name"),
    ("class name", "bad-class-name"),
)


class Labels:
    """The labels of a part, checked.

    Attributes:
        listed: Names of its clips.
        events: Rows of strong labels by clip.
        classes: Number of labels by class, as they are spelt.
        first: Where each class stands first.
    """

    def __init__(self) -> None:
        self.listed: list[str] = []
        self.events: dict[str, list[tuple[Path, StrongRow]]] = {}
        self.classes: Counter[str] = Counter()
        self.first: dict[str, tuple[str, int]] = {}


def check_labels(part: Part, classes: Classes, found: Findings, show: Any) -> Labels:
    """Read the tables of a part and note what is wrong with their rows."""
    labels, listed = Labels(), dict[str, None]()
    for path in part.tables:
        try:
            table: Table[Any] = (weak_table if part.kind == "weak" else strong_table)(path)
        except LabelError as error:
            found.add("bad-table", part.name, show(path), 0, error.what)
            continue
        known = WEAK_COLUMNS if part.kind == "weak" else EVENT_COLUMNS
        _check_columns(part, path, table.columns, known, found, show)
        for fault in table.faults:
            found.add(_kind_of(fault), part.name, show(path), fault.line, fault.error.what)
        listed |= dict.fromkeys(table.listed)
        rows = _check_weak if part.kind == "weak" else _check_strong
        rows(part, path, table.rows, labels, found, show)
        for row in table.rows:
            for label in row.labels if part.kind == "weak" else (row.label,):
                labels.first.setdefault(label, (show(path), row.line))
                try:
                    classes.of(label)
                except LabelError as error:
                    found.add("unknown-class", part.name, show(path), row.line, error.what)
    labels.listed = list(listed)
    return labels


def _check_columns(
    part: Part, path: Path, columns: Iterable[str], known: Iterable[str], found: Findings, show: Any
) -> None:
    extra = [column or "(no name)" for column in columns if column not in known]
    if extra:
        found.add("unknown-column", part.name, show(path), 1, ", ".join(extra))


def _kind_of(fault: Fault) -> str:
    what = fault.error.what
    times = re.match(r"an event from (\S+) s to", what)
    if times:
        return "negative-times" if float(times.group(1)) < 0 else "inverted-times"
    return next((kind for text, kind in _FAULTS if text in what), "bad-row")


def _check_strong(
    part: Part,
    path: Path,
    rows: Iterable[StrongRow],
    labels: Labels,
    found: Findings,
    show: Any,
) -> None:
    seen: dict[tuple[Any, ...], int] = {}
    by_class: dict[tuple[str, str], list[StrongRow]] = {}
    for row in rows:
        labels.classes[row.label] += 1
        labels.events.setdefault(row.filename, []).append((path, row))
        if row.offset == row.onset:
            detail = f"{row.label} of {row.filename}"
            found.add("zero-length", part.name, show(path), row.line, detail)
        if row[1:] in seen:
            detail = f"as line {seen[row[1:]]}"
            found.add("duplicate-row", part.name, show(path), row.line, detail)
            continue
        seen[row[1:]] = row.line
        by_class.setdefault((row.filename, row.label), []).append(row)
    for (clip, label), own in by_class.items():
        own.sort(key=lambda row: row.onset)
        for one, other in pairwise(own):
            if other.onset < one.offset:
                detail = f"{label} of {clip}, with line {one.line}"
                found.add("overlap", part.name, show(path), other.line, detail)


def _check_weak(
    part: Part, path: Path, rows: Iterable[WeakRow], labels: Labels, found: Findings, show: Any
) -> None:
    seen: dict[str, int] = {}
    for row in rows:
        labels.classes.update(row.labels)
        if row.filename in seen:
            found.add(
                "duplicate-row", part.name, show(path), row.line, f"as line {seen[row.filename]}"
            )
        seen.setdefault(row.filename, row.line)
        if not row.labels:
            found.add("no-labels", part.name, show(path), row.line, row.filename)


def check_durations(part: Part, found: Findings, show: Any) -> dict[str, float]:
    """Seconds by name as a part's table lists them."""
    if part.durations is None:
        return {}
    try:
        table = duration_table(part.durations)
    except LabelError as error:
        found.add("bad-table", part.name, show(part.durations), 0, error.what)
        return {}
    _check_columns(part, part.durations, table.columns, DURATION_COLUMNS, found, show)
    for fault in table.faults:
        found.add("bad-duration", part.name, show(part.durations), fault.line, fault.error.what)
    return {row.filename: row.seconds for row in table.rows}


def check_classes(parts: Mapping[str, Labels], found: Findings) -> None:
    """Class names that are nearly alike, over all parts."""
    total: Counter[str] = Counter()
    for own in parts.values():
        total.update(own.classes)
    for one, other in combinations(sorted(total), 2):
        if _plain(one) == _plain(other) or (
            min(len(one), len(other)) > 4
            and SequenceMatcher(None, _plain(one), _plain(other)).ratio() >= _ALIKE
        ):
            rare, usual = sorted((one, other), key=lambda name: total[name])
            where = next(own.first[rare] for own in parts.values() if rare in own.first)
            detail = f"{rare!r} ({total[rare]} times) and {usual!r} ({total[usual]} times)"
            found.add("alike-classes", "", *where, detail)


def _plain(name: str) -> str:
    return re.sub(r"[\s_\-]+", "_", unicodedata.normalize("NFKC", name).strip().casefold())
