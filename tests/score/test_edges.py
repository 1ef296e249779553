"""Edge cases in which the reference libraries differ, fail or hang: what we do, and that we say so.

A test for each row of the table in docs/metrics.md, and the hand-made inputs of
`data/edge_cases.json` with what the libraries return for them.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from earmark.core.errors import ScoreError
from earmark.core.event import Event
from earmark.core.tables.scores import ScoreTable
from earmark.score.f1 import (
    best_f1,
    collar_f1,
    detections_from_scores,
    intersection_f1,
    segment_f1,
    tagging_metrics,
)
from earmark.score.psds import (
    PSDS1,
    PsdsAccumulator,
    PsdsParameters,
    psds,
    psds_of_detections,
)
from earmark.score.settings import MetricSettings
from helpers.cross_triggers import cross_triggers
from helpers.metrics import metrics_dict

CASES = json.loads((Path(__file__).parent / "data" / "edge_cases.json").read_text(encoding="utf-8"))
EVERY = pytest.mark.parametrize("case", CASES, ids=[case["name"] for case in CASES])
SIMPLE = PsdsParameters(dtc=0.5, gtc=0.5)


class Inputs:
    """Truth, detections and parameters of a case."""

    def __init__(self, case: dict[str, Any]) -> None:
        self.truth, self.found = (
            {clip: [tuple(event) for event in events] for clip, events in case[kind].items()}
            for kind in ("ground_truth", "detections")
        )
        self.durations = case["durations"]
        self.labels = tuple(case["classes"])
        self.parameters = PsdsParameters(**case["params"])
        self.reference = case["reference_results"]

    def tables(self) -> dict[str, ScoreTable]:
        """Score tables that give these detections at every threshold below 1."""
        tables = {}
        for clip, seconds in self.durations.items():
            events = self.found.get(clip, [])
            times = {0.0, seconds, *(time for event in events for time in event[:2])}
            edges = np.array(sorted(times))
            values = np.zeros((len(edges) - 1, len(self.labels)))
            for onset, offset, label in events:
                inside = (edges[:-1] >= onset) & (edges[1:] <= offset)
                values[inside, self.labels.index(label)] = 1.0
            # Only the runs themselves may ever be active.
            tables[clip] = ScoreTable(edges, np.where(values > 0, 1.0, -np.inf), self.labels)
        return tables


@EVERY
def test_psds_as_the_libraries_have_it(case: dict[str, Any]) -> None:
    given = Inputs(case)
    rest = (given.truth, given.durations, given.labels, given.parameters)
    for library in ("psds_eval", "sed_scores_eval"):
        expected = given.reference[library]
        if "error" in expected:
            continue
        result = psds_of_detections([given.found], *rest, like=library)  # type: ignore[arg-type]
        assert result.value == pytest.approx(expected["psds"], abs=1e-9)
        if library == "sed_scores_eval":
            assert result.per_class == pytest.approx(expected["class_psds"], abs=1e-9)
            scored = psds(given.tables(), given.truth, given.durations, given.parameters)
            assert scored.value == pytest.approx(expected["psds"], abs=1e-9)
            assert scored.per_class == pytest.approx(expected["class_psds"], abs=1e-9)


@EVERY
def test_counts_as_psds_eval_has_them(case: dict[str, Any]) -> None:
    given = Inputs(case)
    expected = given.reference["psds_eval"]
    if "error" in expected:
        return
    found = cross_triggers(
        given.found, given.truth, given.durations, given.labels, given.parameters, decimals=None
    )
    assert found.tpr.tolist() == pytest.approx(expected["tpr"])
    assert found.false_positives.tolist() == expected["fp"]
    assert found.counts.tolist() == expected["ct"]


@EVERY
def test_f1_as_the_libraries_have_it(case: dict[str, Any]) -> None:
    given = Inputs(case)
    rest = (given.found, given.truth, given.labels)
    sed_eval = given.reference["sed_eval"]
    if "error" in sed_eval:
        return
    for name, result in (
        ("event", collar_f1(*rest, decimals=None)),
        ("segment", segment_f1(*rest)),
    ):
        assert result.macro == pytest.approx(sed_eval[f"{name}_macro"])
        assert result.micro == pytest.approx(sed_eval[f"{name}_micro"])
        numbers = {k: v for k, v in sed_eval[f"{name}_f1"].items() if v is not None}
        assert result.per_class == pytest.approx(numbers)
        assert set(result.left_out) == set(given.labels) - set(numbers)
    numbers = given.reference["sed_scores_eval"]
    if "error" in numbers:
        return
    dtc, gtc = given.parameters.dtc, given.parameters.gtc
    for name, result in (
        ("collar_f1", collar_f1(*rest)),
        ("intersection_f1", intersection_f1(*rest, dtc=dtc, gtc=gtc)),
    ):
        assert result.macro == pytest.approx(numbers[name]["macro_average"])
        assert result.micro == pytest.approx(numbers[name]["micro_average"])


def test_the_cases_of_the_shared_folder_are_tested_too(golden: Any) -> None:
    shared = json.loads((golden.folder / "edge_cases.json").read_text(encoding="utf-8"))
    for case in shared:
        if case not in CASES:
            test_psds_as_the_libraries_have_it(case)
            test_counts_as_psds_eval_has_them(case)
            test_f1_as_the_libraries_have_it(case)


# --- one test for each row of the table, in its order -------------------------------------------


def named(name: str) -> Inputs:
    return Inputs(next(case for case in CASES if case["name"] == name))


def everything(given: Inputs) -> Iterator[Any]:
    """Each measure of given detections."""
    rest = (given.truth, given.durations, given.labels, given.parameters)
    yield psds_of_detections([given.found], *rest)
    for measure in (collar_f1, intersection_f1, segment_f1):
        yield measure(given.found, given.truth, given.labels)


def test_class_in_outputs_without_truth_is_left_out_with_a_warning() -> None:
    given = named("class_without_gt")
    said = "classes without truth left out of the mean: z"
    for result in everything(given):
        assert result.left_out == ("z",)
        assert said in result.warnings
    tables = given.tables()
    found = detections_from_scores(tables, 0.5)
    report = metrics_dict(tables, found, given.truth, given.durations, given.labels, of=2)
    assert said in report["warnings"]
    assert report["psds1"] == report["collar_f1"] == report["tagging_map"] == 1.0
    assert report["collar_f1_micro"] < 1.0
    # Only what needs no truth is told of it: it has no event, but false alarms.
    assert {name for name, numbers in report["per_class"].items() if "z" in numbers} <= {
        "false_alarms_per_hour",
        "precision",
        "true_events",
    }


def test_class_in_truth_without_scores_is_an_error() -> None:
    given = named("perfect")
    truth = given.truth | {"a": [*given.truth["a"], (5.0, 6.0, "Cow")]}
    for call in (
        lambda: psds(given.tables(), truth, given.durations),
        lambda: best_f1(given.tables(), truth, given.durations),
        lambda: tagging_metrics(given.tables(), truth),
        lambda: collar_f1(given.found, truth, given.labels),
    ):
        with pytest.raises(ScoreError, match=r"truth of a has the label Cow\. Known labels: x, y"):
            call()


def test_class_that_changes_no_count_at_any_threshold_has_a_rate_of_0() -> None:
    given = named("perfect")
    for value in (-np.inf, 0.3):
        tables = {}
        for clip, table in given.tables().items():
            values = table.values.copy()
            values[:, 1] = value
            tables[clip] = ScoreTable(table.boundaries, values, table.labels)
        result = psds(tables, given.truth, given.durations, SIMPLE)
        assert result.per_class == {"x": 1.0, "y": 0.0}
        said = "classes that are never active have a true-positive rate of 0: y"
        assert (said in result.warnings) == (value == -np.inf)
        best = best_f1(tables, given.truth, given.durations)
        assert (best.per_class["y"], best.thresholds["y"]) == (0.0, np.inf)
    found = detections_from_scores(tables, 0.5)
    report = metrics_dict(tables, found, given.truth, given.durations, given.labels, of=2)
    assert report["thresholds"]["collar_f1_best"]["y"] is None


def test_overlapping_truth_of_a_class_is_merged_and_said() -> None:
    given = named("overlapping_gt")
    said = "1 overlapping events of one class merged in the truth"
    result = psds_of_detections([given.found], given.truth, given.durations, given.labels, SIMPLE)
    assert said in result.warnings
    assert result.per_class["x"] == 1.0
    assert said in psds(given.tables(), given.truth, given.durations, SIMPLE).warnings
    # Collars compare single events, as sed_eval does.
    assert collar_f1(given.found, given.truth, given.labels).counts["x"].fn == 2


def test_touching_truth_of_a_class_stays_two_events() -> None:
    given = named("touching_gt")
    assert cross_triggers(
        given.found, given.truth, given.durations, given.labels
    ).true_events.tolist() == [2, 1]
    result = psds(given.tables(), given.truth, given.durations, SIMPLE)
    assert result.per_class["x"] == 1.0
    assert result.warnings == ()


def test_overlapping_detections_of_a_class_are_merged_and_said() -> None:
    given = named("perfect")
    given.found["a"] = [(1.0, 2.5, "x"), (2.0, 3.0, "x")]
    result = psds_of_detections([given.found], given.truth, given.durations, given.labels, SIMPLE)
    assert result.value == 1.0
    assert result.warnings == ("1 overlapping events of one class merged in the detections",)
    assert intersection_f1(given.found, given.truth, given.labels).macro == 1.0


def test_identical_rows_count_once_and_it_is_said() -> None:
    given = named("perfect")
    expected = [result.warnings for result in everything(given)]
    given.found["a"] = given.found["a"] * 2
    given.truth["b"] = given.truth["b"] * 3
    for result, before in zip(everything(given), expected, strict=True):
        assert before == ()
        assert "1 exact repetitions of events dropped from the detections" in result.warnings
        assert "2 exact repetitions of events dropped from the truth" in result.warnings
        values = result.per_class
        assert set(values.values()) == {1.0}


def test_events_of_no_length_are_removed_and_it_is_said() -> None:
    given = named("perfect")
    given.found["a"].append((5.0, 5.0, "x"))
    given.truth["b"].append((7.0, 7.0, "y"))
    for result in everything(given):
        assert "1 events of no length dropped from the detections" in result.warnings
        assert "1 events of no length dropped from the truth" in result.warnings
        assert set(result.per_class.values()) == {1.0}


def test_an_event_that_ends_before_it_starts_is_an_error() -> None:
    given = named("perfect")
    for kind in ("found", "truth"):
        broken = {"a": [(3.0, 1.0, "x")]}
        found, truth = (
            (broken, given.truth) if kind == "found" else (given.found, given.truth | broken)
        )
        with pytest.raises(ScoreError, match=r"of a has a x from 3\.0 s to 1\.0 s"):
            psds_of_detections([found], truth, given.durations, given.labels)
        with pytest.raises(ScoreError, match=r"of a has a x from 3\.0 s to 1\.0 s"):
            collar_f1(found, truth, given.labels)


def test_a_detection_after_its_clip_counts_and_it_is_said() -> None:
    given = named("perfect")
    given.found["a"].append((10.0, 11.0, "x"))
    rest = ([given.found], given.truth, given.durations, given.labels, SIMPLE)
    counted = psds_of_detections(*rest)
    assert counted.per_class["x"] < 1.0
    assert counted.warnings == ("1 detections that start after the end of their clip counted",)
    ignored = psds_of_detections(*rest, like="psds_eval")
    assert ignored.per_class["x"] == 1.0
    assert ignored.warnings == ("1 detections that start after the end of their clip ignored",)


def test_clips_that_are_not_everywhere_are_an_error_that_names_them() -> None:
    given = named("perfect")
    extra = given.found | {"q.1": [(0.0, 1.0, "x")]}
    with pytest.raises(ScoreError, match=r"detections are not in the durations: q\.1"):
        psds_of_detections([extra], given.truth, given.durations, given.labels)
    with pytest.raises(ScoreError, match=r"detections are not in the clips that count: q\.1"):
        collar_f1(extra, given.truth, given.labels, clips=given.durations)
    tables = given.tables()
    with pytest.raises(ScoreError, match=r"scores are not in the durations: b"):
        psds(tables, given.truth, {"a": 10.0})
    with pytest.raises(ScoreError, match=r"truth are not in the scores: b"):
        psds({"a": tables["a"]}, given.truth, {"a": 10.0})
    with pytest.raises(ScoreError, match=r"durations are not in the scores: c"):
        psds(tables, given.truth, given.durations | {"c": 1.0})
    missing = PsdsAccumulator(given.labels, given.truth, given.durations, [PSDS1])
    missing.add("b", tables["b"])
    with pytest.raises(ScoreError, match="1 clips have no scores: a"):
        missing.finish()


def test_nan_scores_are_an_error_that_names_class_and_time() -> None:
    with pytest.raises(ScoreError, match=r"score of y is NaN in frame 2 \(1 s; 1 NaN in all\)"):
        ScoreTable(np.arange(3.0), np.array([[0, 0], [0, np.nan]]), ("x", "y"))
    with pytest.raises(ScoreError, match="clip scores of a are not 1 numbers"):
        tagging_metrics({"a": np.array([np.nan])}, {"a": ["x"]}, ["x"])


def test_gaps_between_frames_and_other_columns_are_errors(tmp_path: Path) -> None:
    path = tmp_path / "a.tsv"
    path.write_text("onset\toffset\tx\n0.0\t1.0\t0.5\n1.5\t2.0\t0.5\n", encoding="utf-8")
    with pytest.raises(ScoreError, match=r"frame 2 starts at 1\.5 s, the one before ends at 1 s"):
        ScoreTable.read(path)
    given = named("perfect")
    tables = given.tables()
    turned = ScoreTable(tables["b"].boundaries, tables["b"].values[:, ::-1], ("y", "x"))
    with pytest.raises(ScoreError, match=r"columns of b \(y, x\) differ from those of a \(x, y\)"):
        psds(tables | {"b": turned}, given.truth, given.durations)


def test_a_score_at_the_threshold_is_not_active() -> None:
    table = ScoreTable(np.arange(4.0), np.array([[0.5], [0.6], [0.5]]), ("x",))
    assert detections_from_scores({"a": table}, 0.5) == {"a": [Event(1.0, 2.0, "x")]}
    tags = tagging_metrics({"a": table}, {"a": ["x"]}, threshold=0.6)
    assert tags.f1.counts["x"].tp == 0


def test_an_error_in_a_worker_reaches_the_caller() -> None:
    # There is no pool that could hang: workers are the caller's own, and hand over what they have.
    given = named("perfect")
    first, second = (
        PsdsAccumulator(given.labels, given.truth, given.durations, [SIMPLE]) for _ in range(2)
    )
    tables = given.tables()
    first.add("a", tables["a"])
    second.add("a", tables["a"])
    with pytest.raises(ScoreError, match="the scores of a came twice"):
        first.merge(second)


def test_clips_without_events_count_and_the_report_says_whether_they_do() -> None:
    given = named("clip_without_events")
    tables = given.tables()
    found = detections_from_scores(tables, 0.5)
    rest = (tables, found, given.truth, given.durations, given.labels)
    counted = metrics_dict(*rest, of=3)
    dropped = metrics_dict(*rest, of=3, settings=MetricSettings(drop_eventless=True))
    assert (counted["clips"], dropped["clips"]) == (3, 2)
    assert counted["parameters"]["clips_without_events"] == "counted"
    assert dropped["parameters"]["clips_without_events"] == "dropped"
    assert dropped["warnings"] == ["1 clips without events dropped"]
    assert counted["psds1"] < dropped["psds1"] == 1.0
    assert counted["evaluation"] != dropped["evaluation"]
