"""Streams: the events of the whole recording, whatever the blocks, each once and in time."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from earmark.core.audio.resampling import Resampler
from earmark.core.errors import AudioError, ConfigError
from earmark.core.event import Event
from earmark.detect.csebb import CsebbSettings
from earmark.detect.detector import Detector
from earmark.detect.postprocess import PostProcess
from helpers.networks import BandEnergy, Spec

RATE = 16_000
FIXTURES = [HealthCheck.function_scoped_fixture]
MEDIAN = PostProcess(median_seconds=0.2, threshold=0.3, min_gap_seconds=0.3)
BOXES = PostProcess(method="csebb", threshold=0.2, csebb=CsebbSettings(0.32, 0.15, 2.0))


def bursts(samples: int, rate: int, seed: int = 0) -> NDArray[np.float32]:
    """Tones that come and go."""
    rng = np.random.default_rng(seed)
    time = np.arange(samples) / rate
    audio = rng.normal(0, 1e-3, samples)
    for hertz in (500, 2000, 3300):
        level = np.repeat(rng.random(samples // (rate // 2) + 1) ** 4, rate // 2)[:samples]
        audio += 0.2 * level * np.sin(2 * np.pi * hertz * time)
    return audio.astype(np.float32)


def split(audio: Any, cuts: list[float]) -> list[Any]:
    return np.split(audio, sorted(int(cut * len(audio)) for cut in cuts))


shares = st.lists(st.floats(0, 1), max_size=8)


@settings(max_examples=40, deadline=None, suppress_health_check=FIXTURES)
@given(
    seconds=st.floats(0.02, 31.0),
    window=st.integers(9_000, 40_000),
    hop=st.floats(0.1, 1.0),
    ahead=st.none() | st.floats(0.2, 1.0),
    process=st.sampled_from([MEDIAN, BOXES]),
    rate=st.sampled_from([16_000, 8_000, 44_100]),
    cuts=shares,
)
def test_a_stream_finds_what_the_whole_recording_has(
    seconds: float,
    window: int,
    hop: float,
    ahead: float | None,
    process: PostProcess,
    rate: int,
    cuts: list[float],
) -> None:
    frames = window // 1024
    tail = frames if ahead is None else max(1, round(ahead * frames))
    detector = Detector(
        BandEnergy(Spec(window=window)),
        process,
        hop_seconds=max(1, round(hop * tail)) * 0.064,
        lookahead_seconds=None if ahead is None else tail * 0.064,
        threads=1,
    )
    audio = bursts(max(1, round(seconds * rate)), rate)
    blocks = split(audio, cuts)
    streamed = sorted(detector.stream(blocks, rate))
    assert streamed == list(detector.detect((audio, rate)).found)


@pytest.mark.parametrize("rate", [16_000, 44_100])
@pytest.mark.parametrize("process", [MEDIAN, BOXES])
@settings(max_examples=8, deadline=None, suppress_health_check=FIXTURES)
@given(cut=st.floats(0, 1), cuts=shares)
def test_a_restored_stream_goes_on_as_if_nothing_had_been(
    tmp_path: Path,
    process: PostProcess,
    rate: int,
    cut: float,
    cuts: list[float],
) -> None:
    detector = Detector(BandEnergy(Spec(window=32_000)), process)
    audio = bursts(20 * rate, rate)
    first, rest = split(audio, [cut])
    before = detector.open_stream(rate)
    found = [event for block in split(first, cuts) for event in before.push(block)]
    before.save(tmp_path / "state.npz")
    after = detector.open_stream(rate)
    after.load(tmp_path / "state.npz")
    for block in split(rest, cuts):
        found += after.push(block)
    found += after.finish()
    expected = list(detector.detect((audio, rate)).found)
    if rate == RATE:
        assert sorted(found) == expected
        return
    assert [event[:3] for event in sorted(found)] == [event[:3] for event in expected]
    np.testing.assert_allclose(
        [event[3] for event in sorted(found)], [event[3] for event in expected], atol=1e-5
    )


def test_a_state_is_for_the_same_settings(tmp_path: Path) -> None:
    path = tmp_path / "state.npz"
    stream = Detector(BandEnergy(), MEDIAN).open_stream(RATE)
    stream.push(bursts(RATE, RATE))
    stream.save(path)
    assert path.stat().st_size < 200_000
    for other in (
        Detector(BandEnergy(), BOXES).open_stream(RATE),
        Detector(BandEnergy(), MEDIAN).open_stream(8_000),
        Detector(BandEnergy(), MEDIAN, hop_seconds=1.0).open_stream(RATE),
    ):
        with pytest.raises(ConfigError, match="other settings"):
            other.load(path)
    twin = Detector(BandEnergy(), MEDIAN, fingerprint="trained again").open_stream(RATE)
    with pytest.raises(ConfigError, match="another bundle"):  # of equal classes and settings
        twin.load(path)
    path.write_bytes(b"nothing")
    with pytest.raises(ConfigError, match="no saved stream"):
        stream.load(path)
    stream.finish()
    with pytest.raises(AudioError, match="ended"):
        stream.save(path)


@pytest.mark.parametrize("ahead", [None, 2.0, 0.64])
def test_events_come_in_time(ahead: float | None) -> None:
    """Each event, from its end, within the latency that the stream says; and not much sooner."""
    detector = Detector(BandEnergy(), MEDIAN, lookahead_seconds=ahead)
    stream = detector.open_stream(RATE)
    audio = bursts(60 * RATE, RATE, 1)
    delays = []
    for at in range(0, len(audio), RATE // 10):
        for _, offset, _, _ in stream.push(audio[at : at + RATE // 10]):
            delays.append((offset, stream.seconds - offset))
    late = [delay for offset, delay in delays if offset > 10]  # the first window is a whole one
    assert len(late) > 20
    assert max(late) <= stream.latency + 0.1 + 1e-9
    assert max(late) > stream.latency - 0.5
    assert stream.latency < (10.6 if ahead is None else ahead + 0.6)
    boxed = Detector(BandEnergy(), BOXES).open_stream(RATE)
    assert boxed.latency == np.inf


def test_blocks_of_any_kind() -> None:
    audio = bursts(14 * RATE, RATE)
    whole = (np.round(audio * 32767)).astype(np.int16)
    stereo = np.stack([whole, np.zeros_like(whole)], axis=1)
    detector = Detector(BandEnergy(), MEDIAN, channels=1)
    expected = list(detector.detect((stereo, RATE)).found)
    assert len(expected) > 3
    assert sorted(detector.stream(np.array_split(stereo, 9), RATE)) == expected
    assert sorted(detector.stream(np.array_split(whole, 9), RATE)) == expected
    buffer = np.zeros((160, 2), dtype=np.int16)  # used again for every block, as drivers do

    def driver() -> Any:
        for at in range(0, len(stereo), 160):
            buffer[:] = stereo[at : at + 160]
            yield buffer

    assert sorted(detector.stream(driver(), RATE)) == expected


def test_streams_without_audio_and_what_is_none() -> None:
    detector = Detector(BandEnergy(), MEDIAN)
    assert list(detector.stream([], RATE)) == []
    assert list(detector.stream([np.zeros(0)], 8_000)) == []
    for block in (np.zeros((2, 2, 2)), np.array(["a"]), np.array([np.nan])):
        with pytest.raises(AudioError):
            list(detector.stream([block], RATE))
    with pytest.raises(ConfigError, match="samples per second"):
        detector.open_stream(0)
    for ahead in (0.01, 11.0, float("nan")):
        with pytest.raises(ConfigError, match="look-ahead"):
            Detector(BandEnergy(), MEDIAN, lookahead_seconds=ahead)


def test_the_shipped_bundle_streams_as_it_detects() -> None:
    detector = Detector.from_pretrained("mini", threads=1)
    detector.postprocess = detector.postprocess.with_threshold(0.05)
    audio = bursts(33 * RATE, RATE)
    expected = detector.detect((audio, RATE)).found
    streamed = sorted(detector.stream(np.array_split(audio, 50), RATE))
    assert [event[:3] for event in streamed] == [event[:3] for event in expected]
    np.testing.assert_allclose([e[3] for e in streamed], [e[3] for e in expected], atol=1e-6)
    assert expected


@pytest.mark.parametrize("process", [MEDIAN, BOXES])
def test_a_stream_gives_events_whose_fields_have_names(process: PostProcess) -> None:
    audio = bursts(12 * RATE, RATE)
    detector = Detector(BandEnergy(), process)
    streamed = sorted(detector.stream(np.array_split(audio, 9), RATE))
    assert streamed
    assert all(type(event) is Event for event in streamed)
    for event, (_, row) in zip(
        streamed, detector.detect((audio, RATE)).events.iterrows(), strict=True
    ):
        assert event.onset == row["onset"]
        assert event.offset == row["offset"]
        assert event.event_label == row["event_label"]
        assert event.score == row["score"]


@settings(max_examples=25, deadline=None)
@given(
    rate=st.sampled_from([8_000, 11_025, 22_050, 44_100, 48_000]),
    seconds=st.floats(0.0, 6.0),
    cuts=shares,
)
def test_a_restored_resampler_gives_what_is_left(
    rate: int, seconds: float, cuts: list[float]
) -> None:
    audio = bursts(round(seconds * rate), rate)
    whole = Resampler(rate, RATE)
    expected = np.concatenate([whole.push(audio), whole.finish()])
    resampler, given = Resampler(rate, RATE), []
    for block in split(audio, cuts):
        given.append(resampler.push(block))
        state = resampler.state()
        assert len(state["history"]) <= rate
        resampler = Resampler(rate, RATE)
        resampler.restore(state)
    given.append(resampler.finish())
    np.testing.assert_allclose(np.concatenate(given), expected, atol=2e-6)
