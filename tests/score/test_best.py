"""Best-threshold F1 and tagging, against every threshold looked at one by one."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from earmark.core.errors import ScoreError
from earmark.core.tables.scores import ScoreTable
from earmark.score.f1 import (
    F1Result,
    IntersectionCriterion,
    SegmentCriterion,
    SweepStatistics,
    best_f1,
    best_statistics,
    collar_f1,
    detections_from_scores,
    intersection_f1,
    segment_f1,
    tag_statistics,
    tagging_metrics,
    tagging_statistics,
)
from earmark.score.f1.events import CRITERIA
from helpers.score_cases import Case, make_case
from helpers.score_tables import tables_of

SEED = st.integers(1_000, 9_999)
AT_ONE = {"collar": collar_f1, "intersection": intersection_f1, "segment": segment_f1}


def few_levels(scores: dict[str, ScoreTable]) -> dict[str, ScoreTable]:
    """The first clips, with few enough scores to look at each."""
    return {
        clip: ScoreTable(t.boundaries, np.round(t.values * 10) / 10, t.labels)
        for clip, t in list(scores.items())[:6]
    }


def one_by_one(case: Case, scores: dict[str, ScoreTable], criterion: str) -> list[F1Result]:
    truth = {clip: case.truth[clip] for clip in scores}
    levels = np.unique(np.concatenate([table.values.ravel() for table in scores.values()]))
    return [
        AT_ONE[criterion](detections_from_scores(scores, float(x) - 0.05), truth, case.labels)
        for x in levels
    ]


@pytest.mark.parametrize("criterion", CRITERIA)
@settings(max_examples=12, deadline=None)
@given(seed=SEED)
def test_no_threshold_is_better(criterion: str, seed: int) -> None:
    case = make_case(seed)
    scores = few_levels(tables_of(case))
    truth = {clip: case.truth[clip] for clip in scores}
    if not any(truth.values()):
        return
    best = best_f1(scores, truth, {clip: case.durations[clip] for clip in scores}, criterion)  # type: ignore[arg-type]
    tried = one_by_one(case, scores, criterion)
    for label, value in best.per_class.items():
        assert value == pytest.approx(max(result.per_class[label] for result in tried), abs=1e-12)
        threshold = best.thresholds[label]
        at = AT_ONE[criterion](detections_from_scores(scores, threshold), truth, case.labels)
        assert at.per_class[label] == pytest.approx(value, abs=1e-12)
        assert at.counts[label] == best.counts[label]
    assert best.macro == pytest.approx(np.mean(list(best.per_class.values())))


def test_events_so_near_each_other_that_matching_has_a_choice() -> None:
    # Both events are near each detection; only together can both be hit.
    truth = {"a": [(1.0, 1.3, "x"), (1.15, 1.45, "x")]}
    edges = np.array([0.0, 0.95, 1.2, 1.25, 1.5, 3.0])
    table = ScoreTable(edges, np.array([[0], [0.8], [0.2], [0.6], [0]]), ("x",))
    best = best_f1({"a": table}, truth, {"a": 3.0})
    at = collar_f1(detections_from_scores({"a": table}, 0.4), truth, ["x"])
    assert best.counts["x"] == at.counts["x"]
    assert (best.counts["x"].tp, best.counts["x"].fp) == (2, 0)
    assert best.thresholds["x"] == pytest.approx(0.4)


def test_thresholds_lie_midway_to_the_next_lower_score() -> None:
    table = ScoreTable(np.arange(5.0), np.array([[0.1], [0.9], [0.3], [0.5]]), ("x",))
    best = best_f1({"a": table}, {"a": [(1.0, 2.0, "x")]}, {"a": 4.0})
    assert best.macro == 1.0
    assert best.thresholds == {"x": (0.9 + 0.5) / 2}


def test_what_no_threshold_can_hit_and_what_only_the_lowest_can() -> None:
    table = ScoreTable(np.arange(3.0), np.full((2, 1), 0.4), ("x",))
    missed = best_f1({"a": table}, {"a": [(0.0, 0.5, "x")]}, {"a": 2.0})
    assert (missed.macro, missed.micro, missed.thresholds["x"]) == (0.0, 0.0, np.inf)
    lowest = best_f1({"a": table}, {"a": [(0.0, 2.0, "x")]}, {"a": 2.0})
    assert (lowest.macro, lowest.thresholds["x"]) == (1.0, -np.inf)
    with pytest.raises(ScoreError, match="no F1 by chance"):
        best_f1({"a": table}, {}, {"a": 2.0}, "chance")  # type: ignore[arg-type]
    with pytest.raises(ScoreError, match="no class has ground truth"):
        best_f1({"a": table}, {}, {"a": 2.0})
    with pytest.raises(ScoreError, match=r"segments of 0 s"):
        SegmentCriterion(segment_seconds=0)


def test_intersections_at_every_threshold_have_one_rounding() -> None:
    case = make_case(3)
    given = tables_of(case), case.truth, case.durations
    with pytest.raises(ScoreError, match="all thresholds are compared at 6 decimals"):
        best_statistics(*given, IntersectionCriterion(decimals=None))


def test_segments_may_end_with_the_clip() -> None:
    case = make_case(3)
    scores = tables_of(case)
    cut = {clip: max(0.5, seconds - 1.3) for clip, seconds in case.durations.items()}
    best = best_statistics(scores, case.truth, cut, SegmentCriterion(durations=cut)).result()
    for label, threshold in best.thresholds.items():
        found = detections_from_scores(scores, threshold)
        at = segment_f1(found, case.truth, case.labels, durations=cut)
        assert at.counts[label] == best.counts[label]


def test_what_is_detected_after_the_clip_is_no_false_alarm_in_resamples_either() -> None:
    # Loud frames after the end of clips without truth: the short cut would count them as alarms.
    edges = np.arange(5.0)

    def table(*scores: float) -> ScoreTable:
        return ScoreTable(edges, np.array(scores)[:, None], ("x",))

    scores = {"sure": table(0.95, 0.1, 0.1, 0.1), "hardly": table(0.6, 0.1, 0.1, 0.1)}
    scores |= {f"quiet{number}": table(0.1, 0.1, 0.9, 0.9) for number in range(20)}
    truth = {clip: [(0.0, 1.0, "x")] for clip in ("sure", "hardly")}
    seconds = dict.fromkeys(scores, 2.0)
    found = best_statistics(scores, truth, seconds, SegmentCriterion(durations=seconds))
    assert found.result().macro == 1.0
    assert found.resampled(np.ones((1, len(scores)), dtype=np.int64))[""].tolist() == [1.0]


@pytest.mark.parametrize("criterion", CRITERIA)
def test_resamples_are_the_scores_of_the_drawn_clips(criterion: str) -> None:
    case = make_case(17)
    statistics: SweepStatistics = best_statistics(
        tables_of(case), case.truth, case.durations, CRITERIA[criterion]
    )
    size = len(statistics.clips)
    weights = np.random.default_rng(0).multinomial(size, np.full(size, 1 / size), size=40)
    weights = weights[(weights @ statistics.true).any(axis=1)]
    drawn = statistics.resampled(weights)
    for row, weight in enumerate(weights):
        whole = statistics.result(weight)
        assert drawn[""][row] == pytest.approx(whole.macro, abs=1e-12)
        assert drawn["_micro"][row] == pytest.approx(whole.micro, abs=1e-12)


def test_resamples_are_the_same_without_the_short_cut() -> None:
    import dataclasses

    for seed in (2, 9, 17, 20):
        case = make_case(seed)
        found = best_statistics(
            tables_of(case), case.truth, case.durations, CRITERIA["intersection"]
        )
        plain = dataclasses.replace(found, highest=None)
        size = len(found.clips)
        # Wild weights too, for which the short cut does not hold.
        rng = np.random.default_rng(seed)
        weights = rng.multinomial(size, rng.dirichlet(np.full(size, 0.2)), size=30)
        weights = weights[(weights @ found.true).any(axis=1)]
        for name, values in plain.resampled(weights).items():
            assert found.resampled(weights)[name] == pytest.approx(values, abs=1e-12)


# --- tags ---------------------------------------------------------------------------------------


def average_precision(scores: list[float], true: list[bool]) -> float:
    """Precision at each rise of recall, by the book: every distinct score is a threshold."""
    total, before, area = sum(true), 0.0, 0.0
    for level in sorted(set(scores), reverse=True):
        chosen = [t for s, t in zip(scores, true, strict=True) if s >= level]
        recall, precision = sum(chosen) / total, sum(chosen) / len(chosen)
        area += (recall - before) * precision
        before = recall
    return area


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.tuples(st.integers(0, 5), st.booleans()), min_size=1, max_size=12
    ).filter(lambda items: any(true for _, true in items))
)  # fmt: skip
def test_average_precision_by_the_book(items: list[tuple[int, bool]]) -> None:
    scores = {f"c{k}": np.array([level / 5]) for k, (level, _) in enumerate(items)}
    truth = {f"c{k}": ["x"] for k, (_, true) in enumerate(items) if true}
    result = tagging_metrics(scores, truth, ["x"])
    expected = average_precision([level / 5 for level, _ in items], [true for _, true in items])
    assert result.average_precision.mean == pytest.approx(expected, abs=1e-12)


def test_equal_scores_come_together() -> None:
    scores = {clip: np.array([0.5]) for clip in "abcd"}
    for clips in ("a", "d"):  # whichever of the equals is true
        result = tagging_metrics(scores, {clip: ["x"] for clip in clips}, ["x"])
        assert result.average_precision.mean == 0.25


def test_tags_at_zero_counts() -> None:
    scores = {"a": np.array([0.9, 0.8]), "b": np.array([0.2, -np.inf])}
    result = tagging_metrics(scores, {"a": ["x"]}, ["x", "never"])
    assert result.average_precision.per_class == {"x": 1.0}
    assert result.average_precision.left_out == result.f1.left_out == ("never",)
    assert result.f1.counts["never"].fp == 1
    assert result.warnings == ("classes without truth left out of the mean: never",)
    silent = tagging_metrics({"a": np.array([-np.inf])}, {"a": ["x"]}, ["x"])
    assert silent.average_precision.mean == silent.f1.macro == silent.best.macro == 0.0
    with pytest.raises(ScoreError, match="no class has ground truth"):
        tagging_metrics(scores, {}, ["x", "never"])
    with pytest.raises(ScoreError, match="no class has ground truth"):
        tagging_statistics(scores, {}, ["x", "never"]).average_precision.result()


def test_tags_of_tables_are_those_of_their_highest_frames() -> None:
    case = make_case(8)
    scores = tables_of(case)
    whole = tagging_metrics(scores, case.truth, threshold=case.threshold)
    clip_scores = {clip: table.values.max(axis=0) for clip, table in scores.items()}
    names = {clip: [event[2] for event in events] for clip, events in case.truth.items()}
    assert tagging_metrics(clip_scores, names, case.labels, case.threshold) == whole
    found = detections_from_scores(scores, case.threshold)
    tags = tag_statistics(found, case.truth, case.labels, list(scores)).result()
    assert tags.counts == whole.f1.counts
    limits = dict.fromkeys(case.labels, case.threshold)
    assert tagging_metrics(scores, case.truth, threshold=limits).f1 == whole.f1


def test_tags_that_do_not_fit_are_refused() -> None:
    scores = {"a": np.array([0.9])}
    with pytest.raises(ScoreError, match="clip scores need labels"):
        tagging_metrics(scores, {"a": ["x"]})
    with pytest.raises(ScoreError, match="not 2 numbers"):
        tagging_metrics(scores, {"a": ["x"]}, ["x", "y"])
    with pytest.raises(ScoreError, match="truth are not in the scores: b"):
        tagging_metrics(scores, {"b": ["x"]}, ["x"])
    table = ScoreTable(np.arange(2.0), np.zeros((1, 1)), ("x",))
    with pytest.raises(ScoreError, match="have the classes x, not y"):
        tagging_metrics({"a": table}, {"a": ["y"]}, ["y"])


def test_resampled_precision_is_that_of_the_drawn_clips() -> None:
    case = make_case(9)
    found = tagging_statistics(tables_of(case), case.truth).average_precision
    size = len(found.clips)
    weights = np.random.default_rng(1).multinomial(size, np.full(size, 1 / size), size=20)
    weights = weights[weights[:, found.eventful()].any(axis=1)]
    for value, weight in zip(found.resampled(weights)[""], weights, strict=True):
        assert value == pytest.approx(found.result(weight).mean, abs=1e-12)
        copies = [(f"{clip}#{k}", clip) for clip, n in zip(found.clips, weight, strict=True) for k in range(n)]  # fmt: skip  # noqa: E501
        tables_drawn = {name: tables_of(case)[clip] for name, clip in copies}
        truth = {name: case.truth[clip] for name, clip in copies}
        assert tagging_metrics(tables_drawn, truth).average_precision.mean == pytest.approx(value)
