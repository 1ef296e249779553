"""Figures that everybody asks for: error rate, precision, recall, false alarms, segment AP."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from earmark.core.event import Event
from earmark.core.tables.scores import ScoreTable
from earmark.score.f1 import (
    CollarCriterion,
    IntersectionCriterion,
    SegmentCriterion,
    collar_f1,
    detections_from_scores,
    segment_f1,
)
from earmark.score.f1.errors import error_statistics
from earmark.score.report import ScoringTask, compared_reports, measure_tables, report
from earmark.score.settings import MetricSettings

LABELS = ("Dog", "Cat", "Bell")
events = st.lists(
    st.builds(
        lambda onset, length, label: Event(onset / 4, (onset + length) / 4, label),
        st.integers(0, 30),
        st.integers(1, 12),
        st.sampled_from(LABELS),
    ),
    max_size=6,
)


def rolled(found: list[Event], seconds: float, size: int) -> np.ndarray[Any, Any]:
    """Which class is active in which segment, second by second of a plain loop."""
    roll = np.zeros((size, len(LABELS)), dtype=bool)
    for onset, offset, label, _ in found:
        for number in range(size):
            if onset < (number + 1) * seconds and offset > number * seconds:
                roll[number, LABELS.index(label)] = True
    return roll


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(events, events), min_size=1, max_size=4), st.sampled_from([0.25, 0.5, 1]))
def test_errors_are_those_of_segment_after_segment(
    clips: list[tuple[list[Event], list[Event]]], seconds: float
) -> None:
    found = {f"{n}.wav": own for n, (own, _) in enumerate(clips)}
    truth = {f"{n}.wav": own for n, (_, own) in enumerate(clips)}
    statistics = error_statistics(found, truth, LABELS, SegmentCriterion(seconds))
    for number, (own, true) in enumerate(clips):
        size = math.ceil(12 / seconds)
        detected, active = (rolled(one, seconds, size) for one in (own, true))
        missed, wrong = (active & ~detected).sum(1), (detected & ~active).sum(1)
        swapped = np.minimum(missed, wrong)
        wanted = [swapped.sum(), (missed - swapped).sum(), (wrong - swapped).sum()]
        assert statistics.errors[number].tolist() == wanted
        assert statistics.true[number] == active.sum()
    weights = np.array([np.arange(len(clips)), np.ones(len(clips), dtype=np.int64)])
    if statistics.true.sum():
        result = statistics.result()
        assert result.error_rate == pytest.approx(statistics.resampled(weights)[""][1])


def test_a_case_by_hand() -> None:
    """Published convention: a class for another in one segment is one substitution."""
    truth = {"a": [Event(0, 3, "Dog"), Event(3, 4, "Cat")]}  # 4 active segments
    found = {"a": [Event(0, 1, "Dog"), Event(1, 2, "Bell"), Event(3, 4, "Cat"), Event(5, 6, "Cat")]}
    result = error_statistics(found, truth, LABELS, SegmentCriterion(1.0)).result()
    assert (result.substitutions, result.deletions, result.insertions) == (0.25, 0.25, 0.25)
    assert result.error_rate == 0.75


def tables(seed: int, clips: int = 5) -> tuple[dict[str, ScoreTable], dict[str, list[Event]]]:
    rng = np.random.default_rng(seed)
    edges = np.arange(101) * 0.1
    scores = {
        f"{n}.wav": ScoreTable(edges, rng.random((100, 3)).round(2), LABELS) for n in range(clips)
    }
    truth = {
        clip: [
            Event(float(on) / 10, float(on) / 10 + 1.7, LABELS[label])
            for label, on in enumerate(rng.integers(0, 80, 3))
        ]
        for clip in scores
    }
    return scores, truth


def measured(seed: int, **changed: Any) -> Any:
    scores, truth = tables(seed)
    task = ScoringTask(
        tuple(scores), truth, dict.fromkeys(scores, 10.0), LABELS, MetricSettings(**changed)
    )
    return measure_tables(scores, detections_from_scores(scores, 0.9), task)


@pytest.mark.parametrize("seconds", [1.0, 0.5])
def test_segment_ap_is_the_sum_of_precisions_at_each_rise_of_recall(seconds: float) -> None:
    scores, truth = tables(3)
    found = report([measured(3, segment=SegmentCriterion(seconds))])
    size = round(10 / seconds)
    for column, label in enumerate(LABELS):
        highest, active = [], []
        for clip, table in scores.items():
            parts = table.values[:, column].reshape(size, -1)
            highest += parts.max(1).tolist()
            active += rolled(truth[clip], seconds, size)[:, column].tolist()
        level, true = np.array(highest), np.array(active)
        ap, before = 0.0, 0.0
        for threshold in np.unique(level)[::-1]:
            taken = level >= threshold
            recall = (taken & true).sum() / true.sum()
            ap += (recall - before) * (taken & true).sum() / taken.sum()
            before = recall
        assert found["per_class"]["segment_map"][label] == pytest.approx(ap)
    assert found["segment_map"] == pytest.approx(
        np.mean(list(found["per_class"]["segment_map"].values()))
    )


def test_precision_recall_and_false_alarms_by_hand() -> None:
    edges = np.arange(11) * 1.0
    values = np.zeros((10, 3))
    values[1:3, 0] = 1  # covers the dog
    values[6:8, 0] = 1  # nothing there
    values[4:5, 1] = 1  # the cat is elsewhere
    scores = {"a": ScoreTable(edges, values, LABELS)}
    truth = {"a": [Event(1, 3, "Dog"), Event(8, 9, "Cat"), Event(9, 10, "Bell")]}
    task = ScoringTask(("a",), truth, {"a": 10.0}, LABELS)
    found = report([measure_tables(scores, detections_from_scores(scores, 0.5), task)])
    own = found["per_class"]
    assert own["precision"] == {"Dog": 0.5, "Cat": 0.0}  # Bell: nothing was detected
    assert own["recall"] == {"Dog": 1.0, "Cat": 0.0, "Bell": 0.0}
    assert own["false_alarms_per_hour"] == {"Dog": 360.0, "Cat": 360.0, "Bell": 0.0}
    assert own["true_events"] == {"Dog": 1, "Cat": 1, "Bell": 1}
    assert found["precision"] == pytest.approx(1 / 3)
    assert found["recall"] == pytest.approx(1 / 3)
    assert found["false_alarms_per_hour"] == 720.0


def test_other_collars_segments_and_ratios_are_used_and_stated() -> None:
    scores, truth = tables(7)
    detections = detections_from_scores(scores, 0.9)
    own = {
        "collar": CollarCriterion(0.5, math.inf, 0.2),
        "segment": SegmentCriterion(0.25),
        "intersection": IntersectionCriterion(0.1, 0.1),
    }
    usual, changed = report([measured(7)]), report([measured(7, **own)])
    wanted = collar_f1(
        detections, truth, LABELS, onset_collar=0.5, offset_collar=math.inf, offset_share=0.2
    )
    assert changed["collar_f1"] == wanted.macro > usual["collar_f1"]
    assert changed["collar_f1_best"] >= changed["collar_f1"]
    assert (
        changed["segment_f1"] == segment_f1(detections, truth, LABELS, segment_seconds=0.25).macro
    )
    assert changed["intersection_f1"] > usual["intersection_f1"]
    assert changed["parameters"]["collar_f1"]["offset_collar"] is None
    assert changed["parameters"]["segment_f1"]["segment_seconds"] == 0.25
    assert changed["evaluation"] != usual["evaluation"]


def test_onsets_alone() -> None:
    truth = {"a": [Event(1, 9, "Dog")]}
    found = {"a": [Event(1.1, 2, "Dog")]}
    assert collar_f1(found, truth, LABELS).macro == 0
    assert collar_f1(found, truth, LABELS, offset_collar=math.inf).macro == 1


def test_the_lower_error_rate_is_the_better_one() -> None:
    scores, truth = tables(1)
    exact = {clip: [(*event[:3], 1.0) for event in own] for clip, own in truth.items()}
    task = ScoringTask(tuple(scores), truth, dict.fromkeys(scores, 10.0), LABELS)
    good = measure_tables(scores, exact, task)
    bad = measure_tables(scores, detections_from_scores(scores, 0.5), task)
    _, _, compared = compared_reports([good], [bad], resamples=20)
    assert compared["error_rate"]["difference"] < 0
    assert compared["error_rate"]["better"] == 1.0
