"""Comparing systems, seeds and fingerprints."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from earmark.core.errors import ScoreError
from earmark.core.tables.scores import ScoreTable
from earmark.score.bootstrap import bootstrap, draw_clips
from earmark.score.f1 import CollarCriterion, detections_from_scores, f1_statistics
from earmark.score.psds import PSDS1, PSDS2, detection_statistics, psds_statistics
from earmark.score.report import (
    ScoringTask,
    across_seeds,
    compared_reports,
    evaluation_fingerprint,
    measure_tables,
    report,
)
from earmark.score.report.compare import Aligned, averaged, compare_systems
from helpers.metrics import metric_statistics, metrics_dict
from helpers.score_cases import Case
from helpers.score_tables import tables_of


def statistics(case: Case, scores: dict[str, ScoreTable], **changed: Any) -> dict[str, Any]:
    given = {
        "scores": scores,
        "detections": detections_from_scores(scores, case.threshold),
        "truth": {clip: case.truth[clip] for clip in scores},
        "durations": case.durations,
        "labels": case.labels,
    }
    return metric_statistics(**given | changed)


def worse(scores: dict[str, ScoreTable], seed: int = 0) -> dict[str, ScoreTable]:
    """The same scores with much noise, in another order of clips."""
    rng = np.random.default_rng(seed)
    return {
        clip: ScoreTable(t.boundaries, t.values + rng.normal(0, 0.4, t.values.shape), t.labels)
        for clip, t in reversed(scores.items())
    }


# --- two systems --------------------------------------------------------------------------------


def test_a_better_system_is_found_better(case: Case) -> None:
    scores = tables_of(case)
    first, second = statistics(case, scores), statistics(case, worse(scores))
    found = compare_systems(first, second, resamples=100, rng=np.random.default_rng(0))
    assert set(found) >= {"psds1", "psds2", "collar_f1_micro", "tagging_map", "segment_f1_best"}
    better = found["segment_f1_best"]
    assert better.first == first["segment_f1_best"].result().macro
    assert better.second == pytest.approx(second["segment_f1_best"].result().macro)
    assert better.difference == better.first - better.second > 0
    assert better.low <= better.difference <= better.high
    assert better.low > 0
    assert better.better > 0.95
    turned = compare_systems(second, first, resamples=100, rng=np.random.default_rng(0))
    assert turned["segment_f1_best"].difference == pytest.approx(-better.difference)
    assert turned["segment_f1_best"].better < 0.05


def test_a_system_does_not_differ_from_itself(case: Case) -> None:
    scores = tables_of(case)
    again = dict(reversed(scores.items()))
    found = compare_systems(
        statistics(case, scores),
        statistics(case, again),
        resamples=50,
        rng=np.random.default_rng(0),
    )
    for name, result in found.items():
        for value in (result.difference, result.low, result.high):
            assert value == pytest.approx(0, abs=1e-12), name
    assert found["collar_f1"].better == 0.5


def test_statistics_in_another_order_of_clips_keep_their_events(case: Case) -> None:
    found = statistics(case, tables_of(case))["collar_f1"]
    moved = Aligned.of([found], tuple(reversed(found.clips)))
    assert not np.array_equal(found.eventful(), found.eventful()[::-1])
    assert np.array_equal(moved.eventful(), found.eventful()[::-1])


def test_other_clips_are_refused_by_name(case: Case) -> None:
    scores = tables_of(case)
    first = statistics(case, scores)
    left_out = next(iter(scores))
    second = statistics(case, {clip: t for clip, t in scores.items() if clip != left_out})
    rng = np.random.default_rng(0)
    with pytest.raises(ScoreError, match=f"first system are not in the second: {left_out}"):
        compare_systems(first, second, rng=rng)
    with pytest.raises(ScoreError, match=f"second system are not in the first: {left_out}"):
        compare_systems(second, first, rng=rng)


def test_other_truth_classes_or_parameters_are_refused(case: Case) -> None:
    scores = tables_of(case)
    first = statistics(case, scores)
    rng = np.random.default_rng(0)
    clip = next(clip for clip, events in case.truth.items() if len(events) > 1)
    other = case.truth | {clip: case.truth[clip][1:]}
    with pytest.raises(ScoreError, match=f"the truth of {clip} differs"):
        compare_systems(first, statistics(case, scores, truth=other), rng=rng)
    with pytest.raises(ScoreError, match="no metric in common"):
        compare_systems({"a": first["psds1"]}, {"b": first["psds1"]}, rng=rng)
    given = scores, case.truth, case.durations
    one, two = ({"psds": psds_statistics(*given, parameters)} for parameters in (PSDS1, PSDS2))
    with pytest.raises(ScoreError, match="measured with other parameters"):
        compare_systems(one, two, rng=rng)
    longer = {name: seconds + 1 for name, seconds in case.durations.items()}
    with pytest.raises(ScoreError, match="durations of the two systems differ"):
        compare_systems(one, {"psds": psds_statistics(*given[:2], longer, PSDS1)}, rng=rng)
    added = case.truth | {clip: [*case.truth[clip], (0.0, 1.0, "new")]}
    more = f1_statistics({}, added, (*case.labels, "new"), CollarCriterion(), clips=tuple(scores))
    with pytest.raises(ScoreError, match="other classes: new"):
        compare_systems({"collar_f1": first["collar_f1"]}, {"collar_f1": more}, rng=rng)
    # A class without truth is in no mean: one system may know it and the other not.
    more = f1_statistics(
        {}, case.truth, ("new", *case.labels), CollarCriterion(), clips=tuple(scores)
    )
    compare_systems({"collar_f1": first["collar_f1"]}, {"collar_f1": more}, resamples=5, rng=rng)


# --- intervals ----------------------------------------------------------------------------------


def test_every_metric_has_an_interval(case: Case) -> None:
    scores = tables_of(case)
    found = detections_from_scores(scores, case.threshold)
    report = metrics_dict(
        scores, found, case.truth, case.durations, case.labels, of=len(scores), resamples=60
    )
    numbers = {name for name, value in report.items() if isinstance(value, float)}
    numbers -= {"precision", "recall", "false_alarms_per_hour"}  # the plain table's, without one
    assert set(report["intervals"]) == numbers
    assert len(numbers) == 24
    for name, (low, high) in report["intervals"].items():
        assert low <= high
        spread = max(high - low, 0.02)
        assert low - spread <= report[name] <= high + spread, name


@pytest.mark.parametrize("parameters", [PSDS1, PSDS2])
def test_fast_resamples_are_the_results_with_these_weights(case: Case, parameters: Any) -> None:
    found = psds_statistics(tables_of(case), case.truth, case.durations, parameters)
    weights = draw_clips(np.random.default_rng(4), found.eventful(), 25)
    values = found.resampled(weights)[""]
    classes = found.resampled_classes(weights)
    for row, weight in enumerate(weights):
        whole = found.result(weight.astype(np.float64))
        assert values[row] == pytest.approx(whole.value, abs=1e-12)
        for label, value in whole.per_class.items():
            assert classes[case.labels.index(label), row] == pytest.approx(value, abs=1e-12)
        absent = [case.labels.index(label) for label in whole.left_out]
        assert np.isnan(classes[absent, row]).all()


def test_detections_at_few_thresholds_have_intervals_too(case: Case) -> None:
    points = [detections_from_scores(tables_of(case), tau) for tau in case.operating_points]
    found = detection_statistics(points, case.truth, case.durations, case.labels, PSDS2)
    ends = bootstrap({"psds": found}, resamples=50, rng=np.random.default_rng(0))
    low, high = ends["psds"]
    assert 0 <= low <= high <= 1
    weights = draw_clips(np.random.default_rng(4), found.eventful(), 3)
    for value, weight in zip(found.resampled(weights)[""], weights, strict=True):
        assert value == pytest.approx(found.result(weight.astype(float)).value, abs=1e-12)


# --- seeds --------------------------------------------------------------------------------------


def reports(case: Case, count: int) -> list[dict[str, Any]]:
    found = []
    for seed in range(count):
        scores = worse(tables_of(case), seed)
        hard = detections_from_scores(scores, case.threshold)
        found.append(
            metrics_dict(scores, hard, case.truth, case.durations, case.labels, of=len(scores))
        )
    return found


def test_seeds_are_averaged_by_metric_and_class(case: Case) -> None:
    runs = reports(case, 3)
    found = across_seeds(runs)
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    assert found["seeds"] == 3
    assert found["evaluation"] == runs[0]["evaluation"]
    values = [run["segment_f1_best"] for run in runs]
    assert np.std(values) > 0
    assert found["metrics"]["segment_f1_best"]["values"] == values
    assert found["metrics"]["segment_f1_best"]["mean"] == pytest.approx(np.mean(values))
    assert found["metrics"]["segment_f1_best"]["sd"] == pytest.approx(np.std(values, ddof=1))
    label = next(iter(runs[0]["per_class"]["collar_f1_best"]))
    by_class = [run["per_class"]["collar_f1_best"][label] for run in runs]
    assert found["per_class"]["collar_f1_best"][label]["mean"] == pytest.approx(np.mean(by_class))
    assert "clips" not in found["metrics"]
    assert across_seeds(runs[:1])["metrics"]["psds2"]["sd"] is None


def test_seeds_must_be_of_the_same_evaluation(case: Case) -> None:
    runs = reports(case, 2)
    with pytest.raises(ScoreError, match="the runs differ in evaluation"):
        across_seeds([runs[0], runs[1] | {"evaluation": "else"}])
    with pytest.raises(ScoreError, match="no reports"):
        across_seeds([])


def test_a_report_of_several_runs_has_means_spreads_and_intervals_of_the_mean(case: Case) -> None:
    task = ScoringTask(tuple(case.values), case.truth, case.durations, case.labels)
    runs = []
    for seed in range(3):
        scores = worse(tables_of(case), seed)  # in another order of clips
        own = replace(task, clips=tuple(scores) if seed else task.clips)
        runs.append(measure_tables(scores, detections_from_scores(scores, case.threshold), own))
    found = report(runs, resamples=60)
    alone = [report([run], resamples=60) for run in runs]
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    assert found["seeds"] == 3
    assert set(alone[0]) <= set(found) | {"thresholds", "per_class_intervals"}  # of one run alone
    for name, low_high in found["intervals"].items():
        values = [one[name] for one in alone]
        assert found[name] == pytest.approx(np.mean(values))
        assert found["sd"][name] == pytest.approx(np.std(values, ddof=1))
        assert [run[name] for run in found["runs"]] == values
        assert low_high[0] <= low_high[1]
    label = next(iter(found["per_class"]["psds1"]))
    values = [one["per_class"]["psds1"][label] for one in alone]
    assert found["per_class"]["psds1"][label] == pytest.approx(np.mean(values))
    assert found["per_class_sd"]["psds1"][label] == pytest.approx(np.std(values, ddof=1))
    assert found["evaluation"] == alone[0]["evaluation"]
    together = averaged([run.statistics for run in runs])
    weights = draw_clips(np.random.default_rng(1), together["psds1"].eventful(), 4)
    place = [[run.task.clips.index(clip) for clip in task.clips] for run in runs]
    for name, statistics in together.items():
        drawn = []
        for run, order in zip(runs, place, strict=True):
            own_weights = np.empty_like(weights)
            own_weights[:, order] = weights
            drawn.append(run.statistics[name].resampled(own_weights)[""])
        assert statistics.resampled(weights)[""] == pytest.approx(np.mean(drawn, axis=0)), name


def test_systems_of_several_runs_are_compared_by_their_means(case: Case) -> None:
    task = ScoringTask(tuple(case.values), case.truth, case.durations, case.labels)

    def measured(scores: dict[str, ScoreTable]) -> Any:
        return measure_tables(scores, detections_from_scores(scores, case.threshold), task)

    good = measured(tables_of(case))
    bad = [measured(worse(tables_of(case), seed)) for seed in range(2)]
    found = compared_reports([good], bad, resamples=40)[2]["segment_f1_best"]
    values = [run.statistics["segment_f1_best"].result().macro for run in bad]
    assert found["second"] == pytest.approx(np.mean(values))
    assert found["low"] > 0
    again = compared_reports([good, good], bad, resamples=40)[2]["segment_f1_best"]
    assert again == pytest.approx(found)
    first, second, _ = compared_reports([good], bad, resamples=40)
    alone = report([good], resamples=40)
    del alone["per_class_intervals"]
    assert first == alone
    assert second == report(bad, resamples=40)
    other = replace(task, clips=task.clips[1:])
    fewer = measure_tables(tables_of(case), {}, other)
    with pytest.raises(ScoreError, match=f"first run are not in the 2.: {task.clips[0]}"):
        report([good, fewer])


# --- fingerprints -------------------------------------------------------------------------------


def test_a_fingerprint_changes_with_what_counts_and_nothing_else() -> None:
    given: dict[str, Any] = {
        "clips": ["a", "b"],
        "truth": {"a": [(0.0, 1.0, "x"), (2.0, 3.0, "y")]},
        "durations": {"a": 10.0, "b": 5.0},
        "labels": ["x", "y"],
        "parameters": {"dtc": 0.7},
    }
    first = evaluation_fingerprint(**given)
    assert len(first) == 16
    same = {
        "clips": ["b", "a"],
        "truth": {"b": [], "a": [(2.0, 3.0 + 1e-9, "y"), (0.0, 1.0, "x")]},
        "durations": {"b": 5.0, "a": 10.0, "else": 1.0},
        "labels": ["y", "x"],
    }
    for key, value in same.items():
        assert evaluation_fingerprint(**given | {key: value}) == first, key
    other = {
        "clips": ["a"],
        "truth": {"a": [(0.0, 1.001, "x"), (2.0, 3.0, "y")]},
        "durations": {"a": 10.1, "b": 5.0},
        "labels": ["x", "y", "z"],
        "parameters": {"dtc": 0.5},
    }
    found = {evaluation_fingerprint(**given | {key: value}) for key, value in other.items()}
    assert len(found | {first}) == 6
