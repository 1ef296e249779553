"""Figures by class for report pages: a row a class, a bar and an interval a figure."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from earmark.deliver.pages.charts import bar

_COLUMNS = {
    "precision": "precision",
    "recall": "recall",
    "intersection_f1": "F1",
    "psds1": "PSDS1",
    "psds2": "PSDS2",
    "collar_f1": "collar F1",
}


def class_table(
    metrics: Mapping[str, Any],
    where: str,
    labels: Collection[str] = (),
    learned: Mapping[str, int] = {},
) -> dict[str, Any]:
    """What the template's table by class needs.

    Args:
        metrics: As of `earmark.score.report.report`.
        where: What the figures are of, in words.
        labels: Classes that have a row even without a figure.
        learned: Clips that a class was learned from, where that is known.
    """
    per_class, ends = metrics.get("per_class", {}), metrics.get("per_class_intervals", {})
    shown = {name: title for name, title in _COLUMNS.items() if per_class.get(name)}
    alarms, events = per_class.get("false_alarms_per_hour", {}), per_class.get("true_events", {})
    every = sorted({label for name in shown for label in per_class[name]} | set(labels))
    rows = []
    for label in every:
        cells: list[tuple[str, list[str], str] | None] = []
        for name in shown:
            value, interval = per_class[name].get(label), ends.get(name, {}).get(label, ())
            if value is None:
                cells.append(None)
                continue
            cells.append((f"{value:.3f}", [f"{end:.2f}" for end in interval], bar(value, interval)))
        rate = alarms.get(label)
        rows.append(
            (
                label,
                learned.get(label, 0) if learned else None,
                events.get(label),
                cells,
                None if rate is None else f"{rate:.1f}",
            )
        )
    return {
        "rows": rows,
        "columns": list(shown.values()),
        "of": where,
        "ends": bool(ends),
        "learned": bool(learned),
        "alarms": bool(alarms),
    }
