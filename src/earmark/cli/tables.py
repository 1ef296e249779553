"""Metrics on a terminal: the same tables for every command that prints them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from earmark.cli.console import note, say

if TYPE_CHECKING:
    from earmark.detect.systems import System
    from earmark.detect.tuning.tune import Tuning

BY_CLASS = {
    "psds1": "PSDS1",
    "psds2": "PSDS2",
    "collar_f1": "collar",
    "intersection_f1": "inters.",
    "segment_f1": "segment",
    "tagging_f1": "tagging",
}
F1 = ("collar_f1", "intersection_f1", "segment_f1", "tagging_f1")
ERRORS = tuple(f"error_rate_{name}" for name in ("substitutions", "deletions", "insertions"))
PLAIN = ("true_events", "precision", "recall", "false_alarms_per_hour")
FEW_CLIPS, FEW_EVENTS = 100, 20
"""Of fewer clips, or events of a class, the page says what the interval does not mean."""
MANY = 60
"""So many classes are printed; of more, the file has all."""
NAMED = 5
"""So many missing clips are named on a terminal; the file has all."""


def title_of(metric: str) -> str:
    """What a metric is called in tables; `earmark.score` is imported when it is needed."""
    from earmark.score.settings import title_of

    return title_of(metric)


def print_report(console: Console, report: Mapping[str, Any], title: str) -> None:
    """Prints the figures of a report, plain ones first, with all there is to know of them."""
    console.print(everyday_table(report, title))
    console.print(figures_table(report, "research figures"))
    if "error_rate" in report:
        made = ", ".join(f"{title_of(name)} {report[name]:.3f}" for name in ERRORS)
        say(console, f"error rate of segments {report['error_rate']:.3f}: {made}")
    console.print(classes_table(report))
    print_notes(console, report)


def everyday_table(report: Mapping[str, Any], title: str) -> Table:
    """How much is found and how much of it is right, by class, at the thresholds in use."""
    table = Table(title=escape(title), title_justify="left")
    table.add_column("class", overflow="fold")
    for heading in ("events", "precision", "recall", "F1", "false alarms/h"):
        table.add_column(heading, justify="right")
    per_class = report["per_class"] | {"f1": report["per_class"]["intersection_f1"]}
    labels = sorted(per_class.get("true_events", {}))
    whole = {**report, "f1": report["intersection_f1_micro"]}
    shown = {} if len(labels) > MANY else {label: label for label in labels}
    for name in [*shown, None]:
        own = whole if name is None else {key: per_class[key].get(name) for key in per_class}
        count, alarms = own.get("true_events"), own.get("false_alarms_per_hour")
        table.add_row(
            "all" if name is None else escape(name),
            "–" if count is None else f"{count:g}",
            *(_three(own.get(key)) for key in ("precision", "recall", "f1")),
            "–" if alarms is None else f"{alarms:.1f}",
            style="bold" if name is None else None,
        )
    ratios = report["parameters"]["intersection_f1"]
    table.caption = (
        f"at the thresholds in use; found: {100 * ratios['gtc']:g} % of the event is covered; "
        f"false alarm: less than {100 * ratios['dtc']:g} % of the detection is"
    )
    return table


def figures_table(report: Mapping[str, Any], title: str) -> Table:
    """Overall figures: one row a metric, with interval, spread over seeds, micro and best."""
    table = Table(title=escape(title), title_justify="left")
    intervals, spread = report["intervals"], report.get("sd", {})
    best = any(f"{name}_best" in report for name in F1)
    table.add_column("metric", no_wrap=True)
    table.add_column("mean" if spread else "score", justify="right", style="bold")
    if spread:
        table.add_column(f"sd of {report['seeds']}", justify="right")
    if intervals:
        table.add_column("95 % of clips", justify="right", no_wrap=True)
    table.add_column("micro", justify="right")
    if best:
        table.add_column("best thr.", justify="right")
    for name in _metrics(report):
        cells = [title_of(name), _three(report[name])]
        if spread:
            cells.append(_three(spread.get(name)))
        if intervals:
            cells.append("–".join(_three(end) for end in intervals.get(name, ())))
        cells.append(_three(report.get(f"{name}_micro")))
        if best:
            cells.append(_three(report.get(f"{name}_best")))
        table.add_row(*cells)
    return table


def _metrics(report: Mapping[str, Any]) -> list[str]:
    """Rows of the table: every metric but those that are columns."""
    return [
        name
        for name in report["per_class"]
        if not name.endswith("_best")
        and name not in PLAIN
        and isinstance(report.get(name), int | float)
    ]


def classes_table(report: Mapping[str, Any]) -> Table | str:
    """Figures by class, or a word where there are too many classes."""
    per_class = report["per_class"]
    present = [name for name in per_class if name in BY_CLASS or "psds" in name]
    labels = sorted({label for name in present for label in per_class[name]})
    if len(labels) > MANY:
        return f"{len(labels)} classes: each class's figures are in the file of --json"
    table = Table(title_justify="left")
    table.add_column("class", overflow="fold")
    for name in present:
        table.add_column(BY_CLASS.get(name, title_of(name)), justify="right")
    for label in labels:
        table.add_row(escape(label), *(_three(per_class[name].get(label)) for name in present))
    return table


def print_notes(console: Console, report: Mapping[str, Any]) -> None:
    """Prints on which clips the figures were made, and every warning."""
    missing = report["missing"]
    console.print(
        f"on [bold]{report['clips']} of {report['of']}[/] clips; evaluation "
        f"{report['evaluation']} (figures may be compared if this is the same)",
        highlight=False,
        soft_wrap=True,
    )
    if missing:
        more = f" and {len(missing) - NAMED} more" if len(missing) > NAMED else ""
        note(console, ", ".join(missing[:NAMED]) + more, "missing")
    for line in [*report["warnings"], *_small(report)]:
        note(console, line)


def _small(report: Mapping[str, Any]) -> list[str]:
    """What the intervals of a small test set mean."""
    counts = report["per_class"].get("true_events", {})
    few = [label for label, count in counts.items() if 0 < count < FEW_EVENTS]
    if not report["intervals"] or (report["clips"] >= FEW_CLIPS and not few):
        return []
    lacking = f", and of {', '.join(few[:NAMED])} fewer than {FEW_EVENTS} events" if few else ""
    return [
        f"a small test set ({report['clips']} clips{lacking}): the intervals say how far the "
        "figures would move with other clips drawn from the same ones, and are rough themselves; "
        "they do not cover other places, microphones or days"
    ]


def comparison_table(
    comparison: Mapping[str, Mapping[str, float]], first: str, second: str
) -> Table:
    """Two systems by metric: difference, its interval, and how often the first is better."""
    table = Table(title=escape(f"A: {first}   B: {second}"), title_justify="left")
    table.add_column("metric", no_wrap=True)
    for heading in ("A", "B", "A − B", "95 % of clips", "A better"):
        table.add_column(heading, justify="right", no_wrap=True)
    for name, found in comparison.items():
        if name.endswith("_micro") or "_best" in name:
            continue  # these are in the file
        clear = found["low"] > 0 or found["high"] < 0
        table.add_row(
            title_of(name),
            *(_three(found[key]) for key in ("first", "second")),
            f"{found['difference']:+.3f}",
            f"{found['low']:+.3f} … {found['high']:+.3f}",
            f"{100 * found['better']:.0f} %",
            style="bold" if clear else None,
        )
    table.caption = "bold: 0 is outside the interval. The same draws of clips for A and B."
    return table


def before_after_table(found: Tuning) -> Table:
    """Figures before tuning and after it, cross-validated, with 95 % intervals below them."""
    before, after = found.untuned, found.cross_validated
    folds = f"{len(found.folds)} folds" if found.folds else "not cross-validated"
    table = Table(title=f"{found.method}, tuned for {found.objective}", title_justify="left")
    table.add_column("metric", no_wrap=True)
    table.add_column("before", justify="right")
    table.add_column(f"tuned, {folds}", justify="right")
    table.add_column("difference", justify="right")
    for name in _metrics(before):
        cells = [title_of(name), _figure(before, name)]
        if after is None:
            table.add_row(*cells, "–", "–")
            continue
        change = f"{after[name] - before[name]:+.3f}"
        paired = found.difference.get(name)
        clear = paired is not None and (paired["low"] > 0 or paired["high"] < 0)
        if paired is not None:
            change += f"\n{paired['low']:+.3f} … {paired['high']:+.3f}"
        table.add_row(
            *cells, _figure(after, name), change, style="bold" if clear else None
        )  # fmt: skip
    return table


def _figure(report: Mapping[str, Any], name: str) -> str:
    interval = report["intervals"].get(name)
    text = f"{report[name]:.3f}"
    return text if interval is None else f"{text}\n{interval[0]:.3f}–{interval[1]:.3f}"


def variants_table(report: Mapping[str, Any], name: str) -> Table:
    """The same scores with other post-processing."""
    metrics = [metric for metric in BY_CLASS if metric in report]
    table = Table(title="post-processing", title_justify="left")
    table.add_column("")
    for metric in metrics:
        table.add_column(BY_CLASS[metric], justify="right")
    table.add_row(name, *(_three(report[metric]) for metric in metrics), style="bold")
    for other, found in report["variants"].items():
        table.add_row(escape(other), *(_three(found[metric]) for metric in metrics))
    return table


def choices_table(found: Tuning) -> Table:
    """What was chosen for each class on all clips."""
    boxes = found.method == "csebb"
    table = Table(title="chosen on all clips", title_justify="left")
    table.add_column("class", overflow="fold")
    for heading in ("events", *(("step s", "merge") if boxes else ("median s",)), "threshold"):
        table.add_column(heading, justify="right")
    for one in found.classes:
        setting = one.setting
        if isinstance(setting, float):
            cells = [f"{setting:g}"]
        else:
            limits = {"abs": setting.absolute, "rel": setting.relative}
            merge = " ".join(f"{key} {v:g}" for key, v in limits.items() if v != float("inf"))
            cells = [f"{setting.step_seconds:g}", merge or "all"]
        table.add_row(escape(one.label), str(one.events), *cells, f"{one.threshold:.3f}")
    return table


def _three(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"


def titles(first: System, second: System | None) -> tuple[str, str]:
    """Names of two systems that tell them apart: with their post-processing where they must."""
    if second is None:
        return first.name, ""
    if first.name != second.name:
        return first.name, second.name
    return f"{first.name}, {_method(first)}", f"{second.name}, {_method(second)}"


def _method(system: System) -> str:
    post = system.postprocess
    if post is None:
        return "as it is"
    seconds = post.median_seconds
    plain = isinstance(seconds, float) and post.method == "median"
    return f"{post.method} {seconds:g} s" if plain else post.method
