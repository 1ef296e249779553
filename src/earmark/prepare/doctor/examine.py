"""The examination of a dataset: subset by subset, then what they have in common."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from earmark.core.audio.folders import list_audio
from earmark.core.errors import EarmarkError
from earmark.core.naming import Faults
from earmark.core.parallel import Progress
from earmark.core.timeline import SAMPLE_RATE
from earmark.data.classes import Classes
from earmark.data.clips import ClipFinder, KnownRecordings, promised_seconds
from earmark.data.desed import CLASSES
from earmark.data.issues import is_long
from earmark.data.manifest import load_manifest
from earmark.data.reading import relative
from earmark.data.subsets import size_of
from earmark.prepare.doctor.catalogue import SEVERITIES, Finding, Findings
from earmark.prepare.doctor.labels import (
    Labels,
    check_classes,
    check_durations,
    check_labels,
)
from earmark.prepare.doctor.recordings import Facts, FactsCache, inspect_all
from earmark.prepare.doctor.subsets import SubsetFiles, subsets_of
from earmark.score.issues import late

WINDOW = 10.0
_RATES = (8_000, 11_025, 22_050, 32_000, 44_100, 48_000, 96_000)
_QUIET = 2.0 / 32768.0
_CLIPPED = 1e-3
_DURATION_SLACK = 0.1

_OF_DESED = re.compile(r"^Y?[\w-]{11}_\d+\.\d{3}_\d+\.\d{3}$")
"""Names of its real clips: an identifier of eleven characters, first and last second."""
Note = Callable[..., None]
"""Notes a finding in a subset: file, kind, detail, line."""


@dataclass(frozen=True)
class SubsetSummary:
    """Counts of a subset."""

    name: str
    kind: str
    split: bool
    listed: int
    found: int
    usable: int
    seconds: float
    labels: Mapping[str, int]
    published: tuple[int, int] | None


@dataclass
class Diagnosis:
    """What the doctor found.

    Attributes:
        root: The dataset's folder.
        content: Whether samples were decoded, not headers alone.
        recordings: Recordings in all.
        inspected: Recordings read in this run; of the others the facts were known.
        subsets: Counts.
        findings: Worst first.
        exclude: Name, source and reason of clips not to train on.
        fingerprint: Of the dataset as training uses it; None where it cannot be used.
        desed: Whether it is DESED, or some of it: most of its ten classes, and its file names or
            numbers of clips.
    """

    root: Path
    content: bool
    recordings: int
    inspected: int
    subsets: list[SubsetSummary] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)
    exclude: list[tuple[str, str, str]] = field(default_factory=list)
    fingerprint: str | None = None
    desed: bool = False

    @property
    def healthy(self) -> bool:
        """Whether there is no error."""
        return not any(finding.severity == "error" for finding in self.findings)

    def to_dict(self) -> dict[str, Any]:
        """All of it, fit for JSON; ``parts`` is the name that version 0.1 gave to subsets."""
        counts = Counter(finding.severity for finding in self.findings)
        return {
            "healthy": self.healthy,
            "fingerprint": self.fingerprint,
            "recordings": self.recordings,
            "inspected": self.inspected,
            "content": self.content,
            "counts": {severity: counts[severity] for severity in SEVERITIES},
            "parts": [vars(subset) for subset in self.subsets],
            "findings": [finding.to_dict() for finding in self.findings],
        }


def examine(
    data: str | Path,
    *,
    content: bool = True,
    workers: int = 1,
    cache: Path | None = None,
    progress: Progress | None = None,
) -> Diagnosis:
    """Examine a dataset; nothing of it is changed.

    Args:
        data: A folder in DESED's layout, or a YAML file that describes a dataset.
        content: Decode the recordings; else only their headers are read.
        workers: Processes.
        cache: File of facts from runs before; None for none.
        progress: Called with (recordings done, recordings in all).

    Raises:
        EarmarkError: There is no such dataset, or its description has a mistake.
    """
    root, classes, subsets = subsets_of(Path(data))
    finders = {subset.name: ClipFinder(subset.folders) for subset in subsets}
    paths = list(dict.fromkeys(path for finder in finders.values() for path in finder.clips))
    found, facts = Findings(root), FactsCache(cache)
    try:
        inspected = inspect_all(paths, facts, content, workers, progress)
        diagnosis = Diagnosis(root, content, len(paths), inspected)
        _Examination(diagnosis, found, classes, subsets, finders, facts).run()
    finally:
        facts.close()
    del finders, paths  # the names of all clips take memory, which the manifest needs next
    try:
        diagnosis.fingerprint = load_manifest(data).fingerprint
    except EarmarkError as error:
        found.add("", str(data), "not-usable", str(error))
    diagnosis.findings = found.worst_first()
    return diagnosis


@dataclass
class _Examination:
    """What is remembered while the subsets are examined.

    Attributes:
        diagnosis: Its ``subsets`` and ``exclude`` are filled.
        found: The findings, which are added to.
        scored: Digest of a recording that is scored on → split and file.
        trained: Digest of a training recording → source and file.
        labels: Subset → its labels.
    """

    diagnosis: Diagnosis
    found: Findings
    classes: Classes
    subsets: list[SubsetFiles]
    finders: Mapping[str, ClipFinder]
    facts: FactsCache
    scored: dict[str, tuple[str, Path]] = field(default_factory=dict)
    trained: dict[str, tuple[str, Path]] = field(default_factory=dict)
    labels: dict[str, Labels] = field(default_factory=dict)

    def run(self) -> None:
        """Examine all subsets; splits come first, so that training is compared with them."""
        for subset in self.subsets:
            self._examine(subset, partial(self.found.add, subset.name))
        check_classes(self.labels, self.found)
        self._check_coverage()

    def _examine(self, subset: SubsetFiles, note: Note) -> None:
        finder = self.finders[subset.name]
        if subset.kind != "unlabelled" and not (subset.tables or subset.negatives):
            for folder in subset.folders:
                note(folder, "no-table", f"{subset.wanted} is not there")
        labels = check_labels(subset, self.classes, self.found)
        self.labels[subset.name] = labels
        listed, missing = self._matched(subset, labels.listed, note)
        self._check_presence(subset, listed, missing, note)
        names: dict[Path, list[str]] = {}
        for name, path in listed.items():
            names.setdefault(path, []).append(name)
        durations = check_durations(subset, self.found)
        placed, _ = self._matched(subset, durations, note, subset.durations)
        seconds_of = {path: durations[name] for name, path in placed.items()}
        usable, seconds = 0, 0.0
        for path in finder.clips:
            gone = Facts("unreadable", "it is gone")
            facts = self.facts.known(path, self.diagnosis.content) or gone
            if facts.fault:
                note(path, facts.fault, facts.why)
                continue
            usable += 1
            seconds += facts.seconds
            for kind, detail in _oddities(path, facts):
                if kind == "too-long" and subset.kind == "weak":
                    kind = "weak-too-long"
                if kind != "too-long" or not subset.split:  # those are scored in windows
                    note(path, kind, detail)
            for name in names.get(path, ()):
                _check_events(name, facts.seconds, labels, note)
            if path in names:
                self._check_duration(subset, path, facts.seconds, seconds_of.get(path), note)
            if facts.digest:
                self._check_doubles(subset, path, facts.digest, note)
        labels.events.clear()  # memory for one subset's labels at a time
        if not subset.split:
            self._check_names(subset, note)
        counts = (len(labels.listed), len(finder.clips), usable, round(seconds, 3))
        classes = dict(sorted(labels.classes.items()))
        self.diagnosis.subsets.append(
            SubsetSummary(
                subset.name, subset.kind, subset.split, *counts, classes, subset.published
            )
        )

    def _matched(
        self, subset: SubsetFiles, names: Iterable[str], note: Note, table: Path | None = None
    ) -> tuple[dict[str, Path], tuple[str, ...]]:
        """The clips that names mean, and the names of none; those that are not clear are noted."""
        unclear: Faults = {}
        matched = self.finders[subset.name].match(names, faults=unclear, loose={})
        lines = self.labels[subset.name].lines
        for name, error in unclear.items():
            path, line = (table, None) if table else lines.get(name, (subset.tables[0], None))
            note(path, "same-base-name", error.what, line)
        return matched

    def _check_duration(
        self, subset: SubsetFiles, path: Path, seconds: float, listed: float | None, note: Note
    ) -> None:
        name = self.finders[subset.name].names[path]
        if subset.durations is None:
            return
        if listed is None:
            note(subset.durations, "no-duration", name)
        elif abs(listed - seconds) > _DURATION_SLACK:
            detail = f"{name}: {listed:g} s listed, {seconds:.3f} s in the file"
            note(subset.durations, "duration-differs", detail)

    def _check_presence(
        self, subset: SubsetFiles, listed: Mapping[str, Path], missing: tuple[str, ...], note: Note
    ) -> None:
        clips = self.finders[subset.name].clips
        hollow: set[str] = set()
        seen: dict[tuple[Path, str], Path] = {}
        for path in (path for folder in subset.folders for path in list_audio(folder)):
            key = (path.parent, path.stem)
            if key in seen and size_of(path):
                note(path, "same-name", f"beside {seen[key].name}")
            seen.setdefault(key, path)
            if not size_of(path):
                note(path, "empty-file" if path.exists() else "dangling-link")
                hollow.add(path.stem)
        for path, why in subset.stray_files().items():
            note(path, "other-files", why)
        if not clips and (subset.tables or subset.negatives or subset.kind == "unlabelled"):
            folders = ", ".join(relative(folder, self.found.root) for folder in subset.folders)
            note(folders or subset.name, "no-recordings", f"{len(missing)} are listed")
        table = relative(subset.tables[0], self.found.root) if subset.tables else ""
        for name in missing:
            if Path(name).stem not in hollow:
                note(name, "missing", f"listed in {table}")
        if subset.kind != "unlabelled" and subset.tables and (listed or not subset.negatives):
            meant = set(listed.values())
            for path in clips:
                if path not in meant:
                    note(path, "not-listed", f"not in {table}")

    def _check_doubles(self, subset: SubsetFiles, path: Path, digest: str, note: Note) -> None:
        """Recordings with the audio of another one, in this subset or in another."""
        leaks = not subset.split and digest in self.scored
        own = self.scored if subset.split or leaks else self.trained
        name, other = own.setdefault(digest, (subset.name, path))
        if other == path or (leaks and KnownRecordings([other]).has(path)):
            return
        detail = f"the same as {relative(other, self.found.root)}"
        if name == subset.name:
            note(path, "duplicate-audio", detail)
        else:
            detail += f" of {name}"
            note(path, "leak-by-content" if leaks else "shared-content", detail)
        if not subset.split:
            name = self.finders[subset.name].names[path]
            self.diagnosis.exclude.append((name, subset.name, detail))

    def _check_names(self, subset: SubsetFiles, note: Note) -> None:
        """Training clips that a split lists; they are left out by name, there or not."""
        for other in self.subsets:
            if other.split:
                recordings = KnownRecordings(self.finders[other.name].clips)
                for path in self.finders[subset.name].clips:
                    if recordings.has(path):
                        note(path, "leak-by-name", f"in {other.name}")

    def _check_coverage(self) -> None:
        trained, scored = Counter[str](), dict[str, tuple[Path, int]]()
        for subset in self.subsets:
            labels = self.labels[subset.name]
            if subset.split:
                scored = labels.first | scored
            else:
                trained.update(labels.classes)
        for label, (path, line) in sorted(scored.items()):
            if trained and label not in trained:
                self.found.add("", path, "never-trained", label, line)
        for label in sorted(set(self.classes.names or ()) - {*trained, *scored}):
            if trained:
                self.found.add("", self.found.root, "never-trained", label)
        known = {*trained, *scored}
        self.diagnosis.desed = self._is_desed(known)
        if self.diagnosis.desed:
            for name, labels in self.labels.items():
                for label, (path, line) in labels.first.items():
                    if label not in CLASSES:
                        self.found.add(name, path, "foreign-class", label, line)

    def _is_desed(self, known: Collection[str]) -> bool:
        if self.classes.names is not None or len(set(known) & set(CLASSES)) <= len(CLASSES) // 2:
            return False
        counted = any(
            subset.published and subset.published[0] <= subset.found <= subset.published[1]
            for subset in self.diagnosis.subsets
        )
        names = (name for finder in self.finders.values() for name in finder.names.values())
        return counted or any(_OF_DESED.search(Path(name).stem) for name in names)


def _check_events(name: str, seconds: float, labels: Labels, note: Note) -> None:
    for table, row in labels.events.get(name, ()):
        if found := late(name, row.event, seconds):
            note(table, *found, row.line)


def _oddities(path: Path, facts: Facts) -> Iterator[tuple[str, str]]:
    """Kinds of findings about a readable recording, with details."""
    seconds, rate = facts.seconds, facts.rate
    promised = promised_seconds(path.name) or WINDOW
    speeds = [SAMPLE_RATE / other for other in _RATES] + [other / SAMPLE_RATE for other in _RATES]
    wrong = rate == SAMPLE_RATE and any(
        abs(seconds / promised / speed - 1) < 0.01 for speed in speeds if abs(speed - 1) > 0.3
    )
    if wrong and promised_seconds(path.name):
        yield "wrong-speed", f"{seconds:.2f} s at {rate} Hz, its name says {promised:g} s"
    elif is_long(seconds, WINDOW):
        yield "too-long", f"{seconds:.2f} s"
    elif seconds < 0.5 or (promised_seconds(path.name) and seconds < promised - 1.0):
        yield "too-short", f"{seconds:.2f} s"
    if rate != SAMPLE_RATE and any(folder.name.endswith("_16k") for folder in path.parents):
        yield "wrong-rate", f"{rate} Hz"
    elif rate < SAMPLE_RATE:
        yield "low-rate", f"{rate} Hz"
    if facts.cancelled:
        yield "cancelled", f"{facts.channels} channels"
    elif 0.0 <= facts.peak <= _QUIET:
        yield "silent", ""
    if facts.channels > 1 and not facts.cancelled:
        yield "several-channels", f"{facts.channels}"
    if facts.clipped > _CLIPPED:
        yield "clipped", f"{100 * facts.clipped:.1f} % of it"
