"""What is encoded once over a recording: the frames of the whole, whatever the stretches.

The reference encodes the recording at once, cuts its frames into windows, runs what has a longer
memory window by window and averages.
"""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from earmark.core.config import EncoderSettings, NetworkSettings
from earmark.detect.chosen import ChosenClasses
from earmark.detect.detector import Detector
from earmark.detect.sliding import SlidingScorer, sliding_scores
from earmark.detect.torch_network import TorchScorer
from earmark.detect.windows import OverlapMean, plan_windows
from earmark.model.bundle import load_bundle
from earmark.model.encoders.stretches import Stretches
from earmark.model.sed import SedNetwork
from earmark.model.tagger import Tagger

RATE = 16_000
TOLERANCE = 1e-5
SMALL = {
    "frontend": {"n_fft": 512, "hop": 320, "n_mels": 16},
    "channels": (4, 4), "kernels": (3, 3), "strides": ((2, 2), (1, 2)), "pools": ((1, 1), (1, 2)),
    "activation": "relu", "rnn_hidden": 4, "rnn_layers": 1, "window_seconds": 3.0,
    "encoder": {"kind": "yamnet", "taps": [2, 6], "merge": 8},
}  # fmt: skip


def network_of(**changes: object) -> SedNetwork:
    torch.manual_seed(0)
    network = SedNetwork(NetworkSettings.model_validate(SMALL | changes), ("a", "b", "c"))
    with torch.no_grad():
        network.crnn.heads.strong.weight.mul_(8)  # scores that depend on the sound
    return network.eval()


@pytest.fixture(scope="module")
def network() -> SedNetwork:
    return network_of()


@pytest.fixture(scope="module")
def tagger() -> Tagger:
    found = load_bundle("audioset").network
    assert isinstance(found, Tagger)
    return found


def sound(samples: int, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    level = np.repeat(rng.random(samples // 3000 + 1) ** 3, 3000)[:samples]
    return (0.3 * level * rng.normal(size=samples)).astype(np.float32)


def frames_at_once(network: SedNetwork | Tagger, audio: np.ndarray) -> torch.Tensor:
    """All frames of a recording [T, D], encoded in one call."""
    spec = network.spec
    count = spec.grid.frames_covering(len(audio))
    whole = np.pad(audio, (0, count * spec.frame_hop - len(audio)))
    with torch.inference_mode():
        return network.encode_frames(torch.from_numpy(whole), 0, range(count))


def reference(network: SedNetwork, audio: np.ndarray, hop_seconds: float | None) -> np.ndarray:
    """Scores from frames that are encoded at once."""
    frames = frames_at_once(network, audio)
    plan = plan_windows(network.spec, hop_seconds)
    mean = OverlapMean(plan, "hann", len(network.spec.labels))
    parts = []
    for start in plan.starts(len(audio)):
        begin = start * plan.grid.hop
        window = audio[begin : begin + plan.window]
        padded = torch.from_numpy(np.pad(window, (0, plan.window - len(window))))[None]
        with torch.inference_mode():
            own = frames[start : start + plan.window_frames][None]
            scores = network.score_frames(padded, own)[0].numpy()
        parts.append(mean.add(start, scores, len(window)))
    return np.concatenate([*parts, mean.finish(len(audio))])


def test_frames_at_once_are_the_tokens_of_the_whole(network: SedNetwork) -> None:
    """A frame of 40 ms lies in one token of 80 ms."""
    audio = sound(7 * RATE)
    with torch.inference_mode():
        features = network.sure_encoder.features(torch.from_numpy(audio)[None])
        tokens = network.sure_encoder(features)[0]
    frames = frames_at_once(network, audio)
    assert len(frames) == 175
    assert torch.equal(frames, tokens.repeat_interleave(2, dim=0)[:175])


@settings(max_examples=25, deadline=None)
@given(
    seconds=st.floats(3.01, 14.0),
    hop=st.sampled_from([None, 0.52, 1.0, 2.96]),
    size=st.integers(1, 5),
    threads=st.sampled_from([None, 1, 2]),
    cuts=st.lists(st.floats(0, 1), max_size=4),
)
def test_scores_follow_from_the_whole(
    network: SedNetwork,
    seconds: float,
    hop: float | None,
    size: int,
    threads: int | None,
    cuts: list[float],
) -> None:
    audio = sound(int(seconds * RATE), int(seconds * 100))
    blocks = np.split(audio, sorted(int(cut * len(audio)) for cut in cuts))
    found = sliding_scores(blocks, network, hop, size, threads=threads)
    wanted = reference(network, audio, hop)
    assert found.shape == wanted.shape
    assert np.abs(found - wanted).max() < TOLERANCE
    assert wanted.std() > 100 * TOLERANCE


def test_windows_see_the_recording_where_they_saw_silence(network: SedNetwork) -> None:
    """Farther from a window's edges than the encoder hears, its tokens are the recording's."""
    audio = sound(12 * RATE)
    frames = frames_at_once(network, audio)
    reach = float(network.sure_encoder.reach)  # type: ignore[attr-defined]
    begin = 3 * RATE  # on the token grid: 37.5 tokens are not, so step to the next
    begin -= begin % 1280
    window = torch.from_numpy(audio[begin : begin + 3 * RATE])[None]
    with torch.inference_mode():
        own = network.sure_encoder(network.sure_encoder.features(window))[0]
    whole = frames[begin // 640 :: 2][: len(own)]
    centres = (np.arange(len(own)) + 0.5) * 0.08
    inside = (centres > reach) & (centres < 3.0 - reach)
    assert inside.sum() > 5
    scale = float(whole.abs().max())
    assert float((own - whole)[inside].abs().max()) < TOLERANCE * scale
    assert float((own - whole)[~inside].abs().max()) > 100 * TOLERANCE * scale


def test_a_recording_of_one_window_is_scored_as_ever(network: SedNetwork) -> None:
    for samples in (900, 20_000, 3 * RATE):
        audio = sound(samples, samples)

        class Windowed(TorchScorer):
            def one_pass(self) -> None:
                return None

        found = sliding_scores([audio], network)
        assert np.array_equal(found, sliding_scores([audio], Windowed(network)))


@pytest.mark.parametrize("lookahead", [None, 0.6, 2.0])
def test_streams_are_equal_and_keep_their_latency(
    network: SedNetwork, lookahead: float | None
) -> None:
    audio = sound(11 * RATE + 333)
    whole = sliding_scores([audio], network, batch_size=1, lookahead_seconds=lookahead)
    scorer = SlidingScorer(network, batch_size=1, lookahead_seconds=lookahead)
    parts, least = [], []
    for number, block in enumerate(np.array_split(audio, 123), start=1):
        parts.append(scorer.push(block))
        received = number * len(audio) / 123
        least.append(received - sum(map(len, parts)) * network.spec.frame_hop)
    bound = scorer.plan.tail_frames * network.spec.frame_hop + scorer.context
    assert scorer.context == 1280 // 2 + float(network.sure_encoder.reach) * RATE  # type: ignore
    assert max(least[60:]) <= bound + network.spec.frame_hop + len(audio) / 123
    assert np.array_equal(np.concatenate([*parts, scorer.finish()]), whole)


def test_a_stream_goes_on_where_it_was_saved(network: SedNetwork, tmp_path) -> None:  # type: ignore
    detector = Detector(network, {"threshold": 0.5})
    audio = sound(9 * RATE)
    blocks = np.array_split(audio, 40)
    whole = list(detector.stream(blocks, RATE))
    assert len(whole) > 2
    found = []
    stream = detector.open_stream(RATE)
    for number, block in enumerate(blocks):
        found += stream.push(block)
        if number % 9 == 4:
            stream.save(tmp_path / "state.npz")
            stream = detector.open_stream(RATE)
            stream.load(tmp_path / "state.npz")
    assert found + stream.finish() == whole


def test_the_latency_that_is_asked_for_is_kept(network: SedNetwork) -> None:
    detector = Detector(network, {"threshold": 0.5})
    lookahead = detector.lookahead_for(2.5, RATE)
    detector.lookahead_seconds = lookahead
    stream = detector.open_stream(RATE)
    assert 2.3 < stream.latency <= 2.5
    assert stream.lookahead == pytest.approx(lookahead + stream._scorer.context / RATE)


def test_held_audio_does_not_grow(network: SedNetwork) -> None:
    scorer = SlidingScorer(network, batch_size=2)
    track = scorer._feed.track
    assert track is not None
    sizes = []
    for number in range(60):
        scorer.push(sound(RATE, number))
        held = sum(map(len, track.blocks)) + sum(map(len, scorer._feed.cutter.blocks))
        sizes.append(held + scorer._mean.sum.size)
    assert track.tail is not None
    assert len(track.tail.result()) <= scorer.plan.window_frames
    assert max(sizes[30:]) <= max(sizes[:30]) + RATE  # blocks meet the hop at another place
    assert max(sizes) < 9 * RATE


@pytest.mark.parametrize("seconds", [9.7, 10.0, 14.4, 31.07])
def test_patches_are_those_of_the_whole_recording(tagger: Tagger, seconds: float) -> None:
    audio = sound(int(seconds * RATE))
    found = sliding_scores([audio], ChosenClasses(tagger, [0, 7, 300, 520]), batch_size=2)
    wanted = frames_at_once(tagger, audio)[:, [0, 7, 300, 520]].numpy()
    assert np.abs(found - wanted).max() < TOLERANCE


def test_who_does_not_declare_it_is_windowed(network: SedNetwork) -> None:
    assert TorchScorer(network).one_pass() is not None
    for changes in ({"encoder": None}, {"encoder": {**SMALL["encoder"], "align": "adaptive"}}):  # type: ignore
        assert TorchScorer(network_of(**changes)).one_pass() is None
    atst = {"kind": "atst-frame", "width": 24, "depth": 1, "heads": 2}
    assert TorchScorer(network_of(encoder=atst)).one_pass() is None
    assert isinstance(network.settings.encoder, EncoderSettings)


@given(
    frame_hop=st.integers(100, 4000),
    hop=st.integers(100, 8000),
    centre=st.integers(0, 9000),
    reach=st.integers(0, 30_000),
    start=st.integers(0, 500),
    count=st.integers(1, 300),
)
def test_stretches_hold_what_their_frames_need(
    frame_hop: int, hop: int, centre: int, reach: int, start: int, count: int
) -> None:
    stretches = Stretches(frame_hop, hop, Fraction(centre), Fraction(reach))
    frames = range(start, start + count)
    tokens, samples = stretches.tokens(frames), stretches.samples(frames)
    assert samples.start % hop == 0
    for token in range(tokens.stop + 2):
        middle = centre + token * hop
        meets = middle - hop / 2 < frames.stop * frame_hop and (
            middle + hop / 2 > frames.start * frame_hop
        )
        assert not meets or token in tokens
    for token in tokens:
        middle = centre + token * hop
        assert samples.start <= max(0, middle - reach)
        assert samples.stop >= middle + reach
    if centre + hop / 2 <= frames.stop * frame_hop:
        assert samples.stop <= frames.stop * frame_hop + stretches.context + 1
