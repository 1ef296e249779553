"""F1: by collars, by segments, by intersection."""

from __future__ import annotations

import json
from collections.abc import Callable
from itertools import permutations
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from earmark.core.errors import ScoreError
from earmark.score.f1 import F1Counts, F1Result, collar_f1, intersection_f1, segment_f1
from earmark.score.f1.collars import largest_matching
from helpers.score_cases import make_case

Measure = Callable[..., F1Result]
ALL = pytest.mark.parametrize("measure", [collar_f1, segment_f1, intersection_f1])
LABELS = ("x", "y")
TRUTH = {"a": [(1.0, 3.0, "x")], "b": [(2.0, 4.0, "y")]}


@ALL
def test_perfect_detections_score_one(measure: Measure) -> None:
    for seed in (0, 3, 8):
        case = make_case(seed)
        result = measure(case.truth, case.truth, case.labels)
        assert result.macro == result.micro == 1.0
        assert set(result.per_class.values()) == {1.0}


@ALL
def test_no_detections_score_zero(measure: Measure) -> None:
    result = measure({}, TRUTH, LABELS)
    assert result.macro == result.micro == 0.0
    assert result.per_class == {"x": 0.0, "y": 0.0}


@ALL
def test_false_alarms_of_a_class_without_truth_count_only_together(measure: Measure) -> None:
    found = TRUTH | {"a": [*TRUTH["a"], (6.0, 7.0, "z")]}
    result = measure(found, TRUTH, ("x", "y", "z"))
    assert result.macro == 1.0
    assert result.micro < 1.0
    assert result.left_out == ("z",)
    assert "z" not in result.per_class
    assert result.counts["z"] == F1Counts(tp=0, fp=1, fn=0)
    assert result.warnings == ("classes without truth left out of the mean: z",)


@ALL
def test_what_does_not_fit_is_named(measure: Measure) -> None:
    with pytest.raises(ScoreError, match="no class has ground truth"):
        measure(TRUTH, {}, LABELS)
    with pytest.raises(ScoreError, match="detections are not in the clips that count: b"):
        measure(TRUTH, {"a": TRUTH["a"]}, LABELS, clips=["a"])
    with pytest.raises(ScoreError, match="detections of a has the label Cow"):
        measure({"a": [(0.0, 1.0, "Cow")]}, TRUTH, LABELS)
    with pytest.raises(ScoreError, match=r"from 2\.0 s to 1\.0 s"):
        measure({"a": [(2.0, 1.0, "x")]}, TRUTH, LABELS)


@ALL
def test_repetitions_do_not_count(measure: Measure) -> None:
    twice = {clip: events * 2 for clip, events in TRUTH.items()}
    assert measure(twice, TRUTH, LABELS).counts == measure(TRUTH, TRUTH, LABELS).counts


@pytest.mark.parametrize(
    ("event", "hit"),
    [
        ((1.2, 3.0), True),
        ((0.8, 3.4), True),  # 20 % of 2 s
        ((1.2001, 3.0), False),
        ((1.0, 3.4001), False),
        ((1.2 + 4e-7, 3.0), True),  # rounded to 6 decimals
    ],
)
def test_collars(event: tuple[float, float], hit: bool) -> None:
    result = collar_f1({"a": [(*event, "x")]}, {"a": TRUTH["a"]}, ["x"])
    assert result.macro == float(hit)


def test_collars_without_rounding() -> None:
    # The onsets differ by nominally 200 ms, and 1.7e-16 more in floats.
    found, truth = {"a": [(2.56, 2.816, "x")]}, {"a": [(2.36, 2.796, "x")]}
    assert collar_f1(found, truth, ["x"]).macro == 1.0
    assert collar_f1(found, truth, ["x"], decimals=None).macro == 0.0


def test_a_short_event_has_the_whole_collar() -> None:
    found, truth = {"a": [(1.0, 1.3, "x")]}, {"a": [(1.0, 1.1, "x")]}
    assert collar_f1(found, truth, ["x"]).macro == 1.0
    assert collar_f1(found, truth, ["x"], offset_collar=0.1).macro == 0.0
    assert collar_f1(found, truth, ["x"], offset_collar=0.1, offset_share=2.0).macro == 1.0


def test_as_many_as_possible_arelargest_matching() -> None:
    # Nearest first would match the first event to the second detection and lose one.
    truth = {"a": [(1.0, 2.0, "x"), (1.15, 2.15, "x")]}
    found = {"a": [(0.85, 1.85, "x"), (1.05, 2.05, "x")]}
    assert collar_f1(found, truth, ["x"]).counts["x"] == F1Counts(tp=2, fp=0, fn=0)


@settings(max_examples=200, deadline=None)
@given(st.sets(st.tuples(st.integers(0, 4), st.integers(0, 4)), max_size=14))
def test_matchings_are_the_largest_there_are(edges: set[tuple[int, int]]) -> None:
    pairs = np.array(sorted(edges), dtype=np.int64).reshape(-1, 2)
    matched = largest_matching(pairs[:, 0], pairs[:, 1])
    best = max(sum((left, order[left]) in edges for left in range(5)) for order in ORDERS)
    assert len(matched) == len(set(matched.tolist())) == best


ORDERS = list(permutations(range(5)))


def test_a_long_chain_of_choices_islargest_matching() -> None:
    # Detection k may take event k or k + 1; the last has only its own. No recursion limit applies.
    size = 3000
    left = np.repeat(np.arange(size), 2)[:-1]
    right = (left + np.tile([1, 0], size)[: 2 * size - 1]) % size
    right[-1] = size - 1
    assert len(largest_matching(left, right)) == size


def test_segments_by_hand() -> None:
    truth = {"a": [(0.5, 2.0, "x")]}  # segments 0 and 1
    found = {"a": [(1.9, 3.1, "x")]}  # segments 1, 2, 3
    result = segment_f1(found, truth, ["x"])
    assert result.counts["x"] == F1Counts(tp=1, fp=2, fn=1)
    shorter = segment_f1(found, truth, ["x"], durations={"a": 2.5})
    assert shorter.counts["x"] == F1Counts(tp=1, fp=1, fn=1)
    halves = segment_f1(found, truth, ["x"], segment_seconds=0.5)
    assert halves.counts["x"] == F1Counts(tp=1, fp=3, fn=2)


def test_segments_whose_edges_are_not_whole_in_floats() -> None:
    # 0.3 / 0.1 is 2.9999999999999996.
    result = segment_f1({"a": [(0.3, 0.4, "x")]}, {"a": [(0.3, 0.4, "x")]}, ["x"],
                        segment_seconds=0.1)  # fmt: skip
    assert result.counts["x"] == F1Counts(tp=1, fp=0, fn=0)


def test_segments_need_a_length_and_known_durations() -> None:
    with pytest.raises(ScoreError, match="segments of 0 s"):
        segment_f1(TRUTH, TRUTH, LABELS, segment_seconds=0)
    with pytest.raises(ScoreError, match="events are not in the durations: b"):
        segment_f1(TRUTH, TRUTH, LABELS, durations={"a": 10.0})


@pytest.mark.parametrize(
    ("truth", "found", "counts"),
    [
        # Inside the event but too short: neither a hit nor a false alarm.
        ([(1.0, 3.0)], [(1.0, 1.5)], (0, 0, 1)),
        # Two fragments together cover enough.
        ([(1.0, 3.0)], [(1.0, 1.7), (2.0, 2.7)], (1, 0, 0)),
        # One detection serves two events.
        ([(1.0, 3.0), (4.0, 6.0)], [(1.0, 6.0)], (2, 0, 0)),
        # Touching events stay two.
        ([(1.0, 3.0), (3.0, 5.0)], [(1.0, 5.0)], (2, 0, 0)),
        # A false alarm takes no part in covering.
        ([(1.0, 3.0)], [(0.0, 1.9), (2.9, 9.0)], (0, 2, 1)),
        # Overlapping detections are merged.
        ([(1.0, 3.0)], [(1.0, 2.5), (2.0, 3.0)], (1, 0, 0)),
    ],
)
def test_intersections_by_hand(truth: Any, found: Any, counts: tuple[int, int, int]) -> None:
    given = [{"a": [(*times, "x") for times in events]} for events in (found, truth)]
    result = intersection_f1(*given, ["x"])
    assert result.counts["x"] == F1Counts(*counts)


def test_merged_detections_are_told() -> None:
    found = {"a": [(1.0, 2.5, "x"), (2.0, 3.0, "x")]}
    result = intersection_f1(found, {"a": TRUTH["a"]}, ["x"])
    assert result.warnings == ("1 overlapping events of one class merged in the detections",)


def test_edge_cases_of_the_reference_libraries(golden: Any) -> None:
    checked = 0
    for case in json.loads((golden.folder / "edge_cases.json").read_text(encoding="utf-8")):
        truth, found = (
            {clip: [tuple(event) for event in events] for clip, events in case[kind].items()}
            for kind in ("ground_truth", "detections")
        )
        given = (found, truth, case["classes"])
        sed_eval = case["reference_results"]["sed_eval"]
        if "error" in sed_eval:
            continue
        for name, result in (
            ("event", collar_f1(*given, decimals=None)),
            ("segment", segment_f1(*given)),
        ):
            assert result.macro == pytest.approx(sed_eval[f"{name}_macro"]), case["name"]
            assert result.micro == pytest.approx(sed_eval[f"{name}_micro"]), case["name"]
        numbers = case["reference_results"]["sed_scores_eval"]
        if "error" in numbers:
            continue
        checked += 1
        dtc, gtc = case["params"]["dtc"], case["params"]["gtc"]
        for name, result in (
            ("collar_f1", collar_f1(*given)),
            ("intersection_f1", intersection_f1(*given, dtc=dtc, gtc=gtc)),
        ):
            assert result.macro == pytest.approx(numbers[name]["macro_average"]), case["name"]
            assert result.micro == pytest.approx(numbers[name]["micro_average"]), case["name"]
    assert checked
