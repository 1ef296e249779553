"""Events of scores that come block by block: those of the whole recording, each once."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from earmark.core.tables.scores import ScoreTable
from earmark.core.timeline import FrameGrid
from earmark.detect.csebb import CsebbSettings
from earmark.detect.online.csebb import BoxFinder
from earmark.detect.online.median import MedianFinder
from earmark.detect.postprocess import PostProcess, scores_to_events

GRID = FrameGrid(1024)
LABELS = ("a", "b")

# Plateaus, ties and exact zeros beside anything: where sums and slopes are delicate.
levels = st.sampled_from([0.0, 0.1, 0.5, 0.5, 0.9, 1.0]) | st.floats(0, 1, width=32)
runs = st.lists(st.tuples(levels, st.integers(1, 12)), min_size=1, max_size=25)


def columns(one: list[tuple[float, int]], other: list[tuple[float, int]]) -> Any:
    """Scores [T, 2], T the shorter of two."""
    both = [np.repeat(*map(list, zip(*run, strict=True))) for run in (one, other)]
    return np.stack([column[: min(map(len, both))] for column in both], 1).astype(np.float32)


scores = st.builds(columns, runs, runs)
seconds = st.sampled_from([0.0, 0.064, 0.2, 0.5, 1.3])
thresholds = st.sampled_from([0.0, 0.3, 0.5, 0.89])
longest = st.sampled_from([math.inf, 0.5, 1.3])
medians = st.builds(
    PostProcess,
    median_seconds=st.fixed_dictionaries({"a": seconds, "b": seconds}),
    threshold=thresholds,
    min_gap_seconds=seconds,
    min_duration_seconds=seconds,
    max_duration_seconds=longest,
)
criteria = st.sampled_from([(math.inf, math.inf), (0.2, math.inf), (math.inf, 2.0), (0.3, 1.5)])
boxes = st.builds(
    lambda step, other, limits, threshold, gap, least, most: PostProcess(
        method="csebb",
        threshold=threshold,
        min_gap_seconds=gap,
        min_duration_seconds=least,
        max_duration_seconds=most,
        csebb={"a": CsebbSettings(step, *limits), "b": CsebbSettings(other, *limits)},
    ),
    st.sampled_from([0.05, 0.128, 0.32, 0.48, 0.5, 1.7]),
    st.sampled_from([0.064, 0.32, 0.64]),
    criteria,
    thresholds,
    seconds,
    seconds,
    longest,
)


def table(values: Any, duration: float) -> ScoreTable:
    return ScoreTable(GRID.boundaries(len(values), duration), values, LABELS)


def in_blocks(finder: Any, values: Any, cuts: list[int], duration: float) -> list[Any]:
    blocks = np.split(values, sorted(min(cut, len(values)) for cut in cuts))
    found = [event for block in blocks[:-1] for event in finder.push(block)]
    return sorted([*found, *finder.finish(blocks[-1], duration)])


cuts = st.lists(st.integers(0, 120), max_size=12)


@settings(max_examples=300, deadline=None)
@given(values=scores, process=medians | boxes, cuts=cuts, short=st.floats(0, 0.999))
def test_running_and_offline_forms_give_the_same_events(
    values: Any, process: PostProcess, cuts: list[int], short: float
) -> None:
    duration = (len(values) - short) * GRID.seconds
    kind = MedianFinder if process.method == "median" else BoxFinder
    found = in_blocks(kind(GRID, LABELS, process), values, cuts, duration)
    assert found == scores_to_events(table(values, duration), process)


@settings(max_examples=80, deadline=None)
@given(values=scores, process=medians | boxes, cuts=cuts, at=st.integers(0, 120))
def test_a_finder_goes_on_from_its_state(
    values: Any, process: PostProcess, cuts: list[int], at: int
) -> None:
    kind = MedianFinder if process.method == "median" else BoxFinder
    duration = len(values) * GRID.seconds
    first, second = kind(GRID, LABELS, process), kind(GRID, LABELS, process)
    at = min(at, len(values))
    found = [
        event
        for block in np.split(values[:at], 3 if at % 3 == 0 else 1)
        for event in first.push(block)
    ]
    second.restore(_through_json(first.state()))
    found += in_blocks(second, values[at:], cuts, duration)
    assert sorted(found) == scores_to_events(table(values, duration), process)


def _through_json(state: Any) -> Any:
    """Numbers as text, as a file has them; arrays as they are."""
    if isinstance(state, dict):
        return {name: _through_json(value) for name, value in state.items()}
    if isinstance(state, list) and any(isinstance(one, dict) for one in state):
        return [_through_json(one) for one in state]
    return state if isinstance(state, np.ndarray) else json.loads(json.dumps(state))


def test_an_event_is_given_when_it_is_final_and_no_later() -> None:
    values = np.zeros((200, 2), dtype=np.float32)
    values[50:80, 0] = 0.9
    process = PostProcess(median_seconds=0.448, min_gap_seconds=0.32)  # 7 and 5 frames
    finder = MedianFinder(GRID, LABELS, process)
    given = [bool(finder.push(values[n : n + 1])) for n in range(200)]
    assert np.flatnonzero(given).tolist() == [80 + 3 + 5 - 1]
    assert finder.delay == pytest.approx((3 + 5) * 0.064)
    values[100:, 1] = 0.9
    boxed = BoxFinder(GRID, LABELS, PostProcess(method="csebb", csebb=CsebbSettings(0.32, 0.2)))
    given = [bool(boxed.push(values[n : n + 1])) for n in range(200)]
    assert np.flatnonzero(given).tolist()[0] <= 80 + 5
    assert sum(given) == 1  # that of b lasts to the end


@pytest.mark.parametrize("kind", [MedianFinder, BoxFinder])
def test_what_is_held_does_not_grow(kind: Any) -> None:
    rng = np.random.default_rng(0)
    method = "median" if kind is MedianFinder else "csebb"
    process = PostProcess(median_seconds=0.448, method=method, csebb=CsebbSettings(0.5, 0.3, 2.0))
    finder = kind(GRID, LABELS, process)
    for level in (0.0, 0.9, None):
        for _ in range(300):
            block = rng.random((10, 2)) if level is None else np.full((10, 2), level)
            finder.push(block.astype(np.float32))
        held = len(finder.scores) if kind is MedianFinder else len(finder.classes[0].scores)
        assert held < 30
