"""Any system's score tables on the way to its figures: classes, post-processing, decisions."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from earmark.core.event import Event
from earmark.core.tables.scores import ScoreTable
from earmark.detect.postprocess import filter_table, post_process
from earmark.detect.postprocess_spec import PostProcess
from earmark.score.classes import ScoredClasses
from earmark.score.f1 import detections_from_scores
from earmark.score.report import Measurement, Measurer, ScoringTask

Progress = Callable[[int, int], None]

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
    """

    classes: ScoredClasses = field(default_factory=ScoredClasses)
    postprocess: PostProcess | None = None
    threshold: float | Mapping[str, float] | None = None

    def named(self, table: ScoreTable) -> ScoreTable:
        """A table with the classes that are measured."""
        return self.classes.table(table)

    def filtered(self, table: ScoreTable) -> ScoreTable:
        """The table that PSDS is measured on."""
        table = self.named(table)
        return table if self.postprocess is None else filter_table(table, self.postprocess)

    def apply(self, table: ScoreTable) -> tuple[ScoreTable, list[Event]]:
        """The table that PSDS is measured on, and the detections for the F1 scores."""
        table = self.named(table)
        if self.postprocess is None:
            threshold = 0.5 if self.threshold is None else self.threshold
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
    for number, clip in enumerate(clips, start=1):
        table = tables[clip]
        prepared, events = preparation.apply(table)
        measurer.survey(clip, prepared, events)
        seen.add(clip, table, task)
        if keep:
            kept[clip] = prepared
        _tell(progress, number, 2 * len(clips))
    for number, clip in enumerate(measurer.order(), start=1):
        measurer.add(clip, kept.pop(clip) if keep else preparation.filtered(tables[clip]))
        _tell(progress, len(clips) + number, 2 * len(clips))
    found = measurer.finish()
    return replace(found, notes=(*found.notes, *seen.notes(preparation)))


def _tell(progress: Progress | None, done: int, total: int) -> None:
    if progress is not None:
        progress(done, total)


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
