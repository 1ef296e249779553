"""Pictures of scores: PSD-ROC curves, and every class beside the others."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from earmark.core.files import write_whole
from earmark.deliver.pictures.view import require_matplotlib, short_name
from earmark.score.psds import PsdsResult, PsdsStatistics
from earmark.score.report import Measurement
from earmark.score.settings import title_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes

COLOURS = ("#0b559f", "#d1541f", "#2a8a2a", "#7d55a8", "#8a6d1a")
BARS = ("psds1", "psds2", "collar_f1", "intersection_f1", "segment_f1")
_NAMED = 12  # classes that a legend has room for
_ROWS = 40  # classes that a page of bars has room for


@dataclass(frozen=True)
class Pictured:
    """A system to be drawn.

    Args:
        name: What it is called in legends.
        report: Its numbers, as of `earmark.score.report.report`.
        runs: Its counts; of several runs each curve is drawn.
    """

    name: str
    report: Mapping[str, Any]
    runs: Sequence[Measurement]


def plot_scores(folder: str | Path, systems: Sequence[Pictured]) -> list[Path]:
    """Draws a PSD-ROC for each scenario of PSDS, and bars by class.

    Args:
        folder: For ``psds1.png``, … and ``per_class.png``; made if missing.
        systems: One, or two to be compared.

    Returns:
        The pictures.

    Raises:
        EarmarkError: If matplotlib is not installed.
    """
    require_matplotlib()
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    first = systems[0].runs[0].statistics
    paths = []
    for name in [name for name, found in first.items() if isinstance(found, PsdsStatistics)]:
        paths.append(folder / f"{name}.png")
        plot_roc(paths[-1], name, systems)
    paths.append(folder / "per_class.png")
    plot_classes(paths[-1], systems)
    return paths


def plot_roc(path: str | Path, scenario: str, systems: Sequence[Pictured]) -> None:
    """Draws the PSD-ROC curves of one PSDS: of each class of one system, or of several systems.

    Args:
        path: The picture.
        scenario: The metric: ``psds1``.
        systems: What is drawn; of one system its classes too.
    """
    figure = require_matplotlib()(figsize=(10, 5.6), dpi=120, layout="constrained")
    axes = figure.add_subplot()
    results = [_results(system, scenario) for system in systems]
    limit = results[0][0].parameters.max_efpr
    if len(systems) == 1:
        _class_curves(axes, results[0][0])
    for number, (system, runs) in enumerate(zip(systems, results, strict=True)):
        colour = "black" if len(systems) == 1 else COLOURS[number % len(COLOURS)]
        name = "all classes" if len(systems) == 1 else system.name
        label = f"{name}: {_number(system.report, scenario)}"
        for run, result in enumerate(runs):
            edges = np.append(result.effective.efpr, limit)
            heights = np.append(result.effective.tpr, result.effective.tpr[-1])
            axes.step(
                edges, heights, where="post", color=colour, linewidth=2.4 if not run else 1.0,
                label=label if not run else None, zorder=5,
            )  # fmt: skip
            if len(systems) == 1 and len(runs) == 1:
                axes.fill_between(edges, heights, step="post", color="0.85", zorder=0)
    axes.set_xlim(0, limit)
    axes.set_ylim(0, 1)
    axes.set_xlabel("effective false positives per hour")
    axes.set_ylabel("true-positive rate")
    axes.grid(color="0.9", linewidth=0.8)
    axes.set_title(f"{title_of(scenario)}   ({_rules(results[0][0])})", loc="left", fontsize=12)
    order = slice(None, None, -1 if len(systems) == 1 else 1)  # the best class first
    handles, labels = axes.get_legend_handles_labels()
    axes.legend(
        handles[order], labels[order], loc="upper left", bbox_to_anchor=(1.01, 1.0), frameon=False,
        fontsize=9,
    )  # fmt: skip
    write_whole(path, lambda draft: figure.savefig(draft, format="png"))


def plot_classes(path: str | Path, systems: Sequence[Pictured]) -> None:
    """Draws every class's scores as bars, one panel for each metric, one bar for each system.

    Args:
        path: The picture.
        systems: What is drawn.
    """
    metrics = [name for name in BARS if name in systems[0].report]
    labels, chosen = _rows(systems[0].report, metrics[0])
    height = 1.6 + len(labels) * (0.2 + 0.16 * len(systems))
    figure = require_matplotlib()(
        figsize=(2.0 + 2.6 * len(metrics), height), dpi=120, layout="constrained"
    )
    panels = figure.subplots(1, len(metrics), sharey=True, squeeze=False)[0]
    for axes, metric in zip(panels, metrics, strict=True):
        _bars(axes, metric, labels, systems)
    panels[0].set_yticks(range(len(labels)), [short_name(label) for label in labels])
    panels[0].set_ylim(len(labels) - 0.5, -0.5)
    if chosen:
        figure.suptitle(chosen, fontsize=10)
    if len(systems) > 1:
        handles, names = panels[0].get_legend_handles_labels()
        figure.legend(handles, names, loc="outside lower center", ncols=2, frameon=False)
    write_whole(path, lambda draft: figure.savefig(draft, format="png"))


def _results(system: Pictured, scenario: str) -> list[PsdsResult]:
    found = [run.statistics[scenario] for run in system.runs]
    return [one.result() for one in found if isinstance(one, PsdsStatistics)]


def _class_curves(axes: Axes, result: PsdsResult) -> None:
    """A thin curve for each class, named while there is room, from the best to the worst."""
    ranked = sorted(result.curves, key=lambda label: result.per_class[label])
    named = set(ranked if len(ranked) <= _NAMED else [*ranked[:5], *ranked[-5:]])
    limit, shade = result.parameters.max_efpr, _shades(len(named))
    if len(named) < len(ranked):
        axes.plot([], [], color="0.8", linewidth=1.0, label=f"{len(ranked) - len(named)} between")
    for label in ranked:
        curve = result.curves[label]
        text = f"{short_name(label)}: {result.per_class[label]:.3f}" if label in named else None
        axes.step(
            np.append(curve.efpr, limit), np.append(curve.tpr, curve.tpr[-1]), where="post",
            color=next(shade) if text else "0.8", linewidth=1.3 if text else 0.7, label=text,
            zorder=3 if text else 1,
        )  # fmt: skip


def _shades(count: int) -> Any:
    from matplotlib import colormaps

    return iter(colormaps["turbo"](np.linspace(0.08, 0.92, max(count, 1))))


def _bars(axes: Axes, metric: str, labels: Sequence[str], systems: Sequence[Pictured]) -> None:
    width = 0.8 / len(systems)
    heads = []
    for number, system in enumerate(systems):
        found = system.report["per_class"][metric]
        spread = system.report.get("per_class_sd", {}).get(metric, {})
        place = np.arange(len(labels)) - 0.4 + width * (number + 0.5)
        values = np.array([found.get(label, np.nan) for label in labels])
        axes.barh(place, values, height=0.9 * width, color=COLOURS[number], label=system.name)
        for y, value, label in zip(place, values, labels, strict=True):
            if np.isnan(value):
                continue
            sd = spread.get(label)
            text = f"{value:.2f}" + (f" ± {sd:.2f}" if sd is not None else "")
            axes.text(value + 0.015, y, text, va="center", fontsize=7.5)
        heads.append(_number(system.report, metric))
    axes.set_title("\n".join([title_of(metric), *heads]), fontsize=9.5)
    axes.set_xlim(0, 1.22 if any("per_class_sd" in one.report for one in systems) else 1.12)
    axes.set_xticks([0, 0.5, 1])
    axes.grid(axis="x", color="0.9", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.tick_params(axis="y", length=0)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)


def _rows(report: Mapping[str, Any], metric: str) -> tuple[list[str], str]:
    """Classes from the best to the worst, and a word about those there is no room for."""
    found = report["per_class"][metric]
    ranked = sorted(found, key=lambda label: -found[label])
    if len(ranked) <= _ROWS:
        return ranked, ""
    half = _ROWS // 2
    text = f"the {half} best and the {half} worst of {len(ranked)} classes by {title_of(metric)}"
    return [*ranked[:half], *ranked[-half:]], text


def _number(report: Mapping[str, Any], metric: str) -> str:
    """A figure with its interval, or with its spread over runs."""
    value = f"{report[metric]:.3f}"
    sd = report.get("sd", {}).get(metric)
    if sd is not None:
        value += f" ± {sd:.3f}"
    interval = report["intervals"].get(metric)
    return value if interval is None else f"{value} [{interval[0]:.3f}, {interval[1]:.3f}]"


def _rules(result: PsdsResult) -> str:
    given = result.parameters
    parts = [f"DTC {given.dtc:g}", f"GTC {given.gtc:g}"]
    if given.alpha_ct:
        parts.append(f"CTTC {given.cttc:g}")
    parts += [f"α_CT {given.alpha_ct:g}", f"α_ST {given.alpha_st:g}", f"{result.clips} clips"]
    return ", ".join(parts)
