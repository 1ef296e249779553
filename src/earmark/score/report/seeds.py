"""One recipe, several seeds: mean and standard deviation of every metric."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from earmark.core.errors import ScoreError

SAME = ("evaluation", "clips", "of")
"""What reports must share to be averaged."""


def across_seeds(reports: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Aggregate the metrics of runs that differ in their seed only.

    Args:
        reports: Metrics of each run, as `earmark.score.report.report.metrics_dict` makes them.

    Returns:
        ``seeds`` (how many), ``metrics`` (metric → ``mean``, ``sd``, ``values``), ``per_class``
        (metric → class → the same), and ``clips``, ``of``, ``evaluation`` that all share. ``sd`` is
        the sample standard deviation (n - 1), ``None`` for a single run. Metrics that some run
        does not have are left out.

    Raises:
        ScoreError: If there are no reports, or they are of other clips, truth or parameters.
    """
    if not reports:
        raise ScoreError("there are no reports to aggregate")
    for key in SAME:
        found = {json_text(report.get(key)) for report in reports}
        if len(found) > 1:
            raise ScoreError(
                f"the runs differ in {key}: {', '.join(sorted(found))}",
                hint="Only runs scored on the same clips, truth and parameters can be averaged.",
            )
    names = [
        name
        for name, value in reports[0].items()
        if name not in SAME and all(_is_number(report.get(name)) for report in reports)
        if _is_number(value)
    ]
    classes = [report.get("per_class", {}) for report in reports]
    per_class = {
        metric: {
            label: _summary([found[metric][label] for found in classes])
            for label in classes[0][metric]
            if all(label in found[metric] for found in classes)
        }
        for metric in classes[0]
        if all(metric in found for found in classes)
    }
    return {
        "seeds": len(reports),
        "metrics": {name: _summary([report[name] for report in reports]) for name in names},
        "per_class": per_class,
        **{key: reports[0].get(key) for key in SAME},
    }


def json_text(value: object) -> str:
    """A value as it is shown in a message."""
    return "none" if value is None else str(value)


def _is_number(value: object) -> bool:
    return isinstance(value, float | int) and not isinstance(value, bool) and math.isfinite(value)


def _summary(values: Sequence[float]) -> dict[str, Any]:
    found = np.array(values, dtype=np.float64)
    sd = float(found.std(ddof=1)) if len(found) > 1 else None
    return {"mean": float(found.mean()), "sd": sd, "values": [float(value) for value in values]}
