"""Pitch and time: the pitch of a tone moves by the right ratio, its duration by the right one."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from earmark.synth.stretching import change, stretch

RATE = 16_000


def tone(frequency: float, seconds: float = 1.5) -> np.ndarray:
    return (0.5 * np.sin(2 * np.pi * frequency * np.arange(seconds * RATE) / RATE)).astype("f4")


def pitch(samples: np.ndarray) -> float:
    """Frequency of the largest spectral peak, interpolated, away from the edges."""
    middle = samples[samples.size // 5 : -samples.size // 5]
    spectrum = np.abs(np.fft.rfft(middle * np.hanning(middle.size), 2**19))
    return float(np.argmax(spectrum) * RATE / 2**19)


def purity(samples: np.ndarray) -> float:
    """Power of the strongest partial over that of all else, dB."""
    middle = samples[samples.size // 5 : -samples.size // 5]
    power = np.abs(np.fft.rfft(middle * np.blackman(middle.size))) ** 2
    peak = slice(max(0, int(np.argmax(power)) - 8), int(np.argmax(power)) + 9)
    return float(10 * np.log10(power[peak].sum() / (power.sum() - power[peak].sum())))


@given(
    frequency=st.floats(150, 2500),
    semitones=st.floats(-12, 12),
    factor=st.floats(0.5, 2),
)
@settings(max_examples=40, deadline=None)
def test_a_tone_moves_as_asked(frequency: float, semitones: float, factor: float) -> None:
    sound = tone(frequency)
    changed = change(sound, semitones, factor)
    assert changed.size == pytest.approx(sound.size * factor, abs=1)
    assert changed.dtype == np.float32
    ratio = 2 ** (semitones / 12)
    assert pitch(changed) / frequency == pytest.approx(ratio, rel=1e-3)
    assert purity(changed) > 35
    middle = changed[changed.size // 5 : -changed.size // 5]
    assert np.sqrt(2 * np.mean(middle.astype(float) ** 2)) == pytest.approx(0.5, rel=0.03)


def test_a_chord_keeps_its_intervals() -> None:
    sound = tone(440) + tone(660)
    spectrum = np.abs(np.fft.rfft(change(sound, 3, 1.3)[4000:28000]))
    found = np.sort(np.argsort(spectrum)[-40:]) * RATE / 24000
    ratio = 2 ** (3 / 12)
    assert np.min(np.abs(found - 440 * ratio)) < 2
    assert np.min(np.abs(found - 660 * ratio)) < 2
    assert np.all(np.min(np.abs(found[:, None] - np.array([440, 660]) * ratio), axis=1) < 20)


@pytest.mark.parametrize("factor", [0.6, 1.0, 1.7])
def test_events_in_a_sound_stay_in_proportion(factor: float) -> None:
    """Two bursts are where they should be: no drift, no delay."""
    sound = np.zeros(2 * RATE, np.float32)
    for start in (8000, 20_000):
        sound[start : start + 3200] = tone(800, 0.2)
    power = np.square(stretch(sound, factor))
    for start in (8000, 20_000):
        middle, spread = (start + 1600) * factor, 1600 * factor
        near = slice(int(middle - 2 * spread), int(middle + 2 * spread))
        centre = np.average(np.arange(near.start, near.stop), weights=power[near])
        assert centre == pytest.approx(middle, abs=160)


def test_nothing_to_change_is_the_same_sound() -> None:
    sound = tone(440)
    assert change(sound) is sound
    assert change(sound, 0, 1) is sound
    empty = np.zeros(0, np.float32)
    assert change(empty, 2, 2).size == 0


@pytest.mark.parametrize("size", [1, 50, 1000, 1025])
def test_short_and_silent_sounds(size: int) -> None:
    noise = np.random.default_rng(0).standard_normal(size).astype(np.float32)
    for semitones, factor in ((2, 1), (-5, 0.5), (0, 3), (0, 0.25)):
        changed = change(noise, semitones, factor)
        assert changed.size == max(64, round(size * factor))
        assert np.all(np.isfinite(changed))
        assert not np.any(change(np.zeros(size, np.float32), semitones, factor))


def test_noise_keeps_its_level() -> None:
    noise = np.random.default_rng(0).standard_normal(3 * RATE).astype(np.float32)
    for semitones, factor in ((2, 1), (-2, 1.2), (0, 0.8)):
        assert np.std(change(noise, semitones, factor)) == pytest.approx(0.9, abs=0.15)
