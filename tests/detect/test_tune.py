"""Tuning of post-processing."""

from __future__ import annotations

import json
import math
from functools import cache
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from earmark.core.errors import ConfigError, ScoreError
from earmark.core.tables.scores import ScoreTable
from earmark.detect.csebb import Boxes, CsebbSettings, box_table, table_boxes
from earmark.detect.postprocess import PostProcess, filter_table, scores_to_events
from earmark.detect.tuning import grid_search
from earmark.detect.tuning.box_metrics import Found, Reference, box_best_f1, box_psds
from earmark.detect.tuning.tune import CSEBB_GRID as GRID
from earmark.detect.tuning.tune import Tuning, assign_folds, tune
from earmark.score.f1 import CollarCriterion, collar_f1, f1_statistics, intersection_f1
from earmark.score.psds import PSDS1, psds

FRAME = 0.064
LABELS = ("a", "b", "c")
Truth = dict[str, list[tuple[float, float, str]]]


class Set:
    """Clips of noise in which something sounds, more or less."""

    def __init__(self, clips: int, seed: int = 0, frames: int = 60, levels: int = 0) -> None:
        rng = np.random.default_rng(seed)
        self.labels = LABELS
        self.tables: dict[str, ScoreTable] = {}
        self.truth: Truth = {}
        for number in range(clips):
            clip = f"clip{number}"
            noise = rng.normal(0, 1, (frames + 4, 3))
            logits = sum(noise[k : k + frames] for k in range(5)) / 2 - 2
            self.truth[clip] = []
            for column, label in enumerate(LABELS):
                start = int(rng.integers(0, frames))
                while start < frames - 2 and rng.random() < 0.8:
                    end = min(frames, start + int(rng.integers(2, 25)))
                    event = round(start * FRAME, 3), round(end * FRAME, 3), label
                    self.truth[clip].append(event)
                    logits[start + int(rng.integers(-1, 2)) : end, column] += rng.uniform(0, 5)
                    start = end + int(rng.integers(1, 25))
            values = 1 / (1 + np.exp(-logits))
            values = np.round(values * levels) / levels if levels else values
            edges = np.arange(frames + 1 + (number % 3)) * FRAME  # not all are of one length
            values = np.pad(values, ((0, number % 3), (0, 0)), constant_values=0.01)
            self.tables[clip] = ScoreTable(edges, values, LABELS)
        self.durations = {clip: table.boundaries[-1] for clip, table in self.tables.items()}

    def tune(self, **settings: Any) -> Tuning:
        return tune(self.tables, self.truth, self.durations, self.labels, **settings)

    def reference(self, weights: Any) -> Reference:
        seconds = np.array(list(self.durations.values()))
        return Reference.build(
            self.truth, list(self.tables), LABELS, seconds, seconds, np.asarray(weights, float)
        )

    def found(self, chosen: Any) -> Found:
        parts = []
        for number, table in enumerate(self.tables.values()):
            boxes = table_boxes(table, chosen)
            times = boxes.onset, boxes.offset
            parts.append(Boxes(boxes.row + 3 * number, *times, boxes.confidence))
        return Found.of(Boxes.joined(parts), 3)

    def some(self, weights: Any) -> list[str]:
        return [clip for clip, weight in zip(self.tables, weights, strict=True) if weight]


@pytest.fixture(scope="module")
def data() -> Set:
    return Set(30)


@given(st.integers(0, 10_000), st.sampled_from(GRID), st.sampled_from([0, 0, 8]))
@settings(max_examples=25, deadline=None)
def test_psds_of_boxes_is_that_of_their_table(
    seed: int, chosen: CsebbSettings, levels: int
) -> None:
    """Also where confidences are equal, and for any set of the clips."""
    found = Set(8, seed, levels=levels)
    weights = np.random.default_rng(seed).random((3, 8)) < 0.7
    weights[2] = True
    areas = box_psds(found.found(chosen), found.reference(weights), PSDS1)
    for row, area in zip(weights, areas, strict=True):
        clips = found.some(row)
        truth = {clip: found.truth[clip] for clip in clips}
        present = {label for events in truth.values() for *_, label in events}
        assert [bool(x) for x in ~np.isnan(area)] == [label in present for label in LABELS]
        if not present:
            continue
        tables = {
            clip: box_table(found.tables[clip], table_boxes(found.tables[clip], chosen))
            for clip in clips
        }
        durations = {clip: found.durations[clip] for clip in clips}
        expected = psds(tables, truth, durations, PSDS1).per_class
        got = {label: x for label, x in zip(LABELS, area, strict=True) if label in present}
        assert got == pytest.approx(expected, abs=1e-9)


@given(st.integers(0, 10_000), st.sampled_from(GRID), st.sampled_from([0, 0, 8]))
@example(1547, CsebbSettings(step_seconds=0.48, absolute=0.15, relative=math.inf), 8)  # boxes of 0
@settings(max_examples=12, deadline=None)
def test_best_f1_of_boxes_is_the_best_of_all_thresholds(
    seed: int, chosen: CsebbSettings, levels: int
) -> None:
    found = Set(6, seed, levels=levels)
    rng = np.random.default_rng(seed)
    weights = rng.random((2, 6)) < 0.7
    boxes = found.found(chosen)

    @cache
    def events_above(tau: float) -> Truth:
        post = PostProcess(method="csebb", csebb=chosen, threshold=tau)
        return {
            clip: [event[:3] for event in scores_to_events(table, post)]
            for clip, table in found.tables.items()
        }

    def f1_above(tau: float, truth: Truth, collars: CollarCriterion) -> dict[str, float]:
        events = {clip: events_above(tau)[clip] for clip in truth}
        return f1_statistics(events, truth, LABELS, collars, clips=list(truth)).result().per_class

    tried: dict[tuple[int, int], list[float]] = {}  # row, column → some of its confidences
    # Wide collars: many boxes are near several events.
    for collar in (0.2, 1.0):
        collars = CollarCriterion(onset_collar=collar, offset_collar=collar)
        best = box_best_f1(boxes, found.reference(weights), collars)
        for number, (row, f1, threshold) in enumerate(
            zip(weights, best.f1, best.threshold, strict=True)
        ):
            truth = {clip: found.truth[clip] for clip in found.some(row)}
            for column, label in enumerate(LABELS):
                if not any(event[2] == label for events in truth.values() for event in events):
                    assert np.isnan(f1[column])
                    continue
                own = boxes.confidence[boxes.label == column]
                if (number, column) not in tried:
                    levels_ = rng.choice(own[row[boxes.clip[boxes.label == column]]], 8)
                    tried[number, column] = [max(0.0, tau - 1e-9) for tau in levels_.tolist()]
                values = [f1_above(tau, truth, collars)[label] for tau in tried[number, column]]
                assert f1[column] >= max(values) - 1e-12
                if f1[column] > 0:
                    value = f1_above(float(threshold[column]), truth, collars)[label]
                    assert value == pytest.approx(f1[column])


def test_folds_are_stable_even_and_seeded() -> None:
    clips = [f"clip{number}" for number in range(53)]
    dealt = dict(zip(clips, assign_folds(clips, 5, 1).tolist(), strict=True))
    assert sorted(np.bincount(list(dealt.values())).tolist()) == [10, 10, 11, 11, 11]
    backwards = clips[::-1]
    assert dict(zip(backwards, assign_folds(backwards, 5, 1).tolist(), strict=True)) == dealt
    assert assign_folds(clips, 5, 2).tolist() != list(dealt.values())
    groups = {clip: clip[:-1] for clip in clips}
    together = assign_folds(clips, 3, 0, groups)
    for group in set(groups.values()):
        assert len({f for f, c in zip(together, clips, strict=True) if groups[c] == group}) == 1


@pytest.mark.parametrize("folds", [-1, 1, 11])
def test_folds_that_cannot_be(folds: int) -> None:
    with pytest.raises(ConfigError, match="cannot be divided"):
        assign_folds([f"clip{n}" for n in range(10)], folds)


def test_every_clip_needs_a_group() -> None:
    with pytest.raises(ConfigError, match="clips have no group"):
        assign_folds(["x", "y", "z"], 2, 0, {"x": "1", "y": "2"})


@pytest.mark.parametrize("method", ["csebb", "median"])
@pytest.mark.parametrize("objective", ["psds1", "collar_f1", "both"])
def test_each_class_gets_the_best_of_the_grid(data: Set, method: str, objective: str) -> None:
    grid: Any = GRID[::5] if method == "csebb" else (0.0, 0.32, 1.0)
    result = data.tune(method=method, objective=objective, grid=grid, folds=0, thresholds="best")
    assert result.cross_validated is None
    assert result.clips == 30
    assert result.folds == ()
    name = "csebb" if method == "csebb" else "median_seconds"
    figures: dict[str, list[dict[str, float]]] = {"psds1": [], "collar_f1": []}
    for setting in grid:
        post = result.postprocess
        post = PostProcess(**{"method": method, name: setting}, threshold=post.threshold)
        filtered = {clip: filter_table(table, post) for clip, table in data.tables.items()}
        events = {
            clip: [e[:3] for e in scores_to_events(table, post)]
            for clip, table in data.tables.items()
        }
        figures["psds1"].append(psds(filtered, data.truth, data.durations, PSDS1).per_class)
        figures["collar_f1"].append(collar_f1(events, data.truth, LABELS).per_class)
    by = "collar_f1" if objective == "collar_f1" else "psds1"
    for choice in result.classes:
        assert choice.tuned
        assert choice.events == sum(e[2] == choice.label for v in data.truth.values() for e in v)
        place = list(grid).index(choice.setting)
        mine = [found[choice.label] for found in figures[by]]
        assert getattr(choice, by) == pytest.approx(mine[place])
        assert mine[place] == pytest.approx(max(mine))
        assert choice.psds1 == pytest.approx(figures["psds1"][place][choice.label])
        assert choice.collar_f1 == pytest.approx(figures["collar_f1"][place][choice.label])
        assert choice.threshold == result.postprocess.for_label(choice.label).threshold
        if objective == "psds1":
            assert choice.threshold == 0.5
    json.dumps(result.to_dict(), allow_nan=False)
    assert PostProcess.from_dict(result.postprocess.to_dict()) == result.postprocess


@pytest.mark.parametrize("method", ["csebb", "median"])
def test_steady_thresholds_are_means_over_resamples(
    data: Set, method: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Found again with nothing but `tune` itself, on clips repeated as they were drawn."""
    monkeypatch.setattr(grid_search, "DRAWS", 12)
    one: Any = {"csebb": GRID[4], "median": 0.32}[method]
    settings_: Any = {"method": method, "grid": [one], "folds": 0}
    steady = data.tune(seed=3, **settings_)
    assert steady == data.tune(seed=3, **settings_)
    rng = np.random.default_rng(3)
    names = sorted(data.tables)
    draws = rng.multinomial(len(names), np.full(len(names), 1 / len(names)), grid_search.DRAWS)
    found: list[list[float]] = []
    for draw in draws:
        again = Set(1)
        again.tables, again.truth, again.durations = {}, {}, {}
        for clip, times in zip(names, draw.tolist(), strict=True):
            for copy in range(times):
                again.tables[f"{clip}-{copy}"] = data.tables[clip]
                again.truth[f"{clip}-{copy}"] = data.truth[clip]
                again.durations[f"{clip}-{copy}"] = data.durations[clip]
        best = again.tune(thresholds="best", objective="collar_f1", **settings_)
        found.append([choice.threshold for choice in best.classes])
    mean = np.mean(found, axis=0)
    # Not to the last digit: clips that were not drawn have a say in what lies half-way.
    assert [choice.threshold for choice in steady.classes] == pytest.approx(
        mean.tolist(), abs=1e-6 if method == "csebb" else 0.03
    )


@pytest.mark.parametrize("method", ["csebb", "median"])
def test_decisions_by_intersection_have_the_best_intersection_f1(data: Set, method: str) -> None:
    grid: Any = [GRID[4]] if method == "csebb" else [0.32]
    common: Any = {"method": method, "grid": grid, "folds": 0, "thresholds": "best"}
    results = {by: data.tune(decide=by, **common) for by in ("collar_f1", "intersection_f1")}

    def f1(post: PostProcess) -> dict[str, float]:
        events = {
            clip: [e[:3] for e in scores_to_events(table, post)]
            for clip, table in data.tables.items()
        }
        return intersection_f1(events, data.truth, LABELS).per_class

    chosen = results["intersection_f1"].postprocess
    assert results["intersection_f1"].to_dict()["decide"] == "intersection_f1"
    best = f1(chosen)
    tried = [f1(chosen.changed(threshold=level)) for level in np.linspace(0.02, 0.98, 49)]
    tried.append(f1(results["collar_f1"].postprocess))
    for label in LABELS:
        assert best[label] >= max(one[label] for one in tried) - 1e-9


def test_one_setting_for_all_classes(data: Set) -> None:
    result = data.tune(objective="psds1", classwise=False, folds=0)
    chosen = result.postprocess.csebb
    assert isinstance(chosen, CsebbSettings)
    means = []
    for setting in GRID:
        post = PostProcess(method="csebb", csebb=setting)
        filtered = {clip: filter_table(table, post) for clip, table in data.tables.items()}
        found = psds(filtered, data.truth, data.durations, PSDS1).per_class
        means.append(np.mean(list(found.values())))
    assert GRID[int(np.argmax(np.round(means, 12)))] == chosen


def test_clips_are_scored_with_settings_of_the_other_folds(data: Set) -> None:
    result = data.tune(objective="both", folds=3, seed=4, resamples=20)
    assert sorted(result.fold_of) == sorted(data.tables)
    assert len(result.folds) == 3
    expected = {
        clip: filter_table(table, result.folds[result.fold_of[clip]])
        for clip, table in data.tables.items()
    }
    value = psds(expected, data.truth, data.durations, PSDS1).value
    assert result.cross_validated is not None
    assert result.cross_validated["psds1"] == pytest.approx(value)
    assert result.cross_validated["clips"] == 30
    assert set(result.cross_validated["intervals"]) >= {"psds1", "collar_f1"}
    for fold, settings_ in enumerate(result.folds):
        rest = Set(30)
        for clip in data.tables:
            if result.fold_of[clip] == fold:
                del rest.tables[clip], rest.truth[clip], rest.durations[clip]
        assert rest.tune(objective="both", folds=0, seed=4).postprocess == settings_


@pytest.mark.parametrize("method", ["csebb", "median"])
def test_what_is_tested_on_has_no_part_in_the_tuning(data: Set, method: str) -> None:
    """Other truth in one fold changes the settings of the others, never its own."""
    before = data.tune(method=method, folds=3)
    changed = Set(30)
    rng = np.random.default_rng(9)
    for clip in changed.truth:
        if before.fold_of[clip] == 1:
            start = round(float(rng.uniform(0, 2)), 3)
            changed.truth[clip] = [(start, start + 0.5, label) for label in LABELS]
    after = changed.tune(method=method, folds=3)
    assert after.folds[1] == before.folds[1]
    assert after.folds[0] != before.folds[0]


def test_the_order_of_clips_does_not_matter(data: Set) -> None:
    turned = Set(30)
    turned.tables = dict(reversed(turned.tables.items()))
    one, other = data.tune(folds=4), turned.tune(folds=4)
    assert one.folds == other.folds
    assert one.cross_validated is not None
    assert other.cross_validated is not None
    for name in ("psds1", "collar_f1"):
        assert one.cross_validated[name] == pytest.approx(other.cross_validated[name])


@pytest.mark.parametrize("method", ["csebb", "median"])
def test_a_class_without_events_keeps_its_settings(method: str) -> None:
    found = Set(12)
    for clip, events in found.truth.items():
        found.truth[clip] = [event for event in events if event[2] == "a"]
    found.truth["clip3"].append((1.0, 2.0, "b"))
    base = PostProcess(
        median_seconds={"a": 0.1, "b": 0.2, "c": 0.3},
        threshold={"a": 0.6, "b": 0.6, "c": 0.7},
        csebb={"a": GRID[0], "b": GRID[0], "c": GRID[7]},
        min_gap_seconds=0.1,
    )
    result = found.tune(method=method, folds=3, base=base)
    kept = result.postprocess.for_label("c")
    assert kept == base.for_label("c")
    assert result.postprocess.min_gap_seconds == 0.1
    last = result.classes[-1]
    assert not last.tuned
    assert (last.psds1, last.collar_f1, last.events) == (None, None, 0)
    fold = result.fold_of["clip3"]
    assert result.folds[fold].for_label("b") == base.for_label("b")
    told = " ".join(result.warnings)
    assert "classes without events keep their settings: c" in told
    assert "b has no event outside 1 of 3 folds" in told
    assert "before gaps are closed" in told


def test_a_class_that_is_never_active_is_worth_nothing() -> None:
    found = Set(6)
    for clip, table in found.tables.items():
        values = table.values.copy()
        values[:, 2] = -np.inf
        found.tables[clip] = ScoreTable(table.boundaries, values, LABELS)
    result = found.tune(folds=2)
    assert result.classes[2].psds1 == 0
    assert result.classes[2].threshold == 0.5
    assert result.classes[0].psds1 != 0


def test_classes_in_parts_are_classes_together(data: Set, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = data.tune(folds=2)
    monkeypatch.setattr(grid_search, "CELLS", 1)
    assert data.tune(folds=2).folds == whole.folds


@pytest.mark.parametrize("method", ["csebb", "median"])
def test_truth_and_durations_of_other_clips_are_left_aside(data: Set, method: str) -> None:
    clips = list(data.tables)[:10]
    tables = {clip: data.tables[clip] for clip in clips}
    truth = {clip: data.truth[clip] for clip in clips}
    durations = {clip: data.durations[clip] for clip in clips}
    more = tune(tables, data.truth, data.durations, LABELS, method=method, folds=2)
    assert more == tune(tables, truth, durations, LABELS, method=method, folds=2)


def test_progress_is_told(data: Set) -> None:
    for method, total in (("csebb", 18), ("median", 12)):
        told: list[tuple[int, int]] = []
        data.tune(
            method=method,
            objective="psds1",
            folds=0,
            progress=lambda done, of, told=told: told.append((done, of)),
        )
        assert told == [(k + 1, total) for k in range(total)]


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"method": "box"}, "unknown method of tuning: 'box'"),
        ({"objective": "f1"}, "unknown objective of tuning: 'f1'"),
        ({"thresholds": "good"}, "unknown thresholds of tuning: 'good'"),
        ({"grid": ()}, "the grid of csebb needs cSEBB settings"),
        ({"grid": (0.3,)}, "the grid of csebb needs cSEBB settings"),
        ({"grid": GRID, "method": "median"}, "the grid of median needs median lengths"),
    ],
)
def test_choices_that_make_no_sense(data: Set, wrong: dict[str, Any], told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        data.tune(**wrong)


def test_tables_and_truth_have_to_fit(data: Set) -> None:
    with pytest.raises(ScoreError, match="do not have the classes"):
        tune(data.tables, data.truth, data.durations, ("a", "b"))
    with pytest.raises(ScoreError, match="not in the durations"):
        tune(data.tables, data.truth, {}, LABELS)
    with pytest.raises(ScoreError, match="no class has ground truth"):
        tune(data.tables, {}, data.durations, LABELS)
    bad = dict(data.tables)
    values = data.tables["clip5"].values.copy()
    values[3, 1] = -0.5
    bad["clip5"] = ScoreTable(data.tables["clip5"].boundaries, values, LABELS)
    with pytest.raises(ScoreError, match="clip5"):
        tune(bad, data.truth, data.durations, LABELS)


def test_a_best_threshold_lies_between_confidences() -> None:
    """Half-way, so that neither side is lost to rounding in a file."""
    result = Set(20).tune(objective="collar_f1", folds=0, thresholds="best")
    for choice in result.classes:
        assert 0 < choice.threshold < 1
        assert math.isfinite(choice.threshold)
