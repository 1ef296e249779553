"""Systems by the files they left, measured on one truth: what ``earmark score`` does."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from earmark.core.errors import ScoreError
from earmark.core.event import Event
from earmark.core.tables.scores import ScoreTable, common_labels
from earmark.detect.postprocess_spec import PostProcess
from earmark.detect.systems import Preparation, Progress, fits_in_memory, measure_system
from earmark.score.classes import ScoredClasses, events_to_scores
from earmark.score.events import check_clips
from earmark.score.files import (
    Detections,
    ScoreFolder,
    Truth,
    is_score_folder,
    read_all,
    read_detections,
    read_seconds,
    read_truth,
)
from earmark.score.report import (
    Measurement,
    Measurer,
    ScoringTask,
    ends_of,
    make_task,
    measure_detections,
)
from earmark.score.settings import MetricSettings

Bar = Callable[[str], AbstractContextManager[Progress | None]]
DEFAULT_THRESHOLD = 0.5


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
    force_best: bool = False
    weightable: bool = True
    bar: Bar = lambda _: nullcontext(None)

    @classmethod
    def of_files(cls, truth: str | Path, durations: str | Path | None, **rest: Any) -> Scoring:
        """Reads truth and durations.

        Raises:
            LabelError: If they are no such tables.
        """
        seconds = None if durations is None else read_seconds(durations)
        return cls(read_truth(truth), seconds, **rest)

    def measure(self, system: System) -> list[Measurement]:
        """Counts of each run of a system.

        Raises:
            ScoreError: If files, classes, clips and truth do not fit together.
        """
        if system.events:
            return [self._measure_events(read_detections(system.events))]
        return [self._measure_scores(folder, system.postprocess) for folder in system.scores]

    def told(self, system: System) -> dict[str, Any]:
        """What is done to a system's output before it is measured, for a report."""
        if system.events:
            return {"method": "none", "events": list(system.events)}
        return Preparation(self.classes, system.postprocess, self._all_thresholds()).to_dict()

    def _all_thresholds(self) -> float | dict[str, float] | None:
        return self.thresholds.get("") if set(self.thresholds) <= {""} else dict(self.thresholds)

    def _measure_scores(self, folder: str, postprocess: PostProcess | None) -> Measurement:
        files: Mapping[str, ScoreTable] = ScoreFolder(folder)
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
            settings=settings, allow_missing=self.allow_missing, **rest,
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
        if set(self.thresholds) - {""}:
            raise ScoreError("events have no thresholds by class", hint="Give one number.")
        predicted = {name for label in found.labels if (name := self.classes.of(label)) is not None}
        truth = self.classes.truth(self.truth.events)
        true = {event[2] for own in truth.values() for event in own}
        self.classes.check(found.labels, predicted | true)
        labels = sorted(predicted | true)
        task = self._task(self.durations, labels, self.settings)
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
        measurer = Measurer(
            replace(task, notes=(*task.notes, said)), weightable=self.weightable
        )  # fmt: skip
        events = self.classes.events(scored)
        tables = {}
        for clip in task.clips:
            own = events.get(clip, [])
            tables[clip] = events_to_scores(own, task.labels, task.seconds()[clip])
            kept = [event for event in own if level is None or (event.score or 0.0) > level]
            measurer.survey(clip, tables[clip], kept)
        for clip in measurer.order():
            measurer.add(clip, tables[clip])
        return measurer.finish()
