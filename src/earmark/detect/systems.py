"""Systems measured: tables or events on the way to their figures, and what ``earmark score`` does.

A system is anything that left score tables or events. Its classes are renamed, its scores
post-processed and decided, and it is measured on one truth.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from earmark.core.errors import ScoreError
from earmark.core.event import Event
from earmark.core.parallel import Progress, tracked
from earmark.core.tables.scores import ScoreTable, common_labels
from earmark.detect.postprocess import filter_table, post_process
from earmark.detect.postprocess_spec import PostProcess
from earmark.score.bootstrap import Statistics
from earmark.score.classes import ScoredClasses, events_to_scores
from earmark.score.events import check_clips
from earmark.score.f1 import detections_from_scores
from earmark.score.files import (
    Detections,
    ScoreFolder,
    Truth,
    is_score_folder,
    read_all,
    read_detections,
    read_listed,
)
from earmark.score.issues import refuse_issues, unknown_predictions
from earmark.score.psds import IndependentStatistics, PsdsAccumulator, PsdsStatistics
from earmark.score.report import (
    Measurement,
    Measurer,
    ScoringTask,
    ends_of,
    make_task,
    measure_detections,
    measure_tables,
)
from earmark.score.settings import MetricSettings

Bar = Callable[[str], AbstractContextManager[Progress | None]]

DEFAULT_THRESHOLD = 0.5
IN_MEMORY = 30_000_000
"""So many scores are kept in memory; of more, each table is read when it is needed, twice."""
FAR = 1.0
"""Seconds by which a table may end before or after its clip without a word."""


@dataclass(frozen=True)
class Preparation:
    """What is done to a system's score tables before they are measured.

    Args:
        classes: New names of classes, and which of them are measured.
        postprocess: Median filter or cSEBB; ``None`` for scores that are measured as they are.
        threshold: Detections are above it; for all classes or by class. That of ``postprocess``
            (0.5 without) if not given.
        rename_last: ``postprocess`` is of the classes' old names: classes that get one name are
            filtered and decided each by itself, and what overlaps is then joined.
    """

    classes: ScoredClasses = field(default_factory=ScoredClasses)
    postprocess: PostProcess | None = None
    threshold: float | Mapping[str, float] | None = None
    rename_last: bool = False

    def named(self, table: ScoreTable) -> ScoreTable:
        """A table with the classes that are measured."""
        return self.classes.table(table)

    def filtered(self, table: ScoreTable) -> ScoreTable:
        """The table that PSDS is measured on."""
        if self.rename_last and self.postprocess is not None:
            return self.named(filter_table(table, self.postprocess))
        table = self.named(table)
        return table if self.postprocess is None else filter_table(table, self.postprocess)

    def apply(self, table: ScoreTable) -> tuple[ScoreTable, list[Event]]:
        """The table that PSDS is measured on, and the detections for the F1 scores."""
        if self.rename_last and self.postprocess is not None:
            filtered, events = post_process(table, self.postprocess)
            return self.named(filtered), _joined(self.classes.events({"": events})[""])
        table = self.named(table)
        if self.postprocess is None:
            threshold = DEFAULT_THRESHOLD if self.threshold is None else self.threshold
            return table, detections_from_scores({"": table}, threshold)[""]
        settings = self.postprocess
        if self.threshold is not None:
            settings = settings.with_threshold(self.threshold)
        return post_process(table, settings)

    def to_dict(self) -> dict[str, Any]:
        """What was done, for a report."""
        threshold = self.threshold
        if isinstance(threshold, Mapping):
            threshold = dict(threshold)
        if self.postprocess is None:
            return {"method": "none", "threshold": 0.5 if threshold is None else threshold}
        told = self.postprocess.to_dict()
        return {"method": "median", **told} | (
            {} if threshold is None else {"threshold": threshold}
        )


def _joined(events: list[Event]) -> list[Event]:
    """Events of a clip in which those of one class that overlap or touch are one."""
    joined: list[Event] = []
    for event in sorted(events, key=lambda event: (event.event_label, event.onset)):
        last = joined[-1] if joined else None
        if last and last.event_label == event.event_label and event.onset <= last.offset:
            score = max(last.score or 0.0, event.score or 0.0)
            joined[-1] = last._replace(offset=max(last.offset, event.offset), score=score)
        else:
            joined.append(event)
    return sorted(joined)


def fits_in_memory(tables: Mapping[str, ScoreTable]) -> bool:
    """Whether all scores may be kept, judging by the first table."""
    first = next(iter(tables.values()))
    return first.values.size * len(tables) <= IN_MEMORY


def measure_system(
    tables: Mapping[str, ScoreTable],
    preparation: Preparation,
    task: ScoringTask,
    *,
    keep: bool = True,
    weightable: bool = True,
    progress: Progress | None = None,
) -> Measurement:
    """Counts of a system with score tables, for every metric.

    Args:
        tables: By clip id, as the system gave them; may read them from a disk.
        preparation: What is done to them.
        task: What is measured, and on which clips.
        keep: Whether prepared tables are kept in memory rather than made twice.
        weightable: Whether clips can be weighted afterwards, as intervals need it.
        progress: Called with steps done and steps in all, two for each clip.

    Raises:
        ScoreError: If tables, classes, clips and truth do not fit together.
        ConfigError: If post-processing lacks a class.
    """
    measurer, seen = Measurer(task, weightable=weightable), _Seen()
    clips, kept = task.clips, {}
    for clip in tracked(clips, 2 * len(clips), progress):
        table = tables[clip]
        prepared, events = preparation.apply(table)
        measurer.survey(clip, prepared, events)
        seen.add(clip, table, task)
        if keep:
            kept[clip] = prepared
    for clip in tracked(measurer.order(), 2 * len(clips), progress, len(clips)):
        measurer.add(clip, kept.pop(clip) if keep else preparation.filtered(tables[clip]))
    found = measurer.finish()
    if task.settings.filters:
        more = _independent(tables, preparation, found.task, keep, weightable, progress)
        found = replace(found, statistics=found.statistics | more)
    return replace(found, notes=(*found.notes, *seen.notes(preparation)))


def _independent(
    tables: Mapping[str, ScoreTable],
    preparation: Preparation,
    task: ScoringTask,
    keep: bool,
    weightable: bool,
    progress: Progress | None,
) -> dict[str, Statistics]:
    """Counts for pi-PSDS: of the scores under median filters of several lengths.

    Each takes the place of the preparation's own filter; a function of an installed package stays.
    """
    scenarios, lengths = task.settings.scenarios, task.settings.filters
    hook = None if preparation.postprocess is None else preparation.postprocess.hook
    found: list[list[PsdsStatistics]] = []
    steps = len(lengths) * len(task.clips)
    for number, seconds in enumerate(lengths):
        own = replace(preparation, postprocess=PostProcess(median_seconds=seconds, hook=hook))
        given = task.labels, task.truth, task.seconds(), list(scenarios.values())
        counts, kept = PsdsAccumulator(*given, weightable=weightable), {}
        for clip in tracked(task.clips, steps, progress, number * len(task.clips)):
            table = own.filtered(tables[clip])
            counts.survey(clip, table)
            if keep:
                kept[clip] = table
        for clip in task.clips:
            counts.add(clip, kept.pop(clip) if keep else own.filtered(tables[clip]))
        found.append(counts.finish())
    each = zip(scenarios, zip(*found, strict=True), strict=True)
    return {f"pi_{name}": IndependentStatistics(parts) for name, parts in each}


@dataclass
class _Seen:
    """What is odd about tables that can be measured all the same."""

    low: float = np.inf
    high: float = -np.inf
    apart: list[str] = field(default_factory=list)

    def add(self, clip: str, table: ScoreTable, task: ScoringTask) -> None:
        finite = table.values[np.isfinite(table.values)]
        if len(finite):
            self.low = min(self.low, float(finite.min()))
            self.high = max(self.high, float(finite.max()))
        end = float(table.boundaries[-1])
        if task.durations is not None and abs(end - task.durations[clip]) > FAR:
            self.apart.append(f"{clip} at {end:g} s of {task.durations[clip]:g} s")

    def notes(self, preparation: Preparation) -> Sequence[str]:
        found = []
        if self.apart:
            found.append(
                f"{len(self.apart)} score tables do not end with their clips: {self.apart[0]}"
                + ", …" * (len(self.apart) > 1)
            )
        if (self.low < 0 or self.high > 1) and preparation.threshold is None:
            found.append(
                f"scores from {self.low:g} to {self.high:g} are no probabilities: the threshold "
                "0.5 of the F1 scores may not fit"
            )
        return found


@dataclass(frozen=True)
class System:
    """Where a system's output lies.

    Args:
        scores: Folders of score tables, one for each run; or …
        events: … tables of events, as of `earmark.score.files.read_detections`.
        postprocess: What is done to the scores first; ``None`` for nothing.

    Raises:
        ScoreError: If there is neither, or both, or events are to be post-processed.
    """

    scores: tuple[str, ...] = ()
    events: tuple[str, ...] = ()
    postprocess: PostProcess | None = None

    def __post_init__(self) -> None:
        if bool(self.scores) == bool(self.events):
            both = "both score tables and events" if self.scores else "neither scores nor events"
            raise ScoreError(
                f"a system with {both} cannot be scored",
                hint="Give --scores FOLDER, or --events TABLE.",
            )
        if self.events and self.postprocess is not None:
            raise ScoreError(
                "events cannot be post-processed", hint="Give the score tables they were made of."
            )

    @classmethod
    def of(cls, paths: Sequence[str], postprocess: PostProcess | None) -> System:
        """A system of score tables or of events, whichever its files are."""
        if all(is_score_folder(path) for path in paths):
            return cls(scores=tuple(paths), postprocess=postprocess)
        return cls(events=tuple(paths))

    @property
    def name(self) -> str:
        """What it is called in titles: the last parts of its paths."""
        return " + ".join(Path(path).resolve().name or path for path in self.scores or self.events)


@dataclass(frozen=True)
class Scoring:
    """Measures systems on one truth.

    Args:
        truth: True events.
        durations: Seconds by clip id; ``None`` takes the ends of score tables.
        classes: New names of predicted classes, and which classes are measured.
        settings: What is measured; ``best`` is left out where scores do not fit into memory.
        thresholds: Detections of score tables are above it: ``""`` for all classes, or by class.
        allow_missing: Whether listed clips may lack scores.
        strict: Whether labels that do not fit their sound or each other are refused.
        force_best: Whether best thresholds are looked for even so.
        weightable: Whether intervals or comparisons will be asked for.
        bar: Shows progress of a task by its name.
    """

    truth: Truth
    durations: Mapping[str, float] | None
    classes: ScoredClasses = field(default_factory=ScoredClasses)
    settings: MetricSettings = field(default_factory=MetricSettings)
    thresholds: Mapping[str, float] = field(default_factory=dict)
    allow_missing: bool = False
    strict: bool = False
    force_best: bool = False
    weightable: bool = True
    bar: Bar = lambda _: nullcontext(None)

    @classmethod
    def of_files(cls, truth: str | Path, durations: str | Path | None, **rest: Any) -> Scoring:
        """Reads truth and durations.

        Raises:
            LabelError: If they are no such tables.
        """
        return cls(*read_listed(truth, durations), **rest)

    def measure(self, system: System) -> list[Measurement]:
        """Counts of each run of a system.

        Raises:
            ScoreError: If files, classes, clips and truth do not fit together.
        """
        if system.events:
            return [self._measure_events(read_detections(system.events, self.truth.ids))]
        return [self._measure_scores(folder, system.postprocess) for folder in system.scores]

    def told(self, system: System) -> dict[str, Any]:
        """What is done to a system's output before it is measured, for a report."""
        if system.events:
            return {"method": "none", "events": list(system.events)}
        return Preparation(self.classes, system.postprocess, self._all_thresholds()).to_dict()

    def _all_thresholds(self) -> float | dict[str, float] | None:
        return self.thresholds.get("") if set(self.thresholds) <= {""} else dict(self.thresholds)

    def _measure_scores(self, folder: str, postprocess: PostProcess | None) -> Measurement:
        files: Mapping[str, ScoreTable] = ScoreFolder(folder, self.truth.ids)
        keep = fits_in_memory(files)
        if keep:
            with self.bar(f"reading {folder}") as progress:
                files = read_all(files, progress)
            common_labels(files.items())
        labels = self.classes.table(next(iter(files.values()))).labels
        durations, notes = self.durations, []
        if durations is None:
            durations = ends_of(files)
            notes.append("durations are those of the score tables: none were given")
        settings = self.settings
        if not keep and settings.best and not self.force_best:
            settings = replace(settings, best=False)
            notes.append("best thresholds and mAP left out: the scores do not fit into memory")
        task = self._task(durations, labels, settings, scored=files, notes=notes)
        preparation = Preparation(self.classes, postprocess, self._thresholds(labels, postprocess))
        with self.bar(f"measuring {folder}") as progress:
            return measure_system(
                files, preparation, task, keep=keep, weightable=self.weightable, progress=progress
            )  # fmt: skip

    def _task(
        self,
        durations: Mapping[str, float] | None,
        labels: Sequence[str],
        settings: MetricSettings,
        **rest: Any,
    ) -> ScoringTask:
        return make_task(
            self.truth, durations, labels, derived=self.durations is None, classes=self.classes,
            settings=settings, allow_missing=self.allow_missing, strict=self.strict, **rest,
        )  # fmt: skip

    def _thresholds(
        self, labels: Sequence[str], postprocess: PostProcess | None
    ) -> float | dict[str, float] | None:
        """One threshold for all classes, one for each, or none that is given."""
        unknown = sorted(set(self.thresholds) - {"", *labels})
        if unknown:
            raise ScoreError(
                f"a threshold for {', '.join(unknown)}, which is no class",
                hint=f"There are {', '.join(labels)}.",
            )
        if set(self.thresholds) <= {""}:
            return self.thresholds.get("")
        own = {} if postprocess is None else {x: postprocess.for_label(x).threshold for x in labels}
        rest = self.thresholds.get("")
        return {
            label: self.thresholds.get(
                label, own.get(label, DEFAULT_THRESHOLD) if rest is None else rest
            )
            for label in labels
        }

    def _measure_events(self, found: Detections) -> Measurement:
        if self.settings.filters:
            raise ScoreError(
                "pi-PSDS filters scores, and events have none to filter",
                hint="Give the score tables they were made of, with --scores",
            )
        if set(self.thresholds) - {""}:
            raise ScoreError("events have no thresholds by class", hint="Give one number.")
        predicted = {name for label in found.labels if (name := self.classes.of(label)) is not None}
        truth = self.classes.truth(self.truth.events)
        true = {event[2] for own in truth.values() for event in own}
        self.classes.check(found.labels, predicted | true)
        self.classes.check_targets(found.labels, true)
        labels = sorted(predicted | true)
        task = self._task(self.durations, labels, self.settings, notes=found.notes)
        mapped = set(filter(None, self.classes.names.values()))
        strange = unknown_predictions(predicted, true, mapped)
        if self.strict:
            refuse_issues(strange, self.truth.path)
        task = replace(task, notes=(*task.notes, *(issue.text for issue in strange)))
        check_clips(found.clips, set(task.clips), "events", "clips that count")
        if task.durations is None:
            task = replace(task, notes=(*task.notes, "no PSDS: it needs durations"))
        if found.scored is not None and task.durations is not None:
            return self._measure_scored(found.scored, task)
        wanted = self.thresholds.get("", DEFAULT_THRESHOLD)
        threshold, events = found.at(wanted)
        if threshold is not None and threshold != wanted:
            said = f"F1 of the events at threshold {threshold:g}, the nearest to {wanted:g}"
            task = replace(task, notes=(*task.notes, said))
        points = {
            float(number): self.classes.events(own)
            for number, own in enumerate(found.points.values())
        }
        return measure_detections(self.classes.events(events), task, points)

    def _measure_scored(
        self, scored: Mapping[str, Sequence[Event]], task: ScoringTask
    ) -> Measurement:
        """Events with scores, which are detected or not at any threshold."""
        lowest = min(event.score or 0.0 for own in scored.values() for event in own)
        said = (
            f"PSDS over the scores of the events, of which the lowest is {lowest:g}; what was "
            "dropped below it is missed"
        )
        level = self.thresholds.get("")
        events, seconds = self.classes.events(scored), task.seconds()
        own = {clip: events.get(clip, []) for clip in task.clips}
        tables = {clip: events_to_scores(own[clip], task.labels, seconds[clip]) for clip in own}
        kept = {
            clip: [event for event in found if level is None or (event.score or 0.0) > level]
            for clip, found in own.items()
        }
        task = replace(task, notes=(*task.notes, said))
        return measure_tables(tables, kept, task, weightable=self.weightable)
