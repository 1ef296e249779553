"""What holds for any scores: laws of PSDS, tried on random cases, and one that does not hold."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from earmark.core.tables.scores import ScoreTable
from earmark.score.f1 import collar_f1, detections_from_scores, intersection_f1, segment_f1
from earmark.score.psds import PSDS1, PSDS2, PsdsParameters, psds, psds_of_detections
from helpers.metrics import metrics_dict
from helpers.score_cases import make_case
from helpers.score_tables import tables_of

SEED = st.integers(10_000, 99_999)
WIDE = PsdsParameters(dtc=0.5, gtc=0.5, cttc=0.3, alpha_ct=0.5, alpha_st=1.0, max_efpr=5000.0)


TRANSFORMS: dict[str, Callable[[Any], Any]] = {
    "logit": lambda p: np.log((p + 5) / (9 - p)),
    "cube": lambda p: (p - 0.4) ** 3,
    "ranks": lambda p: np.unique(p, return_inverse=True)[1].reshape(p.shape).astype(float),
}


@pytest.mark.parametrize("name", TRANSFORMS)
@settings(max_examples=8, deadline=None)
@given(seed=SEED)
def test_monotone_transforms_of_the_scores_change_nothing(name: str, seed: int) -> None:
    case = make_case(seed)
    before = tables_of(case)
    # The same transform for all clips, and different for each class.
    values = np.concatenate([table.values for table in before.values()])
    changed = np.stack(
        [TRANSFORMS[name](values[:, c]) if c % 2 else values[:, c] for c in range(values.shape[1])],
        axis=1,
    )
    for c in range(values.shape[1]):
        same = np.unique(values[:, c]), np.unique(changed[:, c])
        assume(len(same[0]) == len(same[1]))  # floats that fall together are no monotone transform
    ends = np.cumsum([len(table) for table in before.values()])
    parts = np.split(changed, ends[:-1])
    after = {
        clip: ScoreTable(table.boundaries, part, table.labels)
        for (clip, table), part in zip(before.items(), parts, strict=True)
    }
    for parameters in (PSDS1, PSDS2, WIDE):
        first, second = (
            psds(scores, case.truth, case.durations, parameters) for scores in (before, after)
        )
        assert first.value == pytest.approx(second.value, abs=1e-12)
        assert first.per_class == pytest.approx(second.per_class, abs=1e-12)


@settings(max_examples=15, deadline=None)
@given(seed=SEED)
def test_names_and_order_of_clips_and_classes_change_nothing(seed: int) -> None:
    case = make_case(seed)
    before = tables_of(case)
    rng = np.random.default_rng(seed)
    order = rng.permutation(len(case.labels))
    renamed = {case.labels[c]: f"new {k}" for k, c in enumerate(order)}
    clips = {clip: f"{k}" for k, clip in enumerate(rng.permutation(list(before)).tolist())}
    after = {
        clips[clip]: ScoreTable(
            table.boundaries,
            table.values[:, order],
            tuple(renamed[case.labels[c]] for c in order),
        )
        for clip, table in sorted(before.items(), key=lambda item: clips[item[0]])
    }
    truth = {
        clips[clip]: [(a, b, renamed[label]) for a, b, label in events]
        for clip, events in case.truth.items()
    }
    durations = {clips[clip]: seconds for clip, seconds in case.durations.items()}
    reports = []
    for scores, events, seconds in (
        (before, case.truth, case.durations),
        (after, truth, durations),
    ):
        labels = next(iter(scores.values())).labels
        found = detections_from_scores(scores, case.threshold)
        report = metrics_dict(scores, found, events, seconds, labels, of=len(scores))
        reports.append(report | {"wide": psds(scores, events, seconds, WIDE).value})
    for name, value in reports[0].items():
        if isinstance(value, float):
            assert value == pytest.approx(reports[1][name], rel=1e-12, abs=1e-12), name


@settings(max_examples=12, deadline=None)
@given(seed=SEED)
def test_perfect_scores_give_1(seed: int) -> None:
    case = make_case(seed)
    # Frames that end exactly where events do, and every class with truth.
    present = tuple(
        label for label in case.labels if any(e[2] == label for v in case.truth.values() for e in v)
    )
    scores = {}
    for clip, events in case.truth.items():
        times = {0.0, case.durations[clip], *(t for event in events for t in event[:2])}
        edges = np.array(sorted(times))
        values = np.zeros((len(edges) - 1, len(present)))
        for onset, offset, label in events:
            inside = (edges[:-1] >= onset) & (edges[1:] <= offset)
            values[inside, present.index(label)] = 0.5 + seed % 100 / 300
        scores[clip] = ScoreTable(edges, values, present)
    for parameters in (PSDS1, PSDS2, WIDE):
        assert psds(scores, case.truth, case.durations, parameters).value == 1.0
    found = detections_from_scores(scores, 0.4)
    for measure in (collar_f1, segment_f1, intersection_f1):
        result = measure(found, case.truth, present)
        assert result.macro == result.micro == 1.0


@settings(max_examples=25, deadline=None)
@given(seed=SEED, level=st.floats(-1, 2))
def test_without_spread_a_false_alarm_on_silence_never_helps(seed: int, level: float) -> None:
    case = make_case(seed)
    scores = tables_of(case)
    quiet = [clip for clip, events in case.truth.items() if not events]
    assume(quiet)
    clip, label = quiet[seed % len(quiet)], seed % len(case.labels)
    edges = np.array([0.0, 0.5, 1.0, 1.5])
    silent = np.full((3, len(case.labels)), -np.inf)
    loud = silent.copy()  # around the alarm nothing is active at any threshold
    loud[1, label] = level
    for parameters in (PSDS1, PSDS2, WIDE):
        plain = dataclasses.replace(parameters, alpha_st=0.0)
        without, alarmed = (
            psds(
                scores | {clip: ScoreTable(edges, values, case.labels)},
                case.truth,
                case.durations,
                plain,
            )
            for values in (silent, loud)
        )
        assert alarmed.value <= without.value + 1e-12
        for name, value in alarmed.per_class.items():
            assert value <= without.per_class[name] + 1e-12


def test_with_spread_a_false_alarm_on_silence_can_help() -> None:
    """The example of docs/metrics.md: the best of three classes becomes worse, and PSDS better."""
    labels, off = ("x", "y", "z"), -np.inf

    def table(*columns: list[float]) -> ScoreTable:
        edges = np.arange(len(columns[0]) + 1) * 450.0
        return ScoreTable(edges, np.array(columns).T, labels)

    # An hour of audio: two events of each class; y and z miss one of theirs.
    truth = {"a": [(t, t + 450.0, label) for label in labels for t in (0.0, 900.0)]}
    found = table([0.9, off, 0.8, off], [0.9, off, off, off], [0.9, off, off, off])
    silent = table([off] * 4, [off] * 4, [off] * 4)
    alarm = table([off, 0.85, off, off], [off] * 4, [off] * 4)
    durations = {"a": 1800.0, "quiet": 1800.0}
    parameters = PsdsParameters(dtc=0.7, gtc=0.7, alpha_st=1.0, max_efpr=2.0)
    before, after = (
        psds({"a": found, "quiet": quiet}, truth, durations, parameters)
        for quiet in (silent, alarm)
    )
    assert before.per_class == {"x": 1.0, "y": 0.5, "z": 0.5}
    assert after.per_class == {"x": 0.75, "y": 0.5, "z": 0.5}
    apart = 2 / 3 - math.sqrt(2) / 6  # mean and standard deviation of 1, 0.5, 0.5
    assert before.value == pytest.approx(apart)
    assert after.value == pytest.approx((0.5 + apart) / 2)
    assert after.value > before.value
    plain = dataclasses.replace(parameters, alpha_st=0.0)
    given = truth, durations, plain
    assert psds({"a": found, "quiet": alarm}, *given).value < psds(
        {"a": found, "quiet": silent}, *given
    ).value  # fmt: skip


@settings(max_examples=20, deadline=None)
@given(seed=SEED)
def test_all_thresholds_give_at_least_what_some_do_while_spread_weighs_little(seed: int) -> None:
    case = make_case(seed)
    scores = tables_of(case)
    present = {label for events in case.truth.values() for *_, label in events}
    rng = np.random.default_rng(seed)
    values = np.concatenate([table.values.ravel() for table in scores.values()])
    grid = np.quantile(values, np.sort(rng.random(int(rng.integers(1, 8)))))
    points = {float(x): detections_from_scores(scores, float(x)) for x in grid}
    most = 1 / math.sqrt(len(present) - 1) if len(present) > 1 else 1.0
    for base in (PSDS1, PSDS2, WIDE):
        for alpha_st in (most, most / 2, 0.0):
            parameters = dataclasses.replace(base, alpha_st=alpha_st)
            exact = psds(scores, case.truth, case.durations, parameters)
            given = (points, case.truth, case.durations, case.labels, parameters)
            some = psds_of_detections(*given)
            assert exact.value >= some.value - 1e-12
            for label, value in some.per_class.items():
                assert exact.per_class[label] >= value - 1e-12


def test_with_more_weight_on_spread_some_thresholds_can_give_more() -> None:
    # The example above again: the grid that misses the second event of x.
    labels = ("x", "y", "z")
    values = np.array([[0.9, 0.9, 0.9], [0, 0, 0], [0.8, 0, 0], [0, 0, 0]])
    scores = {"a": ScoreTable(np.arange(5.0), values, labels)}
    truth = {"a": [(t, t + 1.0, label) for label in labels for t in (0.0, 2.0)]}
    parameters = PsdsParameters(dtc=0.7, gtc=0.7, alpha_st=1.0)
    exact = psds(scores, truth, {"a": 4.0}, parameters)
    points = [detections_from_scores(scores, 0.85)]
    assert psds_of_detections(points, truth, {"a": 4.0}, labels, parameters).value == 0.5
    assert exact.value < 0.5
    less = dataclasses.replace(parameters, alpha_st=1 / math.sqrt(2))
    assert psds(scores, truth, {"a": 4.0}, less).value == pytest.approx(0.5)
