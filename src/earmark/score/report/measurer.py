"""Counts for every metric of one system, from clips that come one by one.

All scores of the 1,168 clips of DESED's validation set fit into memory, those of AudioSet's strong
evaluation set do not. So each clip comes twice, and what is kept of it is small.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace

from earmark.core.errors import ScoreError
from earmark.core.event import EventTuple
from earmark.core.tables.scores import ScoreTable, common_labels
from earmark.score.bootstrap import Statistics
from earmark.score.events import Events, Floats, check_clips
from earmark.score.f1.best import best_statistics
from earmark.score.f1.counts import F1Statistics
from earmark.score.f1.errors import ErrorStatistics, error_statistics
from earmark.score.f1.events import f1_statistics
from earmark.score.f1.tagging import PrecisionStatistics, tag_statistics, tagging_statistics
from earmark.score.psds.accumulator import PsdsAccumulator
from earmark.score.psds.score import detection_statistics
from earmark.score.report.task import ScoringTask

TOGETHER = 256
"""Clips whose detections are counted together, after which only the counts are kept."""
Scores = Mapping[str, ScoreTable]


@dataclass(frozen=True)
class Measurement:
    """Counts of one system, by metric.

    Args:
        task: What it was measured on, dropped clips left out.
        statistics: Counts by metric, all of the same clips in the same order.
        notes: What a reader of the numbers must know, in words.
        thresholds: How many thresholds PSDS is made of; ``None`` for all there are.
    """

    task: ScoringTask
    statistics: dict[str, Statistics]
    notes: tuple[str, ...]
    thresholds: int | None = None


class Measurer:
    """Takes in the score tables and detections of a system, and gives its counts.

    Every clip that counts is surveyed once, and then added once, in any order; `order` is the
    fastest. With ``settings.best``, tables are kept until `finish`.

    Args:
        task: What it is measured on.
        weightable: Whether clips can be weighted afterwards, as intervals need it.

    Raises:
        ScoreError: If durations are missing, or no class has truth.
    """

    def __init__(self, task: ScoringTask, *, weightable: bool = True) -> None:
        self.task = task = task.counted()
        self._wanted = frozenset(task.clips)
        self._waiting: dict[str, Sequence[EventTuple]] = {}
        self._hard: list[Detected] = []
        self._highest: dict[str, Floats] = {}
        self._frames: dict[str, int] = {}
        self._tables: dict[str, ScoreTable] = {}
        self._first: tuple[str, ScoreTable] | None = None
        scenarios = list(task.settings.scenarios.values())
        self._psds = PsdsAccumulator(
            task.labels, task.truth, task.seconds(), scenarios, weightable=weightable
        )

    def survey(self, clip: str, table: ScoreTable, detections: Sequence[EventTuple]) -> None:
        """Take in a clip for the first time.

        Args:
            clip: Its id; one that does not count is left aside.
            table: Its scores, as PSDS is to be measured on.
            detections: What was detected in it, for the F1 scores.

        Raises:
            ScoreError: If its classes are others.
        """
        if self._first is None:
            self._first = clip, table
            _check_labels(clip, table, self.task)
        common_labels([self._first, (clip, table)])
        if clip not in self._wanted:
            return
        self._psds.survey(clip, table)
        self._waiting[clip] = detections
        if len(self._waiting) == TOGETHER:
            self._count_detections()
        self._frames[clip] = len(table)
        if self.task.settings.best:
            self._highest[clip] = table.values.max(axis=0)

    def order(self) -> list[str]:
        """Clips that count, those of like length together, so that little is padded."""
        return sorted(self.task.clips, key=lambda clip: self._frames.get(clip, 0))

    def add(self, clip: str, table: ScoreTable) -> None:
        """Count a clip, with the table it had before.

        Raises:
            ScoreError: If it came before, or its classes are others.
        """
        self._psds.add(clip, table)
        if self.task.settings.best:
            self._tables[clip] = table

    def finish(self) -> Measurement:
        """Counts of all metrics.

        Raises:
            ScoreError: If clips are missing; they are named.
        """
        task = self.task
        scenarios = zip(task.settings.scenarios, self._psds.finish(), strict=True)
        statistics: dict[str, Statistics] = dict(scenarios)
        self._count_detections()
        for name in self._hard[0].f1:
            statistics[name] = F1Statistics.joined(
                [group.f1[name] for group in self._hard], task.clips
            )
        errors = [group.errors for group in self._hard]
        statistics["error_rate"] = ErrorStatistics.joined(errors, task.clips)
        if task.settings.best:
            statistics |= self._best()
        return Measurement(task, statistics, task.notes)

    def _count_detections(self) -> None:
        """Count those that wait, so that they need not be kept."""
        if self._waiting or not self._hard:
            clips = tuple(self._waiting)
            group = replace(self.task, clips=clips, truth=_only(self.task.truth, clips))
            self._hard.append(_of_detections(self._waiting, group))
            self._waiting = {}

    def _best(self) -> dict[str, Statistics]:
        task = self.task
        given = {clip: self._tables[clip] for clip in task.clips}, task.truth, task.seconds()
        highest = {clip: self._highest[clip] for clip in task.clips}
        tags = tagging_statistics(highest, task.truth, task.labels)
        best = {
            f"{name}_f1_best": best_statistics(*given, criterion)
            for name, criterion in task.settings.sweeps().items()
        }
        return {
            **best,
            "tagging_f1_best": tags.best,
            "tagging_map": tags.average_precision,
            "segment_map": PrecisionStatistics(best["segment_f1_best"]),
        }


def measure_tables(
    scores: Scores, detections: Events, task: ScoringTask, *, weightable: bool = True
) -> Measurement:
    """Counts of a system with score tables.

    Args:
        scores: By clip id; each is looked up twice and not kept (but for ``settings.best``), so
            the mapping may read them from a disk.
        detections: By clip id.
        task: What it is measured on; its clips must be those of the scores.
        weightable: Whether clips can be weighted afterwards.

    Raises:
        ScoreError: If clips, classes or times do not fit together, or no class has truth.
    """
    check_clips(detections, set(task.clips), "detections", "clips that count")
    for clip in task.clips[:1]:
        _check_labels(clip, scores[clip], task)
    measurer = Measurer(task, weightable=weightable)
    for clip in task.clips:
        measurer.survey(clip, scores[clip], detections.get(clip, ()))
    for clip in measurer.order():
        measurer.add(clip, scores[clip])
    return measurer.finish()


def measure_detections(
    detections: Events, task: ScoringTask, points: Mapping[float, Events] | None = None
) -> Measurement:
    """Counts of a system with nothing but detections.

    Args:
        detections: By clip id, for the F1 scores.
        task: What it is measured on.
        points: Detections by threshold, for PSDS; without, or without durations, there is none.

    Raises:
        ScoreError: If clips, classes or times do not fit together, or no class has truth.
    """
    check_clips(detections, set(task.clips), "detections", "clips that count")
    task = task.counted()
    statistics: dict[str, Statistics] = {}
    if points and task.durations is not None:
        chosen = [_only(found, task.clips) for found in points.values()]
        given = chosen, task.truth, task.seconds(), task.labels
        for name, parameters in task.settings.scenarios.items():
            statistics[name] = detection_statistics(*given, parameters, like=task.settings.like)
    counted = _of_detections(detections, task)
    statistics |= counted.f1 | {"error_rate": counted.errors}
    return Measurement(task, statistics, task.notes, len(points or ()))


def _check_labels(clip: str, table: ScoreTable, task: ScoringTask) -> None:
    if table.labels != task.labels:
        raise ScoreError(
            f"the score table of {clip} has the classes {', '.join(table.labels)}, "
            f"not {', '.join(task.labels)}",
            hint="Every clip needs the same classes in the same order.",
        )


@dataclass(frozen=True)
class Detected:
    """Counts of detections at one threshold: for the F1 scores by metric, and errors."""

    f1: dict[str, F1Statistics]
    errors: ErrorStatistics


def _of_detections(detections: Events, task: ScoringTask) -> Detected:
    given = _only(detections, task.clips), task.truth, task.labels
    found = {
        name: f1_statistics(*given, criterion, clips=task.clips)
        for name, criterion in task.settings.criteria().items()
    }
    errors = error_statistics(*given, task.settings.segment, clips=task.clips)
    return Detected({**found, "tagging_f1": tag_statistics(*given, task.clips)}, errors)


def _only(detections: Events, clips: Collection[str]) -> dict[str, Sequence[EventTuple]]:
    return {clip: detections.get(clip, ()) for clip in clips}
