"""Clips one by one: the same score, fewer frames looked at, and what is refused."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from earmark.core.errors import ScoreError
from earmark.core.tables.scores import ScoreTable
from earmark.score.bootstrap import draw_clips
from earmark.score.psds import (
    PSDS1,
    PSDS2,
    PsdsAccumulator,
    PsdsParameters,
    accumulator,
    psds,
    psds_statistics,
    spill,
)
from helpers.score_cases import Case, make_case
from helpers.score_tables import tables_of

SEED = st.integers(1_000, 9_999)
NARROW = PsdsParameters(dtc=0.3, gtc=0.3, cttc=0.3, alpha_ct=0.5, alpha_st=0.5, max_efpr=20.0)


def accumulated(case: Case, scores: dict[str, ScoreTable], **options: Any) -> PsdsAccumulator:
    return PsdsAccumulator(case.labels, case.truth, case.durations, [PSDS1, PSDS2], **options)


@settings(max_examples=25, deadline=None)
@given(seed=SEED)
def test_scores_that_are_left_out_do_not_matter(seed: int) -> None:
    case = make_case(seed)
    given = tables_of(case), case.truth, case.durations
    for parameters in (PSDS1, PSDS2, NARROW):
        every = psds_statistics(*given, parameters)
        needed = psds_statistics(*given, parameters, thresholds="needed")
        once = psds(*given, parameters)
        whole = every.result()
        assert needed.result().value == pytest.approx(whole.value, abs=1e-12)
        assert once.value == pytest.approx(whole.value, abs=1e-12)
        assert once.per_class == pytest.approx(whole.per_class, abs=1e-12)
        weights = draw_clips(np.random.default_rng(seed), every.eventful(), 10)
        assert needed.resampled(weights)[""] == pytest.approx(
            every.resampled(weights)[""], abs=1e-12
        )


def many(clips: int, rng: np.random.Generator) -> tuple[dict[str, ScoreTable], Any, Any]:
    """Clips of ten seconds; in every fifth one of two classes sounds and is mostly found."""
    edges = np.arange(21) * 0.5
    scores, truth = {}, {}
    for k in range(clips):
        values = 0.9 * rng.random((20, 2)) ** (1 if k % 2 else 3)
        if k % 5 == 0:
            truth[f"c{k}"] = [(1.0, 4.0, "xy"[k % 2])]
            if rng.random() < 0.7:
                values[2:8, k % 2] = 0.88 + 0.1 * rng.random(6)
        scores[f"c{k}"] = ScoreTable(edges, values, ("x", "y"))
    return scores, truth, dict.fromkeys(scores, 10.0)


def test_most_frames_of_many_clips_are_not_looked_at() -> None:
    given = many(400, np.random.default_rng(0))
    every = psds_statistics(*given, PSDS2)
    needed = psds_statistics(*given, PSDS2, thresholds="needed")
    sizes = [sum(len(sweep) for sweep in found.sweeps) for found in (every, needed)]
    assert sizes[1] < sizes[0] / 4
    assert needed.result().value == pytest.approx(every.result().value, abs=1e-12)
    assert needed.guards is not None
    weights = draw_clips(np.random.default_rng(0), every.eventful(), 300)
    assert needed.resampled(weights)[""] == pytest.approx(every.resampled(weights)[""], abs=1e-12)
    # Weights for which what was left out would matter are refused, not scored wrongly.
    wild = (~needed.guards.any(axis=1)).astype(float) + every.eventful()
    with pytest.raises(ScoreError, match='with thresholds="every"'):
        needed.result(wild)
    assert 0 <= every.result(wild).value <= 1


def test_a_tiny_tolerance_leaves_nothing_out() -> None:
    # So little of a frame is asked for that rounding makes every detection relevant.
    given = many(100, np.random.default_rng(0))
    loose = PsdsParameters(dtc=1e-7, gtc=0.5, max_efpr=10.0)
    assert psds(*given, loose).value == psds_statistics(*given, loose).result().value
    assert psds_statistics(*given, loose, thresholds="needed").guards is None


def test_one_by_one_in_any_order_and_shared_among_workers() -> None:
    case = make_case(17)
    scores = tables_of(case)
    given = scores, case.truth, case.durations
    expected = [psds(*given, parameters).value for parameters in (PSDS1, PSDS2)]
    names = np.random.default_rng(0).permutation(list(scores)).tolist()
    alone = accumulated(case, scores)
    for clip in names:
        alone.add(clip, scores[clip])
    workers = [accumulated(case, scores, weightable=True) for _ in range(3)]
    for number, clip in enumerate(names):
        workers[number % 3].add(clip, scores[clip])
    for worker in workers[1:]:
        workers[0].merge(worker)
    for found in (alone, workers[0]):
        values = [statistics.result().value for statistics in found.finish()]
        assert values == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("weightable", [False, True])
def test_workers_may_share_the_survey_too(
    weightable: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    # So little may stay in memory that all goes through files.
    monkeypatch.setattr(spill, "PENDING", 20)
    monkeypatch.setattr(spill, "ROWS", 60)
    scores, truth, durations = many(300, np.random.default_rng(2))
    given = ("x", "y"), truth, durations, [PSDS1, PSDS2]
    workers = [PsdsAccumulator(*given, weightable=weightable) for _ in range(3)]
    for number, (clip, table) in enumerate(scores.items()):
        workers[number % 3].survey(clip, table)
    for worker in workers[1:]:
        workers[0].merge(worker)
    for worker in workers[1:]:
        worker.merge(workers[0])
    for number, (clip, table) in enumerate(scores.items()):
        workers[number % 3].add(clip, table)
    for worker in workers[1:]:
        workers[0].merge(worker)
    found = workers[0].finish()
    alone = PsdsAccumulator(*given)
    for clip, table in scores.items():
        alone.survey(clip, table)
    alone.add("c0", scores["c0"])
    assert workers[0]._floor is not None
    if not weightable:
        assert np.array_equal(workers[0]._floor, alone._floor)  # type: ignore[arg-type]
    assert np.isfinite(workers[0]._floor).all()
    for statistics, parameters in zip(found, (PSDS1, PSDS2), strict=True):
        every = psds_statistics(scores, truth, durations, parameters)
        assert statistics.result().value == pytest.approx(every.result().value, abs=1e-12)
        assert all(value > 0.1 for value in every.result().per_class.values())
        assert statistics.result().per_class == pytest.approx(every.result().per_class, abs=1e-12)


def test_surveys_that_overlap_are_refused() -> None:
    scores, truth, durations = many(6, np.random.default_rng(1))
    first, second = (PsdsAccumulator(("x", "y"), truth, durations, [PSDS1]) for _ in range(2))
    for clip in ("c0", "c1"):
        first.survey(clip, scores[clip])
    for clip in ("c1", "c2"):
        second.survey(clip, scores[clip])
    with pytest.raises(ScoreError, match="two accumulators have surveyed c1"):
        first.merge(second)


class FromDisk(Mapping[str, ScoreTable]):
    """Tables that are made when they are asked for, and not kept."""

    def __init__(self, scores: Mapping[str, ScoreTable]) -> None:
        self.scores = scores
        self.asked = 0

    def __getitem__(self, clip: str) -> ScoreTable:
        self.asked += 1
        table = self.scores[clip]
        return ScoreTable(table.boundaries.copy(), table.values.copy(), table.labels)

    def __iter__(self) -> Iterator[str]:
        return iter(self.scores)

    def __len__(self) -> int:
        return len(self.scores)


def test_a_mapping_may_read_its_tables_when_asked() -> None:
    scores, truth, durations = many(60, np.random.default_rng(1))
    lazy = FromDisk(scores)
    assert psds(lazy, truth, durations).value == psds(scores, truth, durations).value
    assert lazy.asked == 3 * len(scores)


def test_few_clips_wait_to_be_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    scores, truth, durations = many(50, np.random.default_rng(1))
    monkeypatch.setattr(accumulator, "CELLS", 400)
    found = PsdsAccumulator(("x", "y"), truth, durations, [PSDS1])
    for clip, table in scores.items():
        found.add(clip, table)
        assert len(found._waiting) <= 10


def test_single_results_cannot_be_weighted() -> None:
    scores, truth, durations = many(10, np.random.default_rng(1))
    found = PsdsAccumulator(("x", "y"), truth, durations, [PSDS2])
    for clip, table in scores.items():
        found.add(clip, table)
    [statistics] = found.finish()
    assert 0 <= statistics.result().value <= 1
    with pytest.raises(ScoreError, match="no weights apply"):
        statistics.result(np.ones(10))
    with pytest.raises(ScoreError, match="no counts by threshold for x"):
        statistics.operating_points("x")


def test_what_does_not_fit_is_refused() -> None:
    scores, truth, durations = many(4, np.random.default_rng(1))
    found = PsdsAccumulator(("x", "y"), truth, durations, [PSDS1])
    table = scores["c0"]
    with pytest.raises(ScoreError, match="scores are not in the durations: else"):
        found.add("else", table)
    with pytest.raises(ScoreError, match=r"columns of c0 \(y, x\) differ from the classes"):
        found.add("c0", ScoreTable(table.boundaries, table.values, ("y", "x")))
    found.add("c0", table)
    with pytest.raises(ScoreError, match="came twice"):
        found.add("c0", table)
    with pytest.raises(ScoreError, match="c1: all clips must be surveyed before"):
        found.survey("c1", scores["c1"])
    other = PsdsAccumulator(("x", "y"), truth, durations, [PSDS2])
    with pytest.raises(ScoreError, match="with the same arguments"):
        found.merge(other)
    whole = [PsdsAccumulator(("x", "y"), truth, durations, [PSDS1]) for _ in range(2)]
    for clip, one in scores.items():
        whole[0].survey(clip, one)
    whole[0].add("c1", scores["c1"])
    whole[1].add("c2", scores["c2"])
    with pytest.raises(ScoreError, match="looked at different scores"):
        whole[0].merge(whole[1])


def test_operating_points_are_the_counts_below_each_score() -> None:
    from earmark.score.f1 import detections_from_scores
    from helpers.cross_triggers import cross_triggers

    case = make_case(3)
    scores = {
        clip: ScoreTable(t.boundaries, np.round(t.values * 8) / 8, t.labels)
        for clip, t in tables_of(case).items()
    }
    found = psds_statistics(scores, case.truth, case.durations, PSDS2)
    label = case.labels[0]
    points = found.operating_points(label)
    assert (np.diff(points.scores) < 0).all()
    for place, score in enumerate(points.scores):
        hard = detections_from_scores(scores, float(score) - 1e-3)
        at = cross_triggers(hard, case.truth, case.durations, case.labels, PSDS2)
        assert at.counts[0, 0] == points.tp[place]
        assert at.false_positives[0] == points.fp[place]
        for other, counts in points.ct.items():
            assert at.counts[0, case.labels.index(other)] == counts[place]
