"""Windows over recordings of any length."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from earmark.core.errors import AudioError, ConfigError, ScoreError
from earmark.detect.sliding import SlidingScorer, scores_of_windows, sliding_scores
from earmark.detect.windows import plan_windows
from helpers.networks import BandEnergy, Function, Spec

RATE = 16_000
HOP = 1024
FIXTURES = [HealthCheck.function_scoped_fixture]


def noise(samples: int, seed: int = 0) -> NDArray[np.float32]:
    return np.random.default_rng(seed).normal(0, 0.1, samples).astype(np.float32)


def frame_by_frame(audio: NDArray[np.float32], network: Any) -> NDArray[np.float32]:
    """The scores of a network that sees one frame at a time, each frame computed by itself."""
    frames = -(-len(audio) // HOP)
    padded = np.pad(audio, (0, frames * HOP - len(audio)))
    spec = type(network.spec)(window=frames * HOP)
    whole = type(network)(spec).eval()
    with torch.inference_mode():
        return whole(torch.from_numpy(padded)[None]).strong[0].numpy()


LENGTHS = [0.01, 0.3, 5.0, 9.98, 10.03, 10.2, 10.5, 10.75, 10.99, 12.97, 20.0, 31.7, 61.234]


@pytest.mark.parametrize("seconds", LENGTHS)
def test_local_network_gives_the_scores_of_each_frame(seconds: float) -> None:
    audio = noise(round(seconds * RATE))
    network = BandEnergy().eval()
    scores = sliding_scores([audio], network)
    expected = frame_by_frame(audio, network)
    assert scores.shape == (-(-len(audio) // HOP), 3)
    assert scores.dtype == np.float32
    np.testing.assert_allclose(scores, expected, atol=1e-6)


@pytest.mark.parametrize(
    ("samples", "windows"),
    [(1, 1), (159_744, 1), (160_000, 1), (160_001, 2), (239_616, 2), (319_488, 3), (400_000, 5)],
)
def test_no_window_more_than_needed(samples: int, windows: int) -> None:
    network = BandEnergy().eval()
    scores = sliding_scores([noise(samples)], network)
    assert sum(network.calls) == windows
    assert len(scores) == -(-samples // HOP)


def test_a_window_long_clip_is_one_call_and_its_scores() -> None:
    audio = noise(160_000)
    network = BandEnergy().eval()
    with torch.inference_mode():
        single = network(torch.from_numpy(audio)[None]).strong[0].numpy()
    scores = sliding_scores([audio], network)
    assert len(scores) == 157  # 156 whole frames and a quarter of one
    np.testing.assert_array_equal(scores[:156], single)
    np.testing.assert_array_equal(scores[156], single[155])


def test_hop_of_a_whole_window_keeps_the_last_incomplete_frame() -> None:
    audio = noise(160_000)
    network = BandEnergy().eval()
    whole = sliding_scores([audio], network, hop_seconds=156 * HOP / RATE)
    np.testing.assert_array_equal(whole, sliding_scores([audio], network))


def test_clips_scored_together_have_the_scores_they_have_alone() -> None:
    clips = [noise(samples, samples) for samples in (160_000, 1, 1023, 159_999, 30_720)]
    network = BandEnergy().eval()
    together = scores_of_windows(clips, network)
    assert network.calls == [5]
    for clip, scores in zip(clips, together, strict=True):
        np.testing.assert_array_equal(scores, sliding_scores([clip], network))
    with pytest.raises(AudioError, match="empty"):
        scores_of_windows([noise(0)], network)


@pytest.mark.parametrize("weighting", ["hann", "triangle", "flat"])
def test_constant_network_gives_constant_scores(weighting: str) -> None:
    level = torch.tensor([0.1, 0.7, 1.0])
    network = Function(Spec(), lambda x: level.expand(len(x), 156, 3))
    scores = sliding_scores([noise(777_777)], network, hop_seconds=1.7, weighting=weighting)
    np.testing.assert_array_equal(scores, np.broadcast_to(level.numpy(), scores.shape))


@pytest.mark.parametrize("hop_seconds", [0.7, 2.5, 4.992, 9.984])
def test_average_is_weighted_by_place_in_the_window(hop_seconds: float) -> None:
    """Against a plain loop over windows, with scores that depend on window and place."""
    spec = Spec(labels=("a", "b"))
    base = torch.from_numpy(noise(156 * 2, 1)).reshape(1, 156, 2).abs()
    network = Function(spec, lambda x: base + x.abs().mean(1)[:, None, None])
    audio = noise(500_123, 2)
    plan = plan_windows(spec, hop_seconds)
    weights = plan.weights("hann")
    frames = -(-len(audio) // HOP)
    total, mass = np.zeros((frames + 400, 2)), np.zeros(frames + 400)
    last = frames - 156
    for start in sorted({*range(0, last, plan.hop_frames), last}):
        piece = audio[start * HOP :][:160_000]
        level = np.abs(np.pad(piece, (0, 160_000 - len(piece)))).mean()
        total[start : start + 156] += weights[:, None] * (base[0].numpy() + level)
        mass[start : start + 156] += weights
    expected = (total[:frames] / mass[:frames, None]).astype(np.float32)
    scores = sliding_scores([audio], network, hop_seconds=hop_seconds)
    np.testing.assert_allclose(scores, expected, rtol=1e-5)


def test_centre_of_a_window_outweighs_its_edges() -> None:
    """A network that is wrong near its window's edges is right after averaging."""
    wrong = torch.zeros(1, 156, 1)
    wrong[:, :4] = wrong[:, -4:] = 1.0
    network = Function(Spec(labels=("a",)), lambda x: wrong.expand(len(x), -1, -1))
    scores = sliding_scores([noise(RATE * 60)], network)
    assert scores[10:-40].max() < 0.01
    flat = sliding_scores([noise(RATE * 60)], network, weighting="flat")
    assert flat[10:-40].max() > 0.4


@settings(max_examples=40, deadline=None, suppress_health_check=FIXTURES)
@given(
    samples=st.integers(1, 60_000),
    window=st.integers(700, 9_000),
    hop=st.integers(50, 700),
    hop_share=st.floats(0.01, 1.0),
    cuts=st.lists(st.integers(0, 60_000), max_size=8),
    batch=st.integers(1, 5),
)
def test_splitting_into_blocks_changes_nothing(
    samples: int,
    window: int,
    hop: int,
    hop_share: float,
    cuts: list[int],
    batch: int,
) -> None:
    spec = Spec(window=window, frame_hop=hop)
    network = BandEnergy(spec).eval()
    seconds = max(hop, int(hop_share * (window // hop) * hop)) / RATE
    audio = noise(samples)
    whole = sliding_scores([audio], network, hop_seconds=seconds, batch_size=64)
    blocks = np.split(audio, sorted(min(c, samples) for c in cuts))
    split = sliding_scores(blocks, network, hop_seconds=seconds, batch_size=batch)
    assert whole.shape == (-(-samples // hop), 3)
    np.testing.assert_allclose(split, whole, atol=1e-6)


def test_pushed_scores_are_final_and_in_order() -> None:
    audio = noise(RATE * 47)
    network = BandEnergy().eval()
    scorer = SlidingScorer(network, batch_size=1)
    parts = [scorer.push(block) for block in np.array_split(audio, 100)]
    late = scorer.finish()
    assert sum(map(len, parts)) > 400  # most frames did not wait for the end
    np.testing.assert_allclose(
        np.concatenate([*parts, late]), sliding_scores([audio], network), atol=1e-6
    )
    with pytest.raises(AudioError):
        scorer.push(audio)


def hour_with_tone(at: float, seconds: float) -> Iterator[NDArray[np.float32]]:
    """One hour in 10-s blocks, silent but for a tone of 500 Hz, made as it is asked for."""
    first, last = round(at * RATE), round((at + seconds) * RATE)
    for start in range(0, 3600 * RATE, 10 * RATE):
        index = np.arange(start, start + 10 * RATE)
        tone = np.sin(2 * np.pi * 500 * index / RATE) * ((index >= first) & (index < last))
        yield tone.astype(np.float32)


def test_event_at_the_end_of_an_hour_is_where_it_is() -> None:
    network = BandEnergy().eval()
    held: list[int] = []

    def watched() -> Iterator[NDArray[np.float32]]:
        for block in hour_with_tone(3599.0, 0.5):
            held.append(len(block))
            yield block

    scores = sliding_scores(watched(), network, hop_seconds=9.0, batch_size=16)
    assert len(held) == 360
    assert len(scores) == 56_250
    active = np.flatnonzero(scores[:, 0] > 0.5)
    assert abs(active[0] * HOP / RATE - 3599.0) <= HOP / RATE
    assert abs((active[-1] + 1) * HOP / RATE - 3599.5) <= HOP / RATE
    assert len(active) == active[-1] - active[0] + 1


def test_held_audio_does_not_grow() -> None:
    scorer = SlidingScorer(BandEnergy().eval(), batch_size=4)
    block = noise(RATE)
    sizes = []
    for _ in range(200):
        scorer.push(block)
        audio = sum(block.size for block in scorer._feed.cutter.blocks)
        audio += sum(window.samples.size for window in scorer._feed.waiting)
        sizes.append(audio + scorer._mean.sum.size)
    assert max(sizes[100:]) <= max(sizes[:100]) + HOP * 78
    assert max(sizes) < 6 * 160_000


@pytest.mark.parametrize("threads", [1, 2, 5])
@pytest.mark.parametrize("batch", [1, 3, 8])
def test_threads_change_nothing(threads: int, batch: int) -> None:
    audio = noise(RATE * 97)
    network = BandEnergy()
    before = torch.get_num_threads()
    expected = sliding_scores([audio], network, batch_size=batch)
    calls, network.calls = network.calls, []
    scores = sliding_scores(np.split(audio, 97), network, batch_size=batch, threads=threads)
    np.testing.assert_array_equal(scores, expected)
    assert sorted(network.calls) == sorted(calls)
    assert torch.get_num_threads() == before


def test_batches_are_scored_at_the_same_time() -> None:
    """Each call waits until another one is under way: only possible with two threads."""
    meeting = threading.Barrier(2, timeout=20)

    def meet(waveforms: torch.Tensor) -> torch.Tensor:
        meeting.wait()
        assert torch.get_num_threads() == 1
        return torch.zeros(len(waveforms), 156, 3)

    network = Function(Spec(), meet)
    sliding_scores([noise(RATE * 10)] * 5, network, hop_seconds=9.984, batch_size=3, threads=2)


def test_an_error_in_a_thread_ends_it_all() -> None:
    given: list[int] = []

    def blocks() -> Iterator[NDArray[np.float32]]:
        for number in range(1000):
            given.append(number)
            yield noise(RATE * 10)

    network = Function(Spec(), lambda x: torch.zeros(len(x), 155, 3))
    network.train()
    with pytest.raises(ScoreError, match="shape"):
        sliding_scores(blocks(), network, threads=2)
    assert len(given) < 50
    assert network.training


def test_training_mode_is_left_as_it_was() -> None:
    network = BandEnergy()
    for mode in (True, False):
        network.train(mode)
        sliding_scores([noise(RATE)], network)
        assert network.training is mode


def test_progress_ends_at_the_total() -> None:
    seen: list[tuple[int, int]] = []
    audio = noise(RATE * 45)
    sliding_scores(
        np.split(audio, 9),
        BandEnergy(),
        batch_size=1,
        progress=lambda done, total: seen.append((done, total)),
        total_samples=len(audio),
    )
    assert seen[-1] == (704, 704)
    assert {total for _, total in seen} == {704}
    assert [done for done, _ in seen] == sorted(done for done, _ in seen)
    assert 0 < seen[4][0] < 704


def test_bad_audio_and_settings_are_told() -> None:
    network = BandEnergy()
    with pytest.raises(AudioError, match="empty"):
        sliding_scores([], network)
    with pytest.raises(AudioError, match="empty"):
        sliding_scores([np.zeros(0, dtype=np.float32)], network)
    with pytest.raises(AudioError, match="finite"):
        sliding_scores([np.full(10, np.nan, dtype=np.float32)], network)
    with pytest.raises(AudioError, match="mono"):
        sliding_scores([np.zeros((2, 10), dtype=np.float32)], network)
    for hop in (0.0, -1.0, 0.06, 10.05, 20.0, float("nan")):
        with pytest.raises(ConfigError, match="hop"):
            sliding_scores([noise(10)], network, hop_seconds=hop)
    with pytest.raises(ConfigError, match="batch"):
        sliding_scores([noise(10)], network, batch_size=0)


def test_a_network_that_breaks_its_word_is_told() -> None:
    spec = Spec(labels=("a",))
    short = Function(spec, lambda x: torch.zeros(len(x), 155, 1))
    with pytest.raises(ScoreError, match="shape"):
        sliding_scores([noise(10)], short)
    sick = Function(spec, lambda x: torch.full((len(x), 156, 1), torch.nan))
    with pytest.raises(ScoreError, match="finite"):
        sliding_scores([noise(10)], sick)
