"""What everybody asks of a detector: how much it finds, how much of it is right, at its thresholds.

A true event counts as found, and a detection as a false alarm, by the criterion of intersection F1.
"""

from __future__ import annotations

from typing import Any

from earmark.score.f1.counts import F1Counts, F1Statistics
from earmark.score.report.measurer import Measurement

EVERYDAY = ("true_events", "precision", "recall", "false_alarms_per_hour")
"""Names of the figures."""
_OF = "intersection_f1"


def everyday_figures(run: Measurement) -> tuple[dict[str, float], dict[str, dict[str, float]]]:
    """Figures of all classes together, and by class.

    Args:
        run: Counts of a system.

    Returns:
        ``true_events``, ``precision``, ``recall`` and, where durations are known,
        ``false_alarms_per_hour``, of all classes; and of each by class. What is not defined is
        missing: precision without detections, recall without truth.
    """
    given = run.statistics.get(_OF)
    if not isinstance(given, F1Statistics):
        return {}, {}
    counts = given.result().counts
    seconds = run.task.durations
    hours = None if seconds is None else sum(seconds[clip] for clip in run.task.clips) / 3600
    every = F1Counts(*(sum(getattr(one, name) for one in counts.values()) for name in _PARTS))
    by_class: dict[str, dict[str, float]] = {}
    for label, one in counts.items():
        for name, value in _figures(one, hours).items():
            by_class.setdefault(name, {})[label] = value
    return _figures(every, hours), by_class


_PARTS = ("tp", "fp", "fn")


def _figures(counts: F1Counts, hours: float | None) -> dict[str, Any]:
    found: dict[str, Any] = {"true_events": counts.tp + counts.fn}
    if counts.tp + counts.fp:
        found["precision"] = counts.precision
    if counts.tp + counts.fn:
        found["recall"] = counts.recall
    if hours:
        found["false_alarms_per_hour"] = counts.fp / hours
    return found
