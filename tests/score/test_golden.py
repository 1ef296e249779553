"""Equal to published systems' scores, as measured by the reference libraries."""

from __future__ import annotations

import json
from typing import Any

import pytest
from scipy.ndimage import median_filter

from earmark.core.scores import ScoreTable
from earmark.score.f1 import (
    F1Result,
    collar_f1,
    detections_from_scores,
    intersection_f1,
    segment_f1,
)
from earmark.score.psds import (
    PSDS1,
    PSDS2,
    PsdsParameters,
    psds,
    psds_of_detections,
)

SETTINGS = {"psds1": PSDS1, "psds2": PSDS2}
NAMES = {
    "baseline_student": "sed_scores_eval_levels_1168_clips",
    "fdy_student": "sed_scores_eval_levels_1168_clips",
    "smooth_scores_120": None,
    "raw_scores_10": None,
}


class System:
    """Scores, truth and expected numbers of one golden system."""

    def __init__(self, golden: Any, name: str) -> None:
        self.all = golden.expected[name]
        self.expected = self.all[NAMES[name]] if NAMES[name] else self.all
        if NAMES[name]:
            self.scores = golden.levels(name)
            self.truth = golden.events("validation.tsv")
            self.durations = golden.durations("validation_durations.tsv")
        else:
            self.scores = golden.raw() if name == "raw_scores_10" else golden.smooth()
            self.truth = golden.events(f"{name}/ground_truth.tsv")
            self.durations = golden.durations(f"{name}/audio_durations.tsv")
        self.labels = next(iter(self.scores.values())).labels


@pytest.fixture(scope="module", params=list(NAMES))
def system(request: pytest.FixtureRequest, golden: Any) -> System:
    return System(golden, request.param)


@pytest.fixture(scope="module", params=["raw_scores_10", "smooth_scores_120"])
def unfiltered(request: pytest.FixtureRequest, golden: Any) -> System:
    return System(golden, request.param)


@pytest.mark.parametrize("name", SETTINGS)
def test_psds(system: System, name: str) -> None:
    result = psds(system.scores, system.truth, system.durations, SETTINGS[name])
    assert result.value == pytest.approx(system.expected[name], abs=1e-9)
    expected = {label: system.expected[f"{name}_per_class"][label] for label in result.per_class}
    assert result.per_class == pytest.approx(expected, abs=1e-9)
    assert result.clips == len(system.scores)


def test_psds_without_the_penalty_of_spread(system: System) -> None:
    plain = PsdsParameters(dtc=0.7, gtc=0.7)
    result = psds(system.scores, system.truth, system.durations, plain)
    assert result.value == pytest.approx(system.expected["psds1_alpha_st0"], abs=1e-9)


@pytest.mark.parametrize("name", ["baseline_student", "fdy_student"])
def test_psds_of_clips_with_events_only(golden: Any, name: str) -> None:
    system = System(golden, name)
    expected = system.all["sed_scores_eval_levels_1153_clips_no_event_clips_dropped"]
    for key, parameters in SETTINGS.items():
        result = psds(
            system.scores, system.truth, system.durations, parameters, drop_eventless=True
        )
        assert result.value == pytest.approx(expected[key], abs=1e-9)
        assert result.clips == 1153
        assert result.warnings == ("15 clips without events dropped",)


@pytest.mark.parametrize("size", [3, 7, 9, 20])
def test_psds_after_a_median_filter(unfiltered: System, size: int) -> None:
    filtered = {
        clip: ScoreTable(table.boundaries, median_filter(table.values, (size, 1)), table.labels)
        for clip, table in unfiltered.scores.items()
    }
    expected = unfiltered.all["median"][f"scipy_median_filter_size{size}_reflect"]
    for name, parameters in SETTINGS.items():
        result = psds(filtered, unfiltered.truth, unfiltered.durations, parameters)
        assert result.value == pytest.approx(expected[name], abs=1e-9)


def test_f1_of_scores(system: System) -> None:
    given = (detections_from_scores(system.scores), system.truth, system.labels)
    expected = system.expected
    result = collar_f1(*given)
    same(result, expected["collar_f1_thr0.5"])
    for label, counts in result.counts.items():
        assert counts.tp == expected["collar_f1_thr0.5"]["tp"][label]
        assert counts.tp + counts.fp == expected["collar_f1_thr0.5"]["n_sys"][label]
        assert counts.tp + counts.fn == expected["collar_f1_thr0.5"]["n_ref"][label]
    same(
        segment_f1(*given, durations=system.durations),
        expected["segment_f1_1s_thr0.5_audio_durations"],
    )
    same(segment_f1(*given), expected["segment_f1_1s_thr0.5_sed_eval_convention"])
    for ratio in (0.1, 0.5, 0.7):
        numbers = expected[f"intersection_f1_dtc{ratio}_gtc{ratio}_thr0.5"]
        same(intersection_f1(*given, dtc=ratio, gtc=ratio), numbers)


def test_f1_of_published_detections(golden: Any) -> None:
    found = golden.events("baseline_student/predictions0.5.csv", ",")
    truth = golden.events("validation.tsv")
    labels = sorted({label for events in truth.values() for *_, label in events})
    expected = golden.expected["baseline_student"]["predictions0.5"]
    reference = expected["sed_eval_0.2.1"]
    for result, numbers in (
        (collar_f1(found, truth, labels, decimals=None), reference["event"]),
        (segment_f1(found, truth, labels), reference["segment"]),
    ):
        assert result.macro == pytest.approx(numbers["macro"]["f_measure"], abs=1e-9)
        assert result.micro == pytest.approx(numbers["micro"]["f_measure"], abs=1e-9)
        by_class = {label: numbers["class"][label]["f_measure"] for label in labels}
        assert result.per_class == pytest.approx(by_class, abs=1e-9)
    # One difference of onsets is 200 ms but for float noise.
    assert collar_f1(found, truth, labels).macro == pytest.approx(0.398954, abs=1e-6)


def test_psds_of_five_operating_points(golden: Any) -> None:
    points: dict[str, dict[str, list[Any]]] = {}
    for row in golden.rows("baseline_student/operating_points_5.tsv.gz"):
        event = float(row["onset"]), float(row["offset"]), row["event_label"]
        clips = points.setdefault(row["threshold"], {})
        clips.setdefault(row["filename"].rsplit(".", 1)[0], []).append(event)
    truth, durations = golden.events("validation.tsv"), golden.durations("validation_durations.tsv")
    labels = sorted({label for events in truth.values() for *_, label in events})
    expected = golden.expected["baseline_student"]["psds_eval_0.5.3_five_operating_points_file"]
    for name, parameters in SETTINGS.items():
        given = (points.values(), truth, durations, labels, parameters)
        assert psds_of_detections(*given, decimals=None).value == pytest.approx(
            expected[name], abs=1e-9
        )
        assert psds_of_detections(*given).value == pytest.approx(expected[name], abs=5e-5)


@pytest.mark.parametrize("name", ["baseline_student", "fdy_student"])
def test_psds_of_fifty_operating_points(golden: Any, name: str) -> None:
    system = System(golden, name)
    reference = system.all["psds_eval_0.5.3_operating_points"]
    thresholds = sorted({x for table in system.scores.values() for x in set(table.values.flat)})
    points = [detections_from_scores(system.scores, float(x) - 0.002) for x in thresholds[1:]]
    for key, parameters in SETTINGS.items():
        given = (points, system.truth, system.durations, system.labels, parameters)
        result = psds_of_detections(*given, decimals=None)
        assert result.value == pytest.approx(reference[key], abs=5e-5)


@pytest.mark.parametrize("name", ["test_1", "test_2"])
def test_toy(golden: Any, name: str) -> None:
    expected = golden.expected["toy"][name]
    truth = golden.events(f"toy/{name}.gt.tsv")
    found = golden.events(f"toy/{name}.det.tsv")
    durations = golden.durations("toy/durations.tsv")
    for key, alpha_ct, alpha_st in (("psds", 0.0, 0.0), ("psds_alpha_ct0.5_st1", 0.5, 1.0)):
        parameters = PsdsParameters(
            dtc=expected["dtc"],
            gtc=expected["gtc"],
            cttc=expected["cttc"],
            alpha_ct=alpha_ct,
            alpha_st=alpha_st,
            max_efpr=expected["max_efpr"],
        )
        result = psds_of_detections([found], truth, durations, expected["class_order"], parameters)
        assert result.value == pytest.approx(expected[key], abs=1e-9)


def test_psds_of_edge_cases(golden: Any) -> None:
    cases = json.loads((golden.folder / "edge_cases.json").read_text(encoding="utf-8"))
    checked = 0
    for case in cases:
        truth, found = (
            {clip: [tuple(event) for event in events] for clip, events in case[kind].items()}
            for kind in ("ground_truth", "detections")
        )
        parameters = PsdsParameters(**case["params"])
        for library, decimals in (("psds_eval", None), ("sed_scores_eval", 6)):
            expected = case["reference_results"][library]
            if "error" in expected:
                continue
            result = psds_of_detections(
                [found],
                truth,
                case["durations"],
                case["classes"],
                parameters,
                decimals=decimals,
            )
            assert result.value == pytest.approx(expected["psds"], abs=1e-9), case["name"]
            checked += 1
    assert checked >= 18


def same(result: F1Result, expected: dict[str, Any]) -> None:
    assert result.macro == pytest.approx(expected["macro_average"], abs=1e-9)
    assert result.micro == pytest.approx(expected["micro_average"], abs=1e-9)
    by_class = {label: expected[label] for label in result.per_class}
    assert result.per_class == pytest.approx(by_class, abs=1e-9)
