"""Equal to the reference libraries on seeded cases (numbers made by `make oracle`)."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from earmark.core.event import Event
from earmark.score.f1 import (
    F1Result,
    collar_f1,
    detections_from_scores,
    intersection_f1,
    segment_f1,
)
from earmark.score.psds import PsdsParameters, psds, psds_of_detections
from helpers.score_cases import SEEDS, Case, detections, make_case
from helpers.score_tables import tables_of

EXPECTED = json.loads((Path(__file__).parent / "expected_oracle.json").read_text(encoding="utf-8"))
CASES = {found["seed"]: found for found in EXPECTED["cases"]}
AVERAGES = {"macro_average", "micro_average"}


@pytest.fixture(params=sorted(CASES))
def seed(request: pytest.FixtureRequest) -> int:
    return int(request.param)


@pytest.fixture
def case(seed: int) -> Any:
    return cached_case(seed)


@cache
def cached_case(seed: int) -> Any:
    return make_case(seed)


def test_every_seed_was_measured_by_the_pinned_libraries() -> None:
    assert sorted(CASES) == list(SEEDS)
    pins = (Path(__file__).parents[2] / "benchmarks/oracle/requirements.txt").read_text()
    for name, version in EXPECTED["provenance"]["packages"].items():
        assert f"{name}=={version}\n" in pins


def test_cases_say_something() -> None:
    values = [found["value"] for case in CASES.values() for found in case["psds"]]
    assert sum(0.02 < value < 0.98 for value in values) > len(values) / 2


def test_psds_over_all_thresholds(seed: int, case: Case) -> None:
    for expected in CASES[seed]["psds"]:
        assert expected["parameters"] in case.parameters
        parameters = PsdsParameters(**expected["parameters"])
        result = psds(tables_of(case), case.truth, case.durations, parameters)
        assert result.value == pytest.approx(expected["value"], abs=1e-9)
        assert result.per_class == pytest.approx(expected["per_class"], abs=1e-9)


def test_psds_of_operating_points(seed: int, case: Case) -> None:
    points = [detections_from_scores(tables_of(case), tau) for tau in case.operating_points]
    for given, expected in zip(case.parameters, CASES[seed]["psds_operating_points"], strict=True):
        result = psds_of_detections(
            points,
            case.truth,
            case.durations,
            case.labels,
            PsdsParameters(**given),
            like="psds_eval",
        )
        if expected is None:  # psds_eval has no cross-trigger rate for a single class
            assert len(case.labels) == 1
        else:
            assert result.value == pytest.approx(expected, abs=1e-9)


def test_detections_are_the_runs_found_frame_by_frame(case: Case) -> None:
    for threshold in (case.threshold, *case.operating_points):
        found = detections_from_scores(tables_of(case), threshold)
        expected = detections(case, threshold)
        assert found == {clip: [Event(*one) for one in own] for clip, own in expected.items()}


def test_f1(seed: int, case: Case) -> None:
    found = detections_from_scores(tables_of(case), case.threshold)
    given = (found, case.truth, case.labels)
    expected = CASES[seed]
    same(collar_f1(*given), expected["collar_f1"])
    same(collar_f1(*given, decimals=None), expected["collar_f1_sed_eval"])
    same(segment_f1(*given, durations=case.durations), expected["segment_f1"])
    same(segment_f1(*given), expected["segment_f1_every_segment"])
    same(segment_f1(*given), expected["segment_f1_sed_eval"])
    for ratio, numbers in expected["intersection_f1"].items():
        same(intersection_f1(*given, dtc=float(ratio), gtc=float(ratio)), numbers)


def same(result: F1Result, expected: dict[str, float | None]) -> None:
    by_class = {name: value for name, value in expected.items() if name not in AVERAGES}
    # sed_eval's segments have no F1 for a class without detections; everywhere else it is 0.
    undefined = {label for label, value in by_class.items() if value is None}
    for label in undefined:
        assert result.counts[label].tp + result.counts[label].fp == 0
        assert result.per_class[label] == 0
    defined = {label: value for label, value in by_class.items() if label not in undefined}
    found = {label: result.per_class[label] for label in defined}
    assert found == pytest.approx(defined, abs=1e-9)
    assert result.micro == pytest.approx(expected["micro_average"], abs=1e-9)
    if not undefined:
        assert result.macro == pytest.approx(expected["macro_average"], abs=1e-9)
    assert result.macro == pytest.approx(sum(found.values()) / len(by_class), abs=1e-9)
