"""Samples are looked at: channels that cancel, silence, what is beyond full scale."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st

from earmark.core.audio import audio, resampling
from earmark.core.audio.audio import (
    choose_channel,
    load_audio,
    read_blocks,
    write_audio,
    write_blocks,
)
from earmark.core.files import write_whole

RATE = 16_000
NOISE = 0.1 * np.random.default_rng(0).normal(size=(RATE, 4)).astype(np.float32)


def notes_of(samples: np.ndarray, caplog: pytest.LogCaptureFixture) -> str:
    caplog.clear()
    load_audio((samples, RATE))
    return caplog.text


@pytest.mark.parametrize("kind", ["float32", "int16", "uint8"])
@pytest.mark.parametrize("rest", [0.0, 0.05])
def test_channels_that_cancel_are_reported(
    kind: str, rest: float, caplog: pytest.LogCaptureFixture
) -> None:
    left = NOISE[:, 0]
    stereo = np.stack([left, -left + rest * NOISE[:, 1]], axis=1)
    if kind != "float32":
        full = 2 ** (8 * np.dtype(kind).itemsize - 1)
        stereo = (stereo * full + (full if kind[0] == "u" else 0)).round().astype(kind)
    assert "channels cancel" in notes_of(stereo, caplog)


@pytest.mark.parametrize("channels", [1, 2, 4])
def test_channels_that_do_not_are_not(channels: int, caplog: pytest.LogCaptureFixture) -> None:
    assert not notes_of(NOISE[:, :channels], caplog)  # nothing to do with each other
    alike = NOISE[:, :1] * np.linspace(0.1, 1.0, channels, dtype=np.float32)
    assert not notes_of(alike, caplog)
    dead = alike.copy()
    dead[:, 1:] = 0.0  # one channel of several
    assert not notes_of(dead, caplog)


@given(
    milliseconds=st.floats(0.5, 20.0), second=st.booleans(), gain=st.floats(0.2, 0.9),
    rate=st.sampled_from([16_000, 48_000]), low=st.booleans(), sign=st.sampled_from([-1.0, 1.0]),
)  # fmt: skip
def test_the_same_sound_at_another_time_is_found(
    milliseconds: float, second: bool, gain: float, rate: int, low: bool, sign: float
) -> None:
    """Whatever its colour, the channel it comes later in, and how much softer it is there."""
    noise = np.random.default_rng(3).normal(size=(2 * rate, 3)) * 0.02
    if low:  # as rumble: alike over many samples, so that only the phases tell
        noise[:, 0] = np.convolve(noise[:, 0], np.ones(8) / 3, "same")
    late = round(milliseconds * rate / 1000)
    clean = noise[late:, 0]
    echo = sign * gain * noise[: len(noise) - late, 0]
    both = np.stack([clean, echo][:: 1 if second else -1], axis=1) + noise[late:, 1:] * 0.03
    noted: list[tuple[object, ...]] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(resampling._log, "warning", lambda *said: noted.append(said))
        load_audio((both.astype(np.float32), rate))
    ((text, _, told),) = noted
    assert "arrives" in str(text)
    assert told == pytest.approx(1000 * late / rate)
    assert choose_channel((both.astype(np.float32), rate)) == (1 if second else 2)


@pytest.mark.parametrize(
    ("kind", "channel"),
    [
        ("alike", None), ("noisy", None), ("apart", None), ("cancelled", 2), ("dead", 2),
        ("all dead but one of four", 2), ("mono", None), ("silent", None),
    ],
)  # fmt: skip
def test_the_channel_that_is_chosen(kind: str, channel: int | None, tmp_path: Path) -> None:
    one, two = NOISE[:, 0], NOISE[:, 1]
    channels = {
        "alike": [one, 0.5 * one],
        "noisy": [one + 0.5 * two, one - 0.5 * two],  # what the mean takes away
        "apart": [one, two],
        "cancelled": [-0.9 * one, one],
        "dead": [0.005 * two, one],
        "all dead but one of four": [0.001 * two, one, 0 * one, 0.002 * two],
        "mono": [one],
        "silent": [0 * one, 0 * one],
    }[kind]
    samples = np.stack(channels, axis=1)
    assert choose_channel((samples, RATE)) == channel
    soundfile.write(tmp_path / "a.wav", samples, RATE)
    assert choose_channel(tmp_path / "a.wav") == channel


def test_a_channel_that_is_chosen_cancels_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "a.wav"
    soundfile.write(path, np.stack([NOISE[:, 0], -NOISE[:, 0]], axis=1), RATE)
    assert sum(len(block) for block in read_blocks(path, channel=1)) == RATE
    assert not caplog.text
    assert sum(len(block) for block in read_blocks(path, block_seconds=0.3)) == RATE
    assert caplog.text.count("channels cancel") == 1
    assert "a.wav" in caplog.text


def test_digital_silence_is_reported(caplog: pytest.LogCaptureFixture) -> None:
    assert "digital silence" in notes_of(np.zeros((RATE, 2), np.float32), caplog)
    assert "digital silence" in notes_of(np.zeros(RATE, np.int16), caplog)


def test_the_file_that_is_clipped_is_named_as_it_will_be(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    loud = np.full(100, 2.0)
    write_whole(tmp_path / "a.b.wav", lambda draft: write_blocks(draft, [loud]))
    assert "a.b.wav: 100 samples" in caplog.text
    assert "draft" not in caplog.text


@given(gain=st.floats(0.5, 8.0))
def test_what_is_clipped_is_counted(gain: float, tmp_path_factory: pytest.TempPathFactory) -> None:
    samples = gain * np.sin(np.arange(RATE) / 50)
    beyond = int((np.abs(samples) > 1.01).sum())
    path, noted = tmp_path_factory.mktemp("clipped") / "a.wav", []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(audio._log, "warning", lambda *said: noted.append(said[2]))
        write_audio(path, samples)
        write_blocks(path, [samples[:999], samples[999:]])
    assert noted == [beyond, beyond] * (beyond > 0)
