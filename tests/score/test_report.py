"""The metrics report and its intervals."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from earmark.core.errors import ScoreError
from earmark.core.tables.scores import ScoreTable
from earmark.score.bootstrap import bootstrap
from earmark.score.f1 import CollarCriterion, collar_f1, detections_from_scores, f1_statistics
from earmark.score.psds import PSDS1, PSDS2, psds, psds_statistics
from earmark.score.settings import MetricSettings
from helpers.metrics import metrics_dict
from helpers.score_cases import Case
from helpers.score_tables import tables_of

F1 = {"collar_f1", "intersection_f1", "segment_f1", "tagging_f1"}
PLAIN = {"true_events", "precision", "recall", "false_alarms_per_hour"}
ERRORS = {
    "error_rate", "error_rate_substitutions", "error_rate_deletions", "error_rate_insertions"
}  # fmt: skip
MACRO = {"psds1", "psds2", "tagging_map", "segment_map"} | F1 | {f"{name}_best" for name in F1}
MICRO = {f"{name}_micro" for name in MACRO if "f1" in name}
KEYS = MACRO | MICRO | PLAIN | ERRORS | {
    "per_class", "thresholds", "intervals", "clips", "of", "missing", "fingerprint", "evaluation",
    "parameters", "warnings",
}  # fmt: skip


def report(case: Case, given_scores: dict[str, ScoreTable], **changed: Any) -> dict[str, Any]:
    given = {
        "scores": given_scores,
        "detections": detections_from_scores(given_scores, case.threshold),
        "truth": case.truth,
        "durations": case.durations,
        "labels": case.labels,
        "of": len(given_scores) + 2,
        "fingerprint": "abc",
    }
    return metrics_dict(**given | changed)


def test_the_report_has_the_keys_and_numbers_it_should(case: Case) -> None:
    scores = tables_of(case)
    found = report(case, scores)
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    assert set(found) == KEYS
    assert set(found["per_class"]) == MACRO | PLAIN
    assert set(found["thresholds"]) == {f"{name}_best" for name in F1}
    assert found["psds1"] == psds(scores, case.truth, case.durations, PSDS1).value
    assert found["psds2"] == psds(scores, case.truth, case.durations, PSDS2).value
    collar = collar_f1(detections_from_scores(scores, case.threshold), case.truth, case.labels)
    assert found["collar_f1"] == collar.macro
    assert found["per_class"]["collar_f1"] == collar.per_class
    assert (found["clips"], found["of"], found["fingerprint"]) == (
        *(len(scores), len(scores) + 2, "abc"),
    )
    assert found["intervals"] == {}
    assert found["parameters"]["psds2"]["alpha_ct"] == 0.5


def test_only_scored_clips_count(case: Case) -> None:
    scores = tables_of(case)
    some = dict(list(scores.items())[:-3])
    found = report(case, some)
    assert found["clips"] == len(some)
    kept = {clip: case.truth[clip] for clip in some}
    seconds = {clip: case.durations[clip] for clip in some}
    assert found["psds1"] == psds(some, kept, seconds, PSDS1).value
    with pytest.raises(ScoreError, match="detections are not in the clips that count"):
        report(case, some, detections=detections_from_scores(scores, 0.5))


def test_classes_without_truth_are_told(case: Case) -> None:
    labels = (*case.labels, "never")
    scores = {
        clip: ScoreTable(t.boundaries, np.pad(t.values, ((0, 0), (0, 1))), labels)
        for clip, t in tables_of(case).items()
    }
    found = report(case, scores, labels=labels)
    counted = {name for name, numbers in found["per_class"].items() if "never" in numbers}
    assert counted == {"true_events", "false_alarms_per_hour"}  # it may be a false alarm
    assert found["parameters"]["warnings"] == ["classes without truth left out of the mean: never"]


def test_other_classes_or_unknown_durations_are_refused(case: Case) -> None:
    with pytest.raises(ScoreError, match=r"the score table of .* has the classes"):
        report(case, tables_of(case), labels=case.labels[1:])
    with pytest.raises(ScoreError, match="are not in the durations"):
        report(case, tables_of(case), durations={})


def test_intervals_hold_the_value_and_come_from_the_seed(case: Case) -> None:
    scores = tables_of(case)
    first = report(case, scores, resamples=40, seed=1)
    assert set(first["intervals"]) == MACRO | MICRO | ERRORS
    for name, (low, high) in first["intervals"].items():
        assert 0 <= low <= high, name
        assert high <= 1 or name in ERRORS, name
    low, high = first["intervals"]["segment_f1"]
    assert low < first["segment_f1"] < high
    assert report(case, scores, resamples=40, seed=1) == first
    assert report(case, scores, resamples=40, seed=2)["intervals"] != first["intervals"]
    assert json.loads(json.dumps(first, allow_nan=False)) == first


def test_resampled_scores_are_those_of_the_drawn_clips(case: Case) -> None:
    scores = tables_of(case)
    found = detections_from_scores(scores, case.threshold)
    statistics = f1_statistics(
        found, case.truth, case.labels, CollarCriterion(), clips=tuple(scores)
    )
    ends = bootstrap({"f1": statistics}, resamples=1, rng=np.random.default_rng(5))
    size = len(scores)
    drawn = np.random.default_rng(5).multinomial(size, np.full(size, 1 / size))
    copies = [
        (f"{clip}#{k}", clip)
        for clip, count in zip(scores, drawn, strict=True)
        for k in range(count)
    ]
    whole = collar_f1(
        {name: found[clip] for name, clip in copies},
        {name: case.truth[clip] for name, clip in copies},
        case.labels,
    )
    assert ends["f1"] == pytest.approx((whole.macro, whole.macro))
    assert ends["f1_micro"] == pytest.approx((whole.micro, whole.micro))


def test_draws_without_any_event_are_drawn_again() -> None:
    table = ScoreTable(np.arange(3.0), np.array([[1.0], [0.0]]), ("x",))
    scores = {f"c{k}": table for k in range(3)}
    truth = {"c0": [(0.0, 1.0, "x")]}
    statistics = psds_statistics(scores, truth, dict.fromkeys(scores, 2.0), PSDS1)
    steps: list[tuple[int, int]] = []
    ends = bootstrap(
        {"psds1": statistics},
        resamples=230,
        rng=np.random.default_rng(0),
        progress=lambda done, total: steps.append((done, total)),
    )
    low, high = ends["psds1"]
    assert 0 <= low <= high <= 1
    assert steps == [(100, 230), (200, 230), (230, 230)]


def test_intervals_need_sense(case: Case) -> None:
    scores = tables_of(case)
    statistics = psds_statistics(scores, case.truth, case.durations, PSDS1)
    rng = np.random.default_rng(0)
    with pytest.raises(ScoreError, match="0 resamples"):
        bootstrap({"a": statistics}, resamples=0, rng=rng)
    with pytest.raises(ScoreError, match="at level 1"):
        bootstrap({"a": statistics}, resamples=5, rng=rng, level=1.0)
    other = f1_statistics({}, {"q": [(0.0, 1.0, "x")]}, ["x"], CollarCriterion())
    with pytest.raises(ScoreError, match="same clips"):
        bootstrap({"a": statistics, "b": other}, resamples=5, rng=rng)


def test_detections_alone_have_what_needs_no_scores(case: Case) -> None:
    found = detections_from_scores(tables_of(case), case.threshold)
    whole = report(case, tables_of(case))
    alone = report(case, tables_of(case), scores=None, detections=found, resamples=20)
    hard = F1 | {f"{name}_micro" for name in F1} | ERRORS
    floats = {name for name, value in alone.items() if isinstance(value, float)}
    assert floats == hard | PLAIN - {"true_events"}
    assert all(alone[name] == whole[name] for name in hard | PLAIN)
    assert alone["thresholds"] == {}
    assert set(alone["intervals"]) == hard
    assert alone["clips"] == whole["clips"]
    assert alone["evaluation"] == whole["evaluation"]


def test_the_old_mean_of_cross_triggers_is_named(case: Case) -> None:
    new, old = (
        report(case, tables_of(case), settings=MetricSettings.with_scenarios({}, ct_mean=mean))
        for mean in ("others", "old")
    )
    assert old["parameters"]["psds2"]["ct_mean"] == "old"
    expected = psds(
        tables_of(case), case.truth, case.durations, replace(PSDS2, ct_mean="old")
    )  # fmt: skip
    assert old["psds2"] == pytest.approx(expected.value, abs=1e-12)
    assert old["psds2"] >= new["psds2"]
    assert old["evaluation"] != new["evaluation"]


def test_the_evaluation_has_a_fingerprint_of_its_own(case: Case) -> None:
    scores = tables_of(case)
    given, none = report(case, scores), report(case, scores, fingerprint=None)
    assert given["fingerprint"] == "abc"
    assert none["fingerprint"] == none["evaluation"] == given["evaluation"]
    other = {clip: ScoreTable(t.boundaries, t.values / 2, t.labels) for clip, t in scores.items()}
    assert report(case, other)["evaluation"] == given["evaluation"]
    moved = case.truth | {next(iter(scores)): [(0.0, 0.01, case.labels[0])]}
    assert report(case, scores, truth=moved)["evaluation"] != given["evaluation"]
