"""Sound event bounding boxes."""

from __future__ import annotations

import json
import math
import time
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from earmark.core.config import dump_yaml, load_yaml
from earmark.core.errors import ConfigError, ScoreError
from earmark.core.event import Event
from earmark.core.tables.scores import ScoreTable
from earmark.detect import csebb
from earmark.detect.csebb import CsebbSettings, sound_event_boxes
from earmark.detect.detector import Detector
from earmark.detect.postprocess import PostProcess, filter_table, scores_to_events
from earmark.detect.tuning.tune import CSEBB_GRID as GRID
from helpers.csebb_cases import SEEDS, make_case
from helpers.networks import BandEnergy

HERE, FRAME, INF = Path(__file__).parent, 0.064, math.inf


def table(values: Any, edges: Any = None, labels: tuple[str, ...] = ()) -> ScoreTable:
    values = np.asarray(values, dtype=np.float64)
    values = values[:, None] if values.ndim == 1 else values
    edges = np.arange(len(values) + 1) * FRAME if edges is None else np.asarray(edges)
    return ScoreTable(edges, values, labels or tuple("abcdefgh"[: values.shape[1]]))


def noise(seed: int, frames: int, classes: int = 1) -> np.ndarray:
    """Smooth scores without ties."""
    rng = np.random.default_rng(seed)
    values = rng.normal(0, 2, (frames + 4, classes))
    values = sum(values[k : k + frames] for k in range(5)) / 2
    return np.asarray(1 / (1 + np.exp(1 - values)))


def candidates(points: list[Any], steps: list[Any]) -> list[list[Any]]:
    """Onset and offset of each candidate: from a largest step to the next smallest one."""
    spans: list[list[Any]] = []
    for n in range(1, len(points)):
        if not spans or len(spans[-1]) == 2:
            if steps[n] <= steps[n - 1] and (n == 1 or steps[n - 1] > steps[n - 2]):
                spans.append([points[n - 1]])
        elif steps[n] > steps[n - 1] and steps[n - 1] <= steps[n - 2]:
            spans[-1].append(points[n - 1])
    if spans and len(spans[-1]) == 1:
        spans[-1].append(points[-1])
    return spans


def naive(scores: ScoreTable, chosen: CsebbSettings) -> list[Event]:
    """C5.2 of the reference read aloud, point by point: slow, and obviously right."""
    edges, half = scores.boundaries.tolist(), chosen.step_seconds / 2
    points = sorted({round(b + x, 8) for b in edges for x in (-half, 0.0, half)})
    points = [p for p in points if edges[0] <= p <= edges[-1]]
    points = [p for i, p in enumerate(points) if i == 0 or p - points[i - 1] > 1e-7]
    found = []
    for column, label in enumerate(scores.labels):
        values = scores.values[:, column].tolist()
        area = [0.0, *np.cumsum(np.diff(edges) * values).tolist()]

        def upto(t: float, area: list[float] = area) -> float:
            return float(np.interp(t, edges, area))

        steps = [(upto(t + half) - 2 * upto(t) + upto(t - half)) / half for t in points]
        spans = candidates(points, steps)

        def within(start: float, end: float, values: list[float] = values) -> list[float]:
            return [
                value
                for value, (a, b) in zip(values, pairwise(edges), strict=True)
                if min(b, end) - max(a, start) > 1e-7
            ] or [0.0]

        peaks = [max(within(*span)) for span in spans]
        merged = [spans[0]] if spans else []
        for i in range(1, len(spans)):
            low = min(within(spans[i - 1][1], spans[i][0]))
            if all(
                (peak + 1e-3) / (low + 1e-3) < chosen.relative and peak - low < chosen.absolute
                for peak in peaks[i - 1 : i + 1]
            ):
                merged[-1] = [merged[-1][0], spans[i][1]]
            else:
                merged.append(spans[i])
        for onset, offset in merged:
            mean = (upto(offset) - upto(onset)) / (offset - onset)
            found.append(Event(onset, offset, label, mean))
    return sorted(found)


def same(found: list[Event], expected: list[Event]) -> None:
    """Equal boxes: times to 1e-6 s, confidences as far as times of 1e-6 s determine them."""
    assert len(found) == len(expected)
    for one, other in zip(found, expected, strict=True):
        assert one[2] == other[2]
        assert one[:2] == pytest.approx(other[:2], abs=2e-6)
        assert one[3] == pytest.approx(other[3], abs=1e-4 + 1.5e-6 / (one[1] - one[0]))


setting = st.builds(
    CsebbSettings,
    st.sampled_from([0.2, 0.32, 0.48, 0.5, 0.64, 1.1]),
    st.sampled_from([0.05, 0.15, 0.3, 1.0, INF]),
    st.sampled_from([1.2, 1.5, 2.0, 4.0, INF]),
)
seeds = st.integers(0, 10_000)


@given(seeds, st.integers(1, 40), setting)
@settings(max_examples=60, deadline=None)
def test_as_the_definition_says(seed: int, frames: int, chosen: CsebbSettings) -> None:
    scores = table(noise(seed, frames, 2))
    same(sound_event_boxes(scores, chosen), naive(scores, chosen))


def exact(
    levels: list[int], of: int, step: Fraction, absolute: Fraction | None, relative: Fraction | None
) -> list[tuple[Fraction, Fraction, Fraction]]:
    """`naive` in fractions: onset, offset and confidence of scores of few levels, without noise."""
    edges = [Fraction(64 * k, 1000) for k in range(len(levels) + 1)]
    values, half = [Fraction(level, of) for level in levels], step / 2
    area = [Fraction(0)]
    for value in values:
        area.append(area[-1] + value * edges[1])

    def upto(t: Fraction) -> Fraction:
        k = min(max(int(t / edges[1]), 0), len(values) - 1)
        return area[k] + values[k] * min(max(t - edges[k], Fraction(0)), edges[1])

    points = sorted({b + x for b in edges for x in (-half, Fraction(0), half)})
    points = [point for point in points if 0 <= point <= edges[-1]]
    steps = [upto(t + half) - 2 * upto(t) + upto(t - half) for t in points]
    spans = candidates(points, steps)

    def within(start: Fraction, end: Fraction) -> list[Fraction]:
        frames = zip(values, pairwise(edges), strict=True)
        return [value for value, (a, b) in frames if min(b, end) > max(a, start)]

    merged: list[list[Fraction]] = [list(spans[0])] if spans else []
    for one, other in pairwise(spans):
        low = min(within(one[1], other[0]))
        peak = max(*within(*one), *within(*other))
        deep = absolute is not None and peak - low >= absolute
        soft = Fraction(1, 1000)
        if deep or (relative is not None and peak + soft >= relative * (low + soft)):
            merged.append(list(other))
        else:
            merged[-1][1] = other[1]
    return [(on, off, (upto(off) - upto(on)) / (off - on)) for on, off in merged]


@given(
    st.sampled_from([2, 5, 10, 50, 100, 255]),
    st.integers(1, 4),
    st.sampled_from([0.32, 0.48, 0.5, 0.64]),
    st.sampled_from([0.1, 0.15, 0.2, 0.3, 0.4, INF]),
    st.sampled_from([1.5, 2.0, 3.0, INF]),
    st.data(),
)
@settings(max_examples=200, deadline=None)
def test_ties_of_scores_of_few_levels_are_decided_by_the_definition(
    of: int, repeat: int, step: float, absolute: float, relative: float, data: st.DataObject
) -> None:
    """Level ground, and falls of exactly a limit: float noise decides nothing."""
    drawn = data.draw(st.lists(st.integers(0, of), min_size=1, max_size=40))
    levels = [level for level in drawn for _ in range(repeat)]
    chosen = CsebbSettings(step, absolute, relative)
    limits = (None if x == INF else Fraction(str(x)) for x in (absolute, relative))
    wanted = exact(levels, of, Fraction(str(step)), *limits)
    found = sound_event_boxes(table(np.array(levels) / of), chosen)
    assert len(found) == len(wanted)
    for event, box in zip(found, wanted, strict=True):
        assert [event.onset, event.offset] == pytest.approx(list(map(float, box[:2])), abs=1e-7)
        assert event.score == pytest.approx(float(box[2]), abs=1e-6)


@given(seeds, st.integers(2, 20), setting)
@settings(max_examples=30, deadline=None)
def test_frames_may_be_of_any_length(seed: int, frames: int, chosen: CsebbSettings) -> None:
    rng = np.random.default_rng(seed)
    edges = np.append(0.0, np.cumsum(rng.uniform(0.01, 0.9 * chosen.step_seconds, frames)).round(6))
    scores = table(noise(seed, frames, 2), edges)
    same(sound_event_boxes(scores, chosen), naive(scores, chosen))


def test_boxes_of_the_reference() -> None:
    """Equal to the reference's boxes of random tables (made by `make oracle`)."""
    expected = json.loads((HERE / "csebb_oracle.json").read_text(encoding="utf-8"))
    pins = (HERE.parents[1] / "benchmarks/oracle/requirements.txt").read_text(encoding="utf-8")
    for name, version in expected["provenance"]["packages"].items():
        assert f"{name}=={version}\n" in pins
    assert sorted(map(int, expected["boxes"])) == list(SEEDS)
    for seed in SEEDS:
        case = make_case(seed)
        scores = ScoreTable(case.boundaries, case.values, case.labels)
        chosen = CsebbSettings(case.step, case.absolute, case.relative)
        wanted = [(a, b, label, c) for label, a, b, c in expected["boxes"][str(seed)]]
        same(sound_event_boxes(scores, chosen), sorted(wanted))


@pytest.mark.parametrize(
    ("name", "chosen"),
    [("absolute", CsebbSettings(0.48, 0.2, INF)), ("relative", CsebbSettings(0.64, INF, 2.0))],
)
def test_boxes_of_smooth_scores(name: str, chosen: CsebbSettings) -> None:
    with np.load(HERE / "golden" / "smooth_scores_24.npz") as data:
        labels = tuple(data["classes"].tolist())
        edges = np.round(np.arange(data["scores"].shape[1] + 1) * FRAME, 6)
        for number, values in enumerate(data["scores"]):
            rows = data[f"{name}_row"][:, 0] == number
            names = [labels[k] for k in data[f"{name}_row"][rows, 1]]
            expected = sorted(
                (onset, offset, label, confidence)
                for label, (onset, offset, confidence) in zip(
                    names, data[name][rows].tolist(), strict=True
                )
            )
            found = sound_event_boxes(ScoreTable(edges, values, labels), chosen)
            assert [f[2] for f in found] == [e[2] for e in expected]
            np.testing.assert_allclose(
                [f[:2] for f in found], [e[:2] for e in expected], rtol=0, atol=1e-6
            )
            np.testing.assert_allclose(
                [f[3] for f in found], [e[3] for e in expected], rtol=0, atol=1e-4
            )


def test_a_pulse_is_its_box() -> None:
    values = np.where((np.arange(100) >= 30) & (np.arange(100) < 60), 0.9, 0.05)
    kept = [box for box in sound_event_boxes(table(values), CsebbSettings()) if box[3] > 0.5]
    assert kept == [(pytest.approx(30 * FRAME), pytest.approx(60 * FRAME), "a", 0.9)]


def test_a_box_ends_with_the_clip_to_the_last_bit() -> None:
    scores = table([0.3, 0.7], np.array([0, 1, 2]) / 3)
    assert sound_event_boxes(scores, CsebbSettings())[-1][1] == 2 / 3
    assert filter_table(scores, PostProcess(method="csebb")).boundaries[-1] == 2 / 3


def test_the_extent_does_not_depend_on_the_threshold() -> None:
    """Soft flanks: a frame threshold moves the edges, boxes stay."""
    frames = np.arange(120)
    values = 0.02 + 0.9 / (1 + np.exp(-(frames - 40) / 3)) / (1 + np.exp((frames - 80) / 3))
    boxes, medians = (
        [
            scores_to_events(table(values), PostProcess(method=method, threshold=tau))
            for tau in (0.2, 0.5, 0.7)
        ]
        for method in ("csebb", "median")
    )
    assert [len(events) for events in boxes] == [1, 1, 1]
    assert len({events[0] for events in boxes}) == 1
    assert len({events[0] for events in medians}) == 3
    assert boxes[0][0][0] == pytest.approx(40.5 * FRAME, abs=0.1)


@given(seeds, st.integers(5, 80), setting)
@settings(max_examples=40, deadline=None)
def test_boxes_are_within_the_clip_and_apart(seed: int, frames: int, chosen: CsebbSettings) -> None:
    scores = table(noise(seed, frames, 3), 1.5 + np.arange(frames + 1) * FRAME)
    for label in scores.labels:
        boxes = [box for box in sound_event_boxes(scores, chosen) if box[2] == label]
        edges = [time for onset, offset, *_ in boxes for time in (onset, offset)]
        assert all(a < b for a, b in pairwise(edges))
        assert not edges or (edges[0] >= 1.5 and edges[-1] <= scores.boundaries[-1])


@given(seeds, st.integers(5, 80), setting)
@settings(max_examples=40, deadline=None)
def test_confidence_is_the_mean_score(seed: int, frames: int, chosen: CsebbSettings) -> None:
    scores = table(noise(seed, frames, 2))
    for onset, offset, label, confidence in sound_event_boxes(scores, chosen):
        seconds = np.diff(np.clip(scores.boundaries, onset, offset))
        mean = seconds @ scores.values[:, scores.labels.index(label)] / (offset - onset)
        assert confidence == pytest.approx(mean, abs=1e-9)


@given(seeds, st.integers(5, 80), setting, st.floats(1.0, 4.0), st.floats(1.0, 4.0))
@settings(max_examples=40, deadline=None)
def test_larger_thresholds_merge_more(
    seed: int, frames: int, chosen: CsebbSettings, more: float, times: float
) -> None:
    scores = table(noise(seed, frames))
    larger = CsebbSettings(
        chosen.step_seconds, chosen.absolute * more, max(1.0, chosen.relative * times)
    )
    few, many = sound_event_boxes(scores, larger), sound_event_boxes(scores, chosen)
    assert {box[0] for box in few} <= {box[0] for box in many}
    assert {box[1] for box in few} <= {box[1] for box in many}


@given(seeds, st.integers(2, 60), setting)
@settings(max_examples=30, deadline=None)
def test_a_class_more_changes_nothing(seed: int, frames: int, chosen: CsebbSettings) -> None:
    values = noise(seed, frames, 3)
    three, two = table(values), table(values[:, :2])
    found = [box for box in sound_event_boxes(three, chosen) if box[2] != "c"]
    assert found == sound_event_boxes(two, chosen)
    other = CsebbSettings(0.9, 0.1, INF)
    mixed = sound_event_boxes(three, {"a": chosen, "b": chosen, "c": other})
    assert [box for box in mixed if box[2] != "c"] == found
    assert [box for box in mixed if box[2] == "c"] == [
        box for box in sound_event_boxes(three, other) if box[2] == "c"
    ]


@given(seeds, st.integers(2, 60), setting, st.integers(0, 59))
@settings(max_examples=40, deadline=None)
def test_splitting_a_frame_changes_nothing(
    seed: int, frames: int, chosen: CsebbSettings, where: int
) -> None:
    assume(where < frames)
    whole = table(noise(seed, frames))
    middle = whole.boundaries[where : where + 2].mean()
    edges = np.insert(whole.boundaries, where + 1, middle)
    split = table(np.insert(whole.values[:, 0], where, whole.values[where, 0]), edges)
    found, expected = (sound_event_boxes(one, chosen) for one in (split, whole))
    same(found, expected)


def test_clips_in_a_long_recording_keep_their_boxes() -> None:
    """With silence between them; what is far away has no influence, and nothing drifts.

    Boxes lower than A are left aside: those may join the silence, however long it is.
    """
    chosen, quiet = CsebbSettings(0.48, 0.2, INF), np.zeros(20)
    clips = [np.concatenate([quiet, noise(seed, 80), quiet], axis=None) for seed in range(30)]
    long = sound_event_boxes(table(np.concatenate(clips)), chosen)
    apart = [
        (onset + number * 120 * FRAME, offset + number * 120 * FRAME, label, confidence)
        for number, clip in enumerate(clips)
        for onset, offset, label, confidence in sound_event_boxes(table(clip), chosen)
    ]
    same([box for box in long if box[3] > 0.25], [box for box in apart if box[3] > 0.25])


def test_an_hour_takes_a_moment() -> None:
    scores = table(noise(1, 56_250, 3).astype(np.float32))
    start = time.perf_counter()
    events = scores_to_events(scores, PostProcess(method="csebb", threshold=0.3))
    filtered = filter_table(scores, PostProcess(method="csebb"))
    assert time.perf_counter() - start < 10  # 0.2 s; anything quadratic would take minutes
    assert len(events) > 1000
    assert filtered.boundaries[-1] == scores.boundaries[-1] == pytest.approx(3600)


def test_rows_in_parts_are_rows_together(monkeypatch: pytest.MonkeyPatch) -> None:
    scores = table(noise(3, 50, 7))
    whole = sound_event_boxes(scores, CsebbSettings())
    monkeypatch.setattr(csebb, "CELLS", 3 * 51 * 2)
    assert sound_event_boxes(scores, CsebbSettings()) == whole


def test_the_score_table_has_each_box_as_a_run() -> None:
    scores = table(noise(5, 120, 3))
    settings_ = PostProcess(method="csebb", csebb={"a": GRID[0], "b": GRID[11], "c": GRID[5]})
    filtered = filter_table(scores, settings_)
    boxes = sound_event_boxes(scores, settings_.csebb)
    assert filtered.boundaries[[0, -1]].tolist() == [0.0, scores.boundaries[-1]]
    for tau in (0.0, 0.1, 0.3, 0.6):
        runs = []
        for column, label in enumerate(filtered.labels):
            active = np.append(False, np.append(filtered.values[:, column] > tau, False))
            edges = np.flatnonzero(active[1:] != active[:-1])
            runs += [(*filtered.boundaries[pair].tolist(), label) for pair in edges.reshape(-1, 2)]
        assert sorted(runs) == [box[:3] for box in boxes if box[3] > tau]
    events = scores_to_events(scores, settings_.with_threshold(0.3))
    assert events == [box for box in boxes if box[3] > 0.3]


def test_gaps_and_durations_act_on_kept_boxes() -> None:
    frames = np.arange(200)
    values = np.where((frames // 20) % 2 == 1, 0.8, 0.01)
    values[150:] = 0.01
    values[180:183] = 0.8
    plain = PostProcess(method="csebb", threshold=0.5)
    assert len(scores_to_events(table(values), plain)) == 5
    closed = PostProcess(
        method="csebb", threshold=0.5, min_gap_seconds=21 * FRAME, min_duration_seconds=0.5
    )
    events = scores_to_events(table(values), closed)
    assert len(events) == 1
    onset, offset, _, score = events[0]
    first, last = round(onset / FRAME), round(offset / FRAME)
    assert (first, last) == (20, 150)
    assert score == pytest.approx(values[first:last].mean())


def test_a_class_that_is_never_active_has_no_boxes() -> None:
    values = np.stack([noise(1, 30)[:, 0], np.full(30, -np.inf)], axis=1)
    found = sound_event_boxes(table(values), CsebbSettings())
    assert found == sound_event_boxes(table(values[:, 0]), CsebbSettings())
    nothing = filter_table(table(values[:, 1]), PostProcess(method="csebb"))
    assert nothing.values.tolist() == [[-np.inf]]


@pytest.mark.parametrize("bad", [-0.1, np.inf, -np.inf])
def test_scores_that_boxes_cannot_be_found_in(bad: float) -> None:
    values = noise(1, 10, 2)
    values[4, 1] = bad
    with pytest.raises(ScoreError, match=r"score of b is .* in frame 5"):
        sound_event_boxes(table(values), CsebbSettings())


@pytest.mark.parametrize(
    "wrong",
    [
        {"step_seconds": 0.0},
        {"step_seconds": INF},
        {"absolute": -1.0},
        {"relative": math.nan},
        {"relative": "2"},
        {"absolute": True},
    ],
)
def test_settings_that_make_no_sense(wrong: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        CsebbSettings(**wrong)


def test_the_grid_is_the_papers() -> None:
    assert len(GRID) == len(set(GRID)) == 18
    assert [s.step_seconds for s in GRID[::6]] == [0.32, 0.48, 0.64]
    assert [s.absolute for s in GRID[:6]] == [0.15, 0.2, 0.3, INF, INF, INF]
    assert [s.relative for s in GRID[:6]] == [INF, INF, INF, 1.5, 2.0, 3.0]


@pytest.mark.parametrize("chosen", [CsebbSettings(), GRID[2], {"a": GRID[0], "absolute": GRID[17]}])
def test_settings_survive_a_file(chosen: Any, tmp_path: Path) -> None:
    before = PostProcess(method="csebb", csebb=chosen, threshold={"a": 0.25, "absolute": 0.5})
    path = tmp_path / "postprocess.yaml"
    path.write_text(dump_yaml(before.to_dict()), encoding="utf-8")
    assert "inf" not in path.read_text(encoding="utf-8")
    assert PostProcess.from_dict(load_yaml(path)) == before
    assert PostProcess.from_dict(json.loads(json.dumps(before.to_dict()))) == before


def test_settings_of_before_stay_what_they_were() -> None:
    old = {
        "median_seconds": 0.448,
        "threshold": 0.5,
        "min_gap_seconds": 0.0,
        "min_duration_seconds": 0.0,
    }
    assert PostProcess.from_dict(old).to_dict() == old
    assert PostProcess.from_dict({}).method == "median"


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"method": "box"}, "unknown post-processing method 'box'"),
        ({"csebb": 3}, "csebb is 3"),
        ({"csebb": {"steps": 3}}, "unknown cSEBB setting: steps"),
        ({"csebb": {"a": {"absolute": 0.1}, "relative": 3}}, "mixes settings and classes"),
    ],
)
def test_files_that_make_no_sense(wrong: dict[str, Any], told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        PostProcess.from_dict(wrong)


def test_a_class_without_settings_is_named() -> None:
    settings_ = PostProcess(method="csebb", csebb={"a": GRID[0]})
    with pytest.raises(ConfigError, match="no csebb for class 'b'"):
        scores_to_events(table(noise(0, 10, 2)), settings_)
    with pytest.raises(ConfigError, match="no csebb for class 'b'"):
        settings_.for_label("b")


def test_a_detector_finds_boxes_in_a_long_recording() -> None:
    """Over window edges too: 10 s windows, 100 s of quiet noise with two tones."""
    rate = 16_000
    rng = np.random.default_rng(0)
    samples = 1e-3 * rng.standard_normal(100 * rate)
    tones = [(18.5, 31.25, 440.0), (70.0, 72.0, 5000.0)]
    for onset, offset, pitch in tones:
        stretch = np.arange(round(onset * rate), round(offset * rate))
        samples[stretch] += 0.5 * np.sin(2 * np.pi * pitch * stretch / rate)
    detector = Detector(BandEnergy(), PostProcess(method="csebb", threshold=0.4))
    result = detector.detect((samples.astype(np.float32), rate))
    assert [event[2] for event in result.found] == ["low", "high"]
    for event, (onset, offset, _) in zip(result.found, tones, strict=True):
        assert event[0] == pytest.approx(onset, abs=FRAME)
        assert event[1] == pytest.approx(offset, abs=FRAME)
    boxes = sound_event_boxes(result.table, detector.postprocess.csebb)
    assert list(result.found) == [box for box in boxes if box[3] > 0.4]
