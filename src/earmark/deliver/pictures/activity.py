"""A picture of activity over the clock: classes by hour of the day, and days by hour."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from earmark.core.files import write_whole
from earmark.deliver.pictures.view import require_matplotlib, short_name
from earmark.deliver.summary import Activity, clock_counts

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

_CLASSES = 16  # rows that stay legible
_DAYS = 31  # that are named


def plot_activity(path: Path, activity: Activity) -> None:
    """Draws events by class and hour of the day, and by day and hour, into a PNG.

    Hours without recordings are grey where the lengths of all recordings are known, and counts are
    then events an hour of recording.

    Raises:
        ConfigError: If matplotlib is not installed.
    """
    figure_class = require_matplotlib()
    labels = activity.classes[:_CLASSES]
    days = sorted({key[0] for key in (*activity.by_hour, *activity.recorded)})
    heights = [max(3, len(labels)), min(_DAYS, max(3, len(days)))]
    figure: Figure = figure_class(figsize=(11, 2.0 + 0.28 * sum(heights)), layout="constrained")
    top, bottom = figure.subplots(2, 1, sharex=True, height_ratios=heights)
    unit = "events an hour of recording" if activity.all_lengths else "events"
    more = f" · {len(labels)} of {len(activity.classes)} classes"
    title = "Activity over the day" + more * (len(labels) < len(activity.classes))
    top.set_title(title, loc="left", fontsize=13)
    _draw(top, _by_class(activity, labels), [short_name(label) for label in labels], unit)
    shown = [day if len(days) <= _DAYS or not n % 7 else "" for n, day in enumerate(days)]
    _draw(bottom, _by_day(activity, days), shown, "events, all classes")
    bottom.set_xticks(range(0, 25, 3), [f"{hour:02}:00" for hour in range(0, 25, 3)])
    bottom.set_xlim(0, 24)
    bottom.set_xlabel(f"time of day ({activity.zone})")
    write_whole(path, lambda draft: figure.savefig(draft, format="png", dpi=120))


def _draw(axes: Axes, values: NDArray[np.float64], names: list[str], unit: str) -> None:
    """A heat map; what is not a number stays grey."""
    axes.set_facecolor("0.85")
    top = float(np.nanmax(values)) if np.isfinite(values).any() else 0.0
    image = axes.imshow(
        values, aspect="auto", cmap="viridis", vmin=0.0, vmax=max(1e-9, top),
        extent=(0, 24, len(names), 0), interpolation="nearest",
    )  # fmt: skip
    axes.set_yticks(np.arange(len(names)) + 0.5, names, fontsize=9)
    axes.tick_params(axis="y", length=0)
    axes.figure.colorbar(image, ax=axes, pad=0.01).set_label(unit, fontsize=9)


def _by_class(activity: Activity, labels: list[str]) -> NDArray[np.float64]:
    hours = {int(hour) for _, hour in activity.recorded}
    known = activity.all_lengths
    values = np.array([[np.nan if known and n not in hours else 0.0 for n in range(24)]])
    values = np.repeat(values, max(1, len(labels)), axis=0)  # [classes, 24]
    counts = clock_counts(activity)
    for row, label in enumerate(labels):
        for hour, count in counts.get(label, {}).items():
            values[row, hour] = count
    return values


def _by_day(activity: Activity, days: list[str]) -> NDArray[np.float64]:
    known = activity.all_lengths
    values = np.full((len(days), 24), np.nan if known else 0.0)
    for day, hour in activity.recorded:
        values[days.index(day), int(hour)] = 0.0
    for (day, hour, _), one in activity.by_hour.items():
        place = days.index(day), int(hour)
        values[place] = np.nan_to_num(values[place]) + one.events
    return values
