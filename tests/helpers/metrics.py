"""Every metric of score tables and detections in one call, as most tests of reports want it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from earmark.core.tables.scores import ScoreTable
from earmark.score.bootstrap import Statistics
from earmark.score.events import Events
from earmark.score.report import (
    Measurement,
    ScoringTask,
    measure_detections,
    measure_tables,
    report,
)


def metrics_dict(
    scores: Mapping[str, ScoreTable] | None,
    detections: Events,
    truth: Events,
    durations: Mapping[str, float],
    labels: Sequence[str],
    *,
    resamples: int = 0,
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
    **task: Any,
) -> dict[str, Any]:
    """The report of one system; its clips are those of the scores, or else of the durations."""
    found = measured(scores, detections, truth, durations, labels, **task)
    return report([found], resamples=resamples, seed=seed, progress=progress)


def metric_statistics(*given: Any, **named: Any) -> dict[str, Statistics]:
    """What `metrics_dict` computes its numbers from."""
    return measured(*given, **named).statistics


def measured(
    scores: Mapping[str, ScoreTable] | None,
    detections: Events,
    truth: Events,
    durations: Mapping[str, float],
    labels: Sequence[str],
    **task: Any,
) -> Measurement:
    clips = tuple(durations if scores is None else scores)
    given = ScoringTask(clips, truth, durations, tuple(labels), **task)
    if scores is None:
        return measure_detections(detections, given)
    return measure_tables(scores, detections, given)
