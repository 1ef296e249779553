"""From scores to events."""

from __future__ import annotations

import pickle
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from earmark.core.errors import ConfigError, ScoreError
from earmark.core.tables.scores import ScoreTable
from earmark.detect.postprocess import (
    PostProcess,
    active_runs,
    filter_table,
    median_filtered,
    odd_frames,
    scores_to_events,
)

FRAME = 0.064


def table(*columns: list[float], labels: tuple[str, ...] = ()) -> ScoreTable:
    values = np.array(columns, dtype=np.float32).T
    names = labels or tuple("abcdefgh"[: len(columns)])
    return ScoreTable(boundaries=np.arange(len(values) + 1) * FRAME, values=values, labels=names)


def pulse(length: int, first: int, end: int, level: float = 1.0) -> list[float]:
    return [level if first <= i < end else 0.0 for i in range(length)]


def test_runs_become_events_on_frame_edges() -> None:
    events = scores_to_events(
        table(pulse(20, 3, 7, 0.75), pulse(20, 0, 20, 0.625)), PostProcess(threshold=0.5)
    )
    assert events == [(0.0, 20 * FRAME, "b", 0.625), (3 * FRAME, 7 * FRAME, "a", 0.75)]


def test_threshold_is_strict_and_by_class() -> None:
    scores = table([0.5, 0.5, 0.6], [0.5, 0.5, 0.6])
    settings = PostProcess(threshold={"a": 0.5, "b": 0.4})
    assert [e[:3] for e in scores_to_events(scores, settings)] == [
        (0.0, 3 * FRAME, "b"),
        (2 * FRAME, 3 * FRAME, "a"),
    ]


@pytest.mark.parametrize("length", [1, 2, 5, 6, 9, 20])
@pytest.mark.parametrize("width_seconds", [0.192, 0.448, 0.32])
def test_filter_moves_no_edge_of_a_long_pulse(length: int, width_seconds: float) -> None:
    """An odd filter keeps pulses longer than half of it exactly and removes shorter ones."""
    width = odd_frames(width_seconds, FRAME)
    events = scores_to_events(
        table(pulse(60, 20, 20 + length)), PostProcess(median_seconds=width_seconds)
    )
    if length > width // 2:
        assert [e[:2] for e in events] == [(20 * FRAME, (20 + length) * FRAME)]
    else:
        assert events == []


def test_filter_closes_a_hole_and_the_score_is_of_the_raw_frames() -> None:
    column = pulse(30, 5, 15)
    column[9] = 0.0
    events = scores_to_events(table(column), PostProcess(median_seconds=3 * FRAME))
    assert len(events) == 1
    assert events[0][3] == pytest.approx(0.9)


@given(
    arrays(np.float32, st.tuples(st.integers(1, 40), st.integers(1, 3)),
           elements=st.floats(0, 1, width=32)),
    st.integers(0, 5),
)  # fmt: skip
def test_median_filter_equals_a_plain_one(scores: np.ndarray[Any, Any], half: int) -> None:
    width = 2 * half + 1
    frames = len(scores)
    mirrored = np.pad(scores, ((width, width), (0, 0)), mode="symmetric")
    expected = np.stack(
        [
            np.median(mirrored[width + i - half : width + i + half + 1], axis=0)
            for i in range(frames)
        ]
    )
    np.testing.assert_array_equal(median_filtered(scores, [width] * scores.shape[1]), expected)


@pytest.mark.parametrize(
    ("seconds", "frames"),
    [(0.0, 1), (0.05, 1), (0.064, 1), (0.16, 3), (0.192, 3), (0.384, 5), (0.448, 7), (1.28, 19)],
)
def test_filter_lengths_are_odd_and_near(seconds: float, frames: int) -> None:
    assert odd_frames(seconds, FRAME) == frames


@given(st.floats(0, 20), st.floats(0.005, 0.5))
def test_filter_length_is_within_a_frame(seconds: float, frame: float) -> None:
    width = odd_frames(seconds, frame)
    assert width % 2 == 1
    assert width == 1 or abs(width * frame - seconds) <= frame * (1 + 1e-9)


@settings(max_examples=60)
@given(
    arrays(np.bool_, st.integers(0, 50)),
)
def test_runs_cover_exactly_the_active_frames(active: np.ndarray[Any, Any]) -> None:
    runs = active_runs(active)
    rebuilt = np.zeros_like(active)
    for first, end in runs:
        assert first < end
        rebuilt[first:end] = True
    np.testing.assert_array_equal(rebuilt, active)
    assert np.all(runs[1:, 0] > runs[:-1, 1])


def test_gaps_are_closed_before_short_events_are_dropped() -> None:
    column = [1.0, 1.0, 0.0, 1.0, 1.0, 0.0, 0.0, 0.0, 0.0, 1.0]
    close = PostProcess(min_gap_seconds=2 * FRAME, min_duration_seconds=3 * FRAME)
    assert [e[:2] for e in scores_to_events(table(column), close)] == [(0.0, 5 * FRAME)]
    drop = PostProcess(min_duration_seconds=3 * FRAME)
    assert scores_to_events(table(column), drop) == []
    # A gap of exactly the least length stays, an event of exactly the least length too.
    exact = PostProcess(min_gap_seconds=FRAME, min_duration_seconds=2 * FRAME)
    assert len(scores_to_events(table(column), exact)) == 2


def test_last_shorter_frame_ends_the_event_at_the_end() -> None:
    boundaries = np.append(np.arange(10) * FRAME, 9 * FRAME + 0.01)
    scores = ScoreTable(boundaries=boundaries, values=np.ones((10, 1)), labels=("a",))
    events = scores_to_events(scores, PostProcess(median_seconds=1.0))
    assert events == [(0.0, 9 * FRAME + 0.01, "a", 1.0)]


def test_unequal_frames_are_refused_only_where_filtered() -> None:
    boundaries = np.array([0.0, 1.0, 3.0, 4.0])
    scores = ScoreTable(boundaries=boundaries, values=np.ones((3, 1)), labels=("a",))
    assert scores_to_events(scores, PostProcess()) == [(0.0, 4.0, "a", 1.0)]
    with pytest.raises(ScoreError, match="equal length"):
        filter_table(scores, PostProcess(median_seconds=1.0))


def test_a_missing_class_is_named() -> None:
    with pytest.raises(ConfigError, match=r"median_seconds for class 'b'.*'a'"):
        scores_to_events(table([1.0], [1.0]), PostProcess(median_seconds={"a": 0.1}))


@pytest.mark.parametrize(
    "settings",
    [
        {"threshold": 1.0},
        {"threshold": -0.1},
        {"threshold": {"a": float("nan")}},
        {"median_seconds": -1},
        {"median_seconds": float("inf")},
        {"median_seconds": "long"},
        {"threshold": None},
        {"threshold": True},
        {"medians": 0.3},
    ],
)
def test_unusable_settings_are_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        PostProcess.from_dict(settings)


def test_settings_survive_dictionaries_and_pickles() -> None:
    given_settings = {
        "median_seconds": {"a": 0.448, "b": 0.0},
        "threshold": 0.25,
        "min_gap_seconds": 0.1,
        "min_duration_seconds": 0.0,
    }
    read = PostProcess.from_dict(given_settings)
    assert read.to_dict() == given_settings
    assert PostProcess.from_dict(read.to_dict()) == read
    assert pickle.loads(pickle.dumps(read)) == read
    assert read.with_threshold(0.75).for_label("a").threshold == 0.75
    given_settings["median_seconds"]["a"] = 9.0  # type: ignore[index]
    assert read.for_label("a").median_seconds == 0.448


def test_width_without_a_centre_is_refused() -> None:
    with pytest.raises(ConfigError, match="centre"):
        median_filtered(np.zeros((5, 1)), [4])
