"""The examination of a dataset: parts one by one, then what they have in common."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from earmark.core.audio.audio import SUFFIXES, list_audio
from earmark.core.errors import EarmarkError
from earmark.core.timeline import SAMPLE_RATE
from earmark.data.classes import Classes
from earmark.data.clips import ClipFinder, Recordings, promised_seconds
from earmark.data.desed import CLASSES
from earmark.data.manifest import load_manifest
from earmark.data.reading import relative
from earmark.data.subsets import size_of
from earmark.prepare.doctor.catalogue import SEVERITIES, Finding, Findings
from earmark.prepare.doctor.labels import (
    END_SLACK,
    Labels,
    check_classes,
    check_durations,
    check_labels,
)
from earmark.prepare.doctor.parts import Part, parts_of
from earmark.prepare.doctor.recordings import Facts, FactsCache, Progress, inspect_all

WINDOW = 10.0
_RATES = (8_000, 11_025, 22_050, 32_000, 44_100, 48_000, 96_000)
_QUIET = 2.0 / 32768.0
_CLIPPED = 1e-3
_DURATION_SLACK = 0.1


@dataclass(frozen=True)
class PartSummary:
    """Counts of a part."""

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
        fingerprint: Of the dataset as training uses it; None where it cannot be used.
        parts: Counts.
        findings: Worst first.
        inspected: Recordings looked at in this run; of the others the facts were known.
        recordings: Recordings in all.
        content: Whether samples were looked at, not headers alone.
        exclude: Name, source and reason of clips not to train on.
    """

    root: Path
    fingerprint: str | None
    parts: list[PartSummary]
    findings: list[Finding]
    inspected: int
    recordings: int
    content: bool
    exclude: list[tuple[str, str, str]] = field(default_factory=list)

    @property
    def healthy(self) -> bool:
        """Whether there is no error."""
        return not any(finding.severity == "error" for finding in self.findings)

    def to_dict(self) -> dict[str, Any]:
        """All of it, fit for JSON."""
        counts = Counter(finding.severity for finding in self.findings)
        return {
            "healthy": self.healthy,
            "fingerprint": self.fingerprint,
            "recordings": self.recordings,
            "inspected": self.inspected,
            "content": self.content,
            "counts": {severity: counts[severity] for severity in SEVERITIES},
            "parts": [vars(part) for part in self.parts],
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
    """Look a dataset over; nothing of it is changed.

    Args:
        data: A folder in DESED's layout, or a YAML file that describes a dataset.
        content: Decode the recordings; else only their headers are read.
        workers: Processes.
        cache: File of facts from runs before; None for none.
        progress: Called with (recordings done, recordings in all).

    Raises:
        EarmarkError: There is no such dataset, or its description has a mistake.
    """
    root, classes, parts = parts_of(Path(data))
    facts = FactsCache(cache)
    try:
        found, diagnosis = _look(root, classes, parts, facts, content, workers, progress)
    finally:
        facts.close()
    try:
        diagnosis.fingerprint = load_manifest(data).fingerprint
    except EarmarkError as error:
        found.add("not-usable", "", str(data), 0, str(error))
    diagnosis.findings = found.worst_first()
    return diagnosis


def _look(
    root: Path,
    classes: Classes,
    parts: list[Part],
    facts: FactsCache,
    content: bool,
    workers: int,
    progress: Progress | None,
) -> tuple[Findings, Diagnosis]:
    """Findings and counts; the names of all clips, which take memory, are forgotten after it."""
    finders = {part.name: ClipFinder(part.folders) for part in parts}
    paths = list(dict.fromkeys(path for finder in finders.values() for path in finder.clips))
    inspected = inspect_all(paths, facts, content, workers, progress)
    rounds = _Examination(root, classes, parts, finders, facts, content)
    rounds.run()
    diagnosis = Diagnosis(
        root, None, rounds.summaries, [], inspected, len(paths), content, rounds.exclude
    )
    return rounds.found, diagnosis


class _Examination:
    """What is remembered while the parts are looked at: digests by part, and findings."""

    def __init__(
        self,
        root: Path,
        classes: Classes,
        parts: list[Part],
        finders: Mapping[str, ClipFinder],
        facts: FactsCache,
        content: bool,
    ) -> None:
        self.root, self.classes, self.parts = root, classes, parts
        self.finders, self.facts, self.content = finders, facts, content
        self.found = Findings()
        self.summaries: list[PartSummary] = []
        self.exclude: list[tuple[str, str, str]] = []
        self._scored: dict[str, tuple[str, Path]] = {}
        self._trained: dict[str, tuple[str, Path]] = {}
        self._labels: dict[str, Labels] = {}

    def run(self) -> None:
        """Look at all parts; splits come first, so that training is compared with them."""
        for part in self.parts:
            self._part(part)
        check_classes(self._labels, self.found)
        self._check_coverage()

    def show(self, path: Path) -> str:
        """A path within the dataset's folder, as it is shown."""
        return relative(path, self.root)

    def _part(self, part: Part) -> None:
        finder = self.finders[part.name]
        if part.kind != "unlabelled" and not part.tables:
            detail = f"{part.wanted} is not there"
            for folder in part.folders:
                self.found.add("no-table", part.name, self.show(folder), 0, detail)
        labels = check_labels(part, self.classes, self.found, self.show)
        self._labels[part.name] = labels
        durations = check_durations(part, self.found, self.show)
        listed, missing = finder.match(labels.listed)
        self._check_presence(part, finder, listed, missing)
        names = {path: name for name, path in listed.items()}
        usable, seconds = 0, 0.0
        for path in finder.clips:
            facts = self.facts.known(path, self.content) or Facts("unreadable", "it is gone")
            if facts.fault:
                self.found.add(facts.fault, part.name, self.show(path), 0, facts.why)
                continue
            usable += 1
            seconds += facts.seconds
            self._check_recording(part, path, facts)
            if path in names:
                self._check_times(part, names[path], path, facts, labels, durations)
            if facts.digest:
                self._check_doubles(part, path, facts.digest)
        labels.events.clear()  # memory for one part's labels at a time
        self._check_names(part)
        self.summaries.append(
            PartSummary(
                part.name,
                part.kind,
                part.split,
                len(labels.listed),
                len(finder.clips),
                usable,
                round(seconds, 3),
                dict(sorted(labels.classes.items())),
                part.published,
            )
        )

    def _check_presence(
        self, part: Part, finder: ClipFinder, listed: Mapping[str, Path], missing: tuple[str, ...]
    ) -> None:
        hollow: set[str] = set()
        seen: dict[tuple[Path, str], Path] = {}
        for folder in part.folders:
            for path in list_audio(folder):
                key = (path.parent, path.stem)
                if key in seen and size_of(path):
                    detail = f"beside {seen[key].name}"
                    self.found.add("same-name", part.name, self.show(path), 0, detail)
                seen.setdefault(key, path)
                if not size_of(path):
                    kind = "empty-file" if path.exists() else "dangling-link"
                    self.found.add(kind, part.name, self.show(path))
                    hollow.add(path.stem)
        known = f"known: {' '.join(SUFFIXES)}"
        for path in part.stray_files():
            self.found.add("other-files", part.name, self.show(path), 0, known)
        table = self.show(part.tables[0]) if part.tables else ""
        if not finder.clips and (part.tables or part.kind == "unlabelled"):
            where = ", ".join(map(self.show, part.folders)) or part.name
            self.found.add("no-recordings", part.name, where, 0, f"{len(missing)} are listed")
        for name in missing:
            if Path(name).stem not in hollow:
                self.found.add("missing", part.name, name, 0, f"listed in {table}")
        if part.kind != "unlabelled" and part.tables:
            meant = set(listed.values())
            for path in finder.clips:
                if path not in meant:
                    self.found.add("not-listed", part.name, self.show(path), 0, f"not in {table}")

    def _check_recording(self, part: Part, path: Path, facts: Facts) -> None:
        for kind, detail in _oddities(path, facts):
            self.found.add(kind, part.name, self.show(path), 0, detail)

    def _check_times(
        self,
        part: Part,
        name: str,
        path: Path,
        facts: Facts,
        labels: Labels,
        durations: Mapping[str, float],
    ) -> None:
        for table, row in labels.events.get(name, ()):
            span = f"from {row.onset:g} s to {row.offset:g} s of {facts.seconds:.2f} s"
            detail = f"{row.label} of {name} {span}"
            kind = "after-end" if row.onset >= facts.seconds else "beyond-end"
            if row.onset >= facts.seconds or row.offset > facts.seconds + END_SLACK:
                self.found.add(kind, part.name, self.show(table), row.line, detail)
        if part.durations is None:
            return
        seconds = durations.get(name)
        if seconds is None:
            self.found.add("no-duration", part.name, self.show(part.durations), 0, name)
        elif abs(seconds - facts.seconds) > _DURATION_SLACK:
            detail = f"{path.name}: {seconds:g} s listed, {facts.seconds:.3f} s in the file"
            self.found.add("duration-differs", part.name, self.show(part.durations), 0, detail)

    def _check_doubles(self, part: Part, path: Path, digest: str) -> None:
        if not part.split and digest in self._scored:
            name, other = self._scored[digest]
            if other != path and not Recordings([other]).has(path):
                detail = f"the same as {self.show(other)} of {name}"
                self.found.add("leak-by-content", part.name, self.show(path), 0, detail)
                self.exclude.append((path.name, part.name, detail))
            return
        own = self._scored if part.split else self._trained
        name, other = own.setdefault(digest, (part.name, path))
        if other == path:
            return
        detail = f"the same as {self.show(other)}"
        if name == part.name:
            self.found.add("duplicate-audio", part.name, self.show(path), 0, detail)
        else:
            self.found.add("shared-content", part.name, self.show(path), 0, f"{detail} of {name}")
        if not part.split:
            self.exclude.append((path.name, part.name, detail))

    def _check_names(self, part: Part) -> None:
        """Training clips that a split lists; they are left out by name, there or not."""
        if part.split:
            return
        for other in self.parts:
            if other.split:
                recordings = Recordings(self.finders[other.name].clips)
                for path in self.finders[part.name].clips:
                    if recordings.has(path):
                        detail = f"in {other.name}"
                        self.found.add("leak-by-name", part.name, self.show(path), 0, detail)

    def _check_coverage(self) -> None:
        trained, scored = Counter[str](), dict[str, tuple[str, int]]()
        for part in self.parts:
            labels = self._labels[part.name]
            if part.split:
                scored = labels.first | scored
            else:
                trained.update(labels.classes)
        for label, where in sorted(scored.items()):
            if trained and label not in trained:
                self.found.add("never-trained", "", *where, label)
        known = {*trained, *scored}
        if self.classes.names is None and len(known & set(CLASSES)) > len(CLASSES) // 2:
            for part in self.parts:
                for label, where in self._labels[part.name].first.items():
                    if label not in CLASSES:
                        self.found.add("foreign-class", part.name, *where, label)


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
    elif seconds > WINDOW + 0.5:
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
