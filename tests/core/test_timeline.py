from __future__ import annotations

import itertools
import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from earmark.core.errors import ConfigError, ScoreError
from earmark.core.timeline import (
    SAMPLE_RATE,
    FrameGrid,
    WindowPlan,
    resampled_length,
    samples_to_seconds,
    seconds_to_samples,
)

rates = st.integers(4_000, 192_000)
hops = st.integers(1, 8_192)
HOUR = 3_600 * SAMPLE_RATE


@given(st.integers(0, 10**11), rates)
def test_samples_survive_seconds(samples: int, rate: int) -> None:
    assert seconds_to_samples(samples_to_seconds(samples, rate), rate) == samples


@given(st.integers(0, 10**10), rates, rates)
def test_resampled_length_is_the_nearest(samples: int, rate_in: int, rate_out: int) -> None:
    exact = Fraction(samples * rate_out, rate_in)
    length = resampled_length(samples, rate_in, rate_out)
    assert abs(length - exact) <= Fraction(1, 2) or (length == 1 and 0 < exact < 1)
    assert resampled_length(samples, rate_in, rate_in) == samples


@given(st.integers(0, 10**11), hops, rates)
def test_frames_are_samples_by_hop(samples: int, hop: int, rate: int) -> None:
    grid = FrameGrid(hop, rate)
    assert grid.frames_in(samples) == samples // hop
    assert grid.frames_covering(samples) == math.ceil(Fraction(samples, hop))
    assert 0 <= grid.frames_covering(samples) - grid.frames_in(samples) <= 1


@given(
    st.floats(0, 36_000, allow_nan=False),
    st.floats(0.001, 600),
    st.integers(16, 8_192),
    rates,
)
def test_event_to_frames_and_back_within_a_frame(
    onset: float, seconds: float, hop: int, rate: int
) -> None:
    grid, offset = FrameGrid(hop, rate), onset + seconds
    first, last = grid.onset_frame(onset), grid.offset_frame(offset)
    slack = 1e-5 * grid.seconds  # what counts as lying on an edge
    assert grid.time(first) - slack <= onset < grid.time(first + 1)
    assert grid.time(last - 1) < offset <= grid.time(last) + slack
    assert abs(grid.time(first) - onset) <= grid.seconds
    assert abs(grid.time(last) - offset) <= grid.seconds


@given(st.integers(0, 10**8), hops, rates)
def test_an_event_on_the_grid_stays_there(frame: int, hop: int, rate: int) -> None:
    grid = FrameGrid(hop, rate)
    assert grid.onset_frame(grid.time(frame)) == frame
    assert grid.offset_frame(grid.time(frame)) == frame


def test_float_noise_does_not_move_an_edge() -> None:
    grid = FrameGrid(1024)
    added = 0.0
    for frame in range(1, 2_000):
        added += 0.064
        assert grid.onset_frame(added) == grid.offset_frame(added) == frame


def test_label_encoder_of_the_dcase_baselines() -> None:
    """⌊t·fs/256/4⌋ and ⌈t·fs/256/4⌉, 156 frames for 10 s."""
    grid = FrameGrid(1024)
    assert grid.frames_in(160_000) == 156
    for onset, offset in [(0.0, 10.0), (0.063, 0.065), (3.448, 3.698), (9.971, 9.999)]:
        assert grid.onset_frame(onset) == math.floor(onset * 16_000 / 256 / 4)
        assert grid.offset_frame(offset) == math.ceil(offset * 16_000 / 256 / 4)


def test_no_drift_over_hours() -> None:
    grid = FrameGrid(1024)
    assert grid.time(10**8) == 6_400_000.0
    assert grid.onset_frame(6_400_000.0) == 10**8
    assert grid.onset_frame(3_599.0) == 56_234
    edges = grid.boundaries(5 * 56_250)
    assert edges[-1] == 5 * 3_600.0
    assert edges[123_456] == grid.time(123_456)


def test_boundaries_end_with_the_recording() -> None:
    grid = FrameGrid(1024)
    np.testing.assert_array_equal(grid.boundaries(2, 0.1), [0.0, 0.064, 0.1])
    np.testing.assert_array_equal(grid.boundaries(2, 10.0), [0.0, 0.064, 0.128])
    np.testing.assert_array_equal(grid.boundaries(0, 10.0), [0.0])
    with pytest.raises(ScoreError, match="no frame 1"):
        grid.boundaries(2, 0.064)
    with pytest.raises(ScoreError):
        grid.boundaries(2, math.nan)


@given(st.integers(1, 10**9), hops)
def test_boundaries_of_covering_frames_increase(samples: int, hop: int) -> None:
    samples = min(samples, hop * 5_000)
    grid = FrameGrid(hop)
    edges = grid.boundaries(grid.frames_covering(samples), samples_to_seconds(samples))
    assert (np.diff(edges) > 0).all()
    assert edges[-1] == samples_to_seconds(samples)


@given(st.integers(1, 4 * HOUR), st.integers(64, 4_096), st.integers(1, 400), st.data())
def test_windows_cover_every_frame_once_needed(
    samples: int, hop: int, window_frames: int, data: st.DataObject
) -> None:
    samples = min(samples, hop * 20_000)
    hop_frames = data.draw(st.integers(1, window_frames))
    surplus = data.draw(st.integers(0, hop - 1))
    plan = WindowPlan(FrameGrid(hop), window_frames * hop + surplus, hop_frames)
    assert plan.window_frames == window_frames
    starts = plan.starts(samples)
    frames = plan.grid.frames_covering(samples)
    assert starts[0] == 0
    assert all(0 < b - a <= hop_frames for a, b in itertools.pairwise(starts))
    assert all(start % hop_frames == 0 for start in starts[:-1])
    if frames > window_frames:
        assert starts[-1] + window_frames == frames  # ends with the recording, nothing padded
        assert starts[-2] + window_frames < frames  # the last one was needed
    else:
        assert starts == [0]


@pytest.mark.parametrize(
    ("seconds", "windows"),
    [(0.01, 1), (9.98, 1), (10.03, 2), (10.5, 2), (10.99, 2), (12.97, 2), (20.0, 4)],
)
def test_lengths_on_which_published_code_fails(seconds: float, windows: int) -> None:
    plan = WindowPlan(FrameGrid(1024), 160_000, 78)
    samples = seconds_to_samples(seconds)
    starts = plan.starts(samples)
    assert len(starts) == windows
    assert starts[-1] + 156 >= plan.grid.frames_covering(samples)


def test_nothing_to_cover() -> None:
    assert WindowPlan(FrameGrid(1024), 160_000, 78).starts(0) == []


@pytest.mark.parametrize("kind", ["hann", "triangle", "flat"])
@pytest.mark.parametrize("frames", [1, 2, 7, 156])
def test_weights_are_positive_symmetric_and_heaviest_at_the_centre(kind: str, frames: int) -> None:
    weights = WindowPlan(FrameGrid(10), frames * 10 + 3, 1).weights(kind)
    assert weights.shape == (frames,)
    assert (weights > 0).all()
    np.testing.assert_array_equal(weights, weights[::-1])
    assert weights.max() == weights[frames // 2]
    assert (np.diff(weights[: (frames + 1) // 2]) >= 0).all()


def test_hann_weights_of_half_overlap_add_up_to_one() -> None:
    weights = WindowPlan(FrameGrid(1024), 160_000, 78).weights()
    np.testing.assert_allclose(weights[:78] + weights[78:], 1.0, atol=1e-12)


def test_wrong_settings_are_refused() -> None:
    with pytest.raises(ConfigError, match="hann"):
        WindowPlan(FrameGrid(1024), 160_000, 78).weights("boxcar")
    for window, hop_frames in [(160_000, 0), (160_000, 157), (1_000, 1)]:
        with pytest.raises(ConfigError, match="hop"):
            WindowPlan(FrameGrid(1024), window, hop_frames)
    with pytest.raises(ConfigError):
        FrameGrid(0)
