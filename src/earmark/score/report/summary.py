"""The metrics of one evaluation, under the keys that every report of the project uses."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from earmark.core.errors import ScoreError
from earmark.core.event import EventTuple
from earmark.core.parallel import Progress
from earmark.score.bootstrap import (
    Statistics,
    bootstrap,
    class_intervals,
    interval,
    resampled_values,
)
from earmark.score.events import Events
from earmark.score.f1.best import BestF1Result, SweepStatistics
from earmark.score.f1.counts import F1Statistics
from earmark.score.f1.errors import PARTS, ErrorStatistics
from earmark.score.f1.tagging import PrecisionStatistics
from earmark.score.psds.independent import IndependentStatistics
from earmark.score.psds.statistics import PsdsStatistics
from earmark.score.report.compare import aligned_systems, averaged, compare_resampled
from earmark.score.report.everyday import everyday_figures
from earmark.score.report.measurer import Measurement
from earmark.score.report.task import ScoringTask

LEVEL = 0.95
FINGERPRINT_LENGTH = 16
"""Hexadecimal digits of a fingerprint."""
DECIMALS = 6
"""Times are taken rounded to so many decimals, the most that files of them have."""
SAME = ("evaluation", "clips", "of")
"""What reports must have in common to be averaged."""


def report(
    runs: Sequence[Measurement],
    *,
    resamples: int = 0,
    class_resamples: int = 0,
    seed: int = 0,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """The numbers of a system, or the means over several runs of it.

    Args:
        runs: Counts of each run, on the same task.
        resamples: Draws for 95 % intervals over clips; 0 leaves ``intervals`` empty.
        class_resamples: Draws for those of each class's F1 alone, where ``resamples`` is 0.
        seed: Seed of the draws.
        progress: Called with draws done and draws in all.

    Returns:
        Macro scores ``psds1``, ``psds2`` (and other scenarios; if asked for ``pi_psds1``, …),
        ``collar_f1``, ``intersection_f1``, ``segment_f1``, ``tagging_f1``, ``tagging_map``,
        ``segment_map``;
        ``error_rate`` and ``error_rate_substitutions``, ``…_deletions``, ``…_insertions``; the
        figures of `earmark.score.report.everyday`, of all classes together; of the F1 scores
        ``…_micro``, ``…_best`` (each class at its best threshold) and ``…_best_micro``;
        ``per_class`` (metric → class → number; classes without truth are missing),
        ``thresholds`` (metric → class → best threshold, ``None`` if not finite), ``intervals``
        (metric → [low, high]), ``per_class_intervals`` (of the F1 scores of one run with
        intervals: metric → class → [low, high]), ``clips``, ``of``, ``missing``,
        ``fingerprint``, ``evaluation`` (fingerprint of clips, truth, durations, classes and
        parameters), ``parameters``, ``warnings``; fit for JSON. Of several runs also ``seeds``
        (their number), ``sd`` (metric → standard deviation over runs), ``per_class_sd`` and
        ``runs`` (the numbers of each); all other numbers are means.

    Raises:
        ScoreError: If the runs are not of the same task, or no class has truth.
    """
    statistics, ends = averaged([run.statistics for run in runs]), {}
    if resamples:
        rng = np.random.default_rng(seed)
        ends = bootstrap(statistics, resamples=resamples, rng=rng, level=LEVEL, progress=progress)
    found = _report(runs, ends, resamples, seed)
    if len(runs) == 1 and (resamples or class_resamples):
        draws = resamples or class_resamples
        found["per_class_intervals"] = _by_class(runs[0].statistics, draws, seed)
    return found


def _by_class(
    statistics: Mapping[str, Statistics], resamples: int, seed: int
) -> dict[str, dict[str, list[float]]]:
    """Intervals of each class's F1, of counts at the thresholds in use: metric → class → ends."""
    chosen = {name: found for name, found in statistics.items() if isinstance(found, F1Statistics)}
    rng = np.random.default_rng(seed)
    ends = class_intervals(chosen, resamples=resamples, rng=rng, level=LEVEL)
    return {
        metric: {label: list(low_high) for label, low_high in own.items()}
        for metric, own in ends.items()
    }


def _report(
    runs: Sequence[Measurement], ends: Mapping[str, tuple[float, float]], resamples: int, seed: int
) -> dict[str, Any]:
    """A report with given intervals."""
    task = runs[0].task
    notes = [*task.notes, *(line for run in runs for line in run.notes), *_coarse(runs[0])]
    measured = [measure(run.statistics) for run in runs]
    for one, run in zip(measured, runs, strict=True):
        values, by_class = everyday_figures(run)
        one.values.update(values)
        one.per_class.update(by_class)
    notes += _outside(measured, ends)
    warnings = list(dict.fromkeys([*notes, *(line for one in measured for line in one.warnings)]))
    identity = _identity(task)
    drawn = {"resamples": resamples, "seed": seed, "level": LEVEL} if resamples else None
    stated = task.settings.to_dict() | {"intervals": drawn, "warnings": warnings}
    if runs[0].thresholds is not None and "psds1" in runs[0].statistics:
        stated["thresholds"] = runs[0].thresholds
    return {
        **_numbers(measured, identity),
        "intervals": {name: list(low_high) for name, low_high in ends.items()},
        **identity,
        "parameters": stated,
        "warnings": warnings,
    }


def _coarse(run: Measurement) -> list[str]:
    """A warning where PSDS is of some thresholds only."""
    if run.thresholds is None or not any(name.startswith("psds") for name in run.statistics):
        return []
    many = "1 threshold" if run.thresholds == 1 else f"{run.thresholds} thresholds"
    return [f"PSDS of detections at {many}: roughly a lower bound of PSDS over all thresholds"]


def _outside(
    measured: Sequence[MetricValues], ends: Mapping[str, tuple[float, float]]
) -> list[str]:
    """A warning where scores are outside of their intervals."""
    found = [
        name
        for name, (low, high) in ends.items()
        if not low <= float(np.mean([one.values[name] for one in measured])) <= high
    ]
    said = (
        f"outside of their intervals: {', '.join(found)}. With few events of a class, "
        "resampled clips differ from these: use the width of the intervals, not their position"
    )
    return [said] if found else []


def _identity(task: ScoringTask) -> dict[str, Any]:
    """What was measured on which clips."""
    durations = task.durations or dict.fromkeys(task.clips, 0.0)
    evaluation = evaluation_fingerprint(
        task.clips, task.truth, durations, task.labels, task.settings.to_dict()
    )
    return {
        "clips": len(task.clips),
        "of": len(task.clips) if task.of is None else task.of,
        "missing": list(task.missing),
        "fingerprint": evaluation if task.fingerprint is None else task.fingerprint,
        "evaluation": evaluation,
    }


def _numbers(measured: Sequence[MetricValues], identity: Mapping[str, Any]) -> dict[str, Any]:
    """Numbers of one run; of several the means, what they spread, and each."""
    runs = [
        {**one.values, "per_class": one.per_class, "thresholds": one.thresholds} for one in measured
    ]
    if len(runs) == 1:
        return runs[0]
    found = across_seeds([{**run, **identity} for run in runs])
    metrics, classes = found["metrics"], found["per_class"].items()
    return {
        **_each(metrics, "mean"),
        "per_class": {metric: _each(own, "mean") for metric, own in classes},
        "seeds": len(runs),
        "sd": _each(metrics, "sd"),
        "per_class_sd": {metric: _each(own, "sd") for metric, own in classes},
        "runs": runs,
    }


def _each(summaries: Mapping[str, Mapping[str, Any]], key: str) -> dict[str, Any]:
    return {name: summary[key] for name, summary in summaries.items()}


def compared_reports(
    first: Sequence[Measurement],
    second: Sequence[Measurement],
    *,
    resamples: int = 1000,
    seed: int = 0,
    progress: Progress | None = None,
) -> tuple[dict[str, Any], dict[str, Any], dict[str, dict[str, float]]]:
    """Two systems, each of one run or several, on the same draws of clips: paired bootstrap.

    Args:
        first: Runs of system A.
        second: Runs of system B.
        resamples: Draws of clips.
        seed: Seed of the draws.
        progress: Called with draws done and draws in all.

    Returns:
        The reports of A and of B, as `report` makes them, with intervals for what both have;
        and by metric ``first``, ``second``, ``difference`` (A - B), ``low``, ``high`` and
        ``better``, as of `earmark.score.report.Comparison`.

    Raises:
        ScoreError: If clips (they are named), truth, classes or parameters differ.
    """
    runs = (averaged([run.statistics for run in system]) for system in (first, second))
    systems, rng = aligned_systems(*runs), np.random.default_rng(seed)
    values = resampled_values(systems, resamples=resamples, rng=rng, level=LEVEL, progress=progress)
    ends = [{name: interval(found, LEVEL) for name, found in one.items()} for one in values]
    compared = compare_resampled(systems, values, LEVEL)
    return (
        _report(first, ends[0], resamples, seed),
        _report(second, ends[1], resamples, seed),
        {name: vars(one) for name, one in compared.items()},
    )


@dataclass(frozen=True)
class MetricValues:
    """Numbers of several metrics: macro and micro, by class, best thresholds, and warnings."""

    values: dict[str, float]
    per_class: dict[str, dict[str, float]]
    thresholds: dict[str, dict[str, float | None]]
    warnings: list[str]


def measure(statistics: Mapping[str, Statistics]) -> MetricValues:
    """The numbers of each metric, every clip counted once."""
    found = MetricValues({}, {}, {}, [])
    for name, given in statistics.items():
        warnings: tuple[str, ...] = ()
        if isinstance(given, F1Statistics | SweepStatistics):
            f1 = given.result()
            found.values[name], found.values[f"{name}_micro"] = f1.macro, f1.micro
            found.per_class[name], warnings = f1.per_class, f1.warnings
            if isinstance(f1, BestF1Result):
                found.thresholds[name] = {
                    label: value if math.isfinite(value) else None
                    for label, value in f1.thresholds.items()
                }
        elif isinstance(given, PsdsStatistics | IndependentStatistics):
            psds = given.result()
            found.values[name], found.per_class[name] = psds.value, psds.per_class
            warnings = psds.warnings
        elif isinstance(given, PrecisionStatistics):
            precision = given.result()
            found.values[name], found.per_class[name] = precision.mean, precision.per_class
        elif isinstance(given, ErrorStatistics):
            errors = given.result()
            parts = (errors.substitutions, errors.deletions, errors.insertions)
            found.values[name] = errors.error_rate
            found.values.update(
                {f"{name}{part}": value for part, value in zip(PARTS, parts, strict=True)}
            )
        found.warnings.extend(line for line in warnings if line not in found.warnings)
    return found


def across_seeds(reports: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Aggregate the metrics of runs that differ in their seed only.

    Args:
        reports: Metrics of each run, as `report` makes them.

    Returns:
        ``seeds`` (how many), ``metrics`` (metric → ``mean``, ``sd``, ``values``), ``per_class``
        (metric → class → the same), and ``clips``, ``of``, ``evaluation`` that all have in common.
        ``sd`` is the sample standard deviation (n - 1), ``None`` for a single run. Metrics that
        some run does not have are left out.

    Raises:
        ScoreError: If there are no reports, or they are of other clips, truth or parameters.
    """
    if not reports:
        raise ScoreError("there are no reports to aggregate")
    for key in SAME:
        found = {"none" if report.get(key) is None else str(report[key]) for report in reports}
        if len(found) > 1:
            raise ScoreError(
                f"the runs differ in {key}: {', '.join(sorted(found))}",
                hint="Only runs scored on the same clips, truth and parameters can be averaged.",
            )
    names = [
        name
        for name in reports[0]
        if name not in SAME and all(_is_number(report.get(name)) for report in reports)
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


def _is_number(value: object) -> bool:
    return isinstance(value, float | int) and not isinstance(value, bool) and math.isfinite(value)


def _summary(values: Sequence[float]) -> dict[str, Any]:
    found = np.array(values, dtype=np.float64)
    sd = float(found.std(ddof=1)) if len(found) > 1 else None
    return {"mean": float(found.mean()), "sd": sd, "values": [float(value) for value in values]}


def evaluation_fingerprint(
    clips: Iterable[str],
    truth: Events,
    durations: Mapping[str, float],
    labels: Sequence[str],
    parameters: Mapping[str, Any],
) -> str:
    """A fingerprint of everything but the system that is scored.

    The order of clips, of classes and of events does not count.

    Args:
        clips: Ids of the clips that count.
        truth: Ground truth by clip id.
        durations: Seconds by clip id.
        labels: The classes.
        parameters: What was measured with; must be fit for JSON.
    """
    content = {
        "clips": [
            [clip, round(durations[clip], DECIMALS), _rounded(truth.get(clip, ()))]
            for clip in sorted(clips)
        ],
        "labels": sorted(labels),
        "parameters": parameters,
    }
    text = json.dumps(content, sort_keys=True, ensure_ascii=True, separators=(",", ":"))
    return hashlib.sha256(text.encode("ascii")).hexdigest()[:FINGERPRINT_LENGTH]


def _rounded(events: Iterable[EventTuple]) -> list[tuple[float, float, str]]:
    """Onset, offset and label; scores have no part in what is scored against."""
    return sorted((round(one[0], DECIMALS), round(one[1], DECIMALS), one[2]) for one in events)
