"""Loudness against the recommendation's own figures; levels are reached."""

from __future__ import annotations

import numpy as np
import pytest

from earmark.synth.loudness import at_level, k_weighting, loudness


def sine(frequency: float, seconds: float, rate: int, amplitude: float = 1.0) -> np.ndarray:
    time = np.arange(round(seconds * rate)) / rate
    return (amplitude * np.sin(2 * np.pi * frequency * time)).astype(np.float32)


def test_the_filter_is_that_of_the_recommendation() -> None:
    # ITU-R BS.1770-4, tables 1 and 2: coefficients for 48 kHz
    shelf, high_pass = k_weighting(48_000)
    np.testing.assert_allclose(
        shelf,
        [1.53512485958697, -2.69169618940638, 1.19839281085285, 1, -1.69065929318241,
         0.73248077421585],
        atol=1e-8,
    )  # fmt: skip
    np.testing.assert_allclose(
        high_pass, [1, -2, 1, 1, -1.99004745483398, 0.99007225036621], atol=1e-8
    )


@pytest.mark.parametrize("rate", [16_000, 44_100, 48_000])
def test_a_sine_of_full_scale_has_minus_three_lufs(rate: int) -> None:
    assert loudness(sine(997, 3, rate), rate) == pytest.approx(-3.01, abs=0.1)


def test_gates_leave_out_what_is_quiet() -> None:
    loud = sine(997, 4, 16_000, 0.1)
    silent, faint = np.zeros(64_000, np.float32), sine(997, 4, 16_000, 1e-3)
    alone = loudness(loud)
    assert loudness(np.concatenate([loud, silent])) == pytest.approx(alone, abs=0.4)
    assert loudness(np.concatenate([loud, faint])) == pytest.approx(alone, abs=0.4)
    assert loudness(silent) == -np.inf
    assert loudness(silent[:0]) == -np.inf


def test_short_sounds_are_repeated() -> None:
    assert loudness(sine(1000, 0.05, 16_000)) == pytest.approx(-3.0, abs=0.2)


@pytest.mark.parametrize("scale", [1e-6, 0.3])
def test_levels_are_reached(scale: float) -> None:
    noise = (scale * np.random.default_rng(0).standard_normal(16_000)).astype(np.float32)
    assert loudness(at_level(noise, -40, "lufs")) == pytest.approx(-40, abs=0.05)
    rms = np.sqrt(np.mean(at_level(noise, -40).astype(float) ** 2))
    assert 20 * np.log10(rms) == pytest.approx(-40, abs=0.01)
    for measure in ("rms", "lufs"):
        assert not np.any(at_level(np.zeros(500, np.float32), -40, measure))  # type: ignore[arg-type]


def test_pauses_do_not_raise_the_rest() -> None:
    tone = sine(500, 1, 16_000)
    with_pause = np.concatenate([tone, np.zeros(48_000, np.float32)])
    for measure in ("rms", "lufs"):
        scaled = at_level(with_pause, -30, measure, loud_frames=True)  # type: ignore[arg-type]
        alone = at_level(tone, -30, measure, loud_frames=True)  # type: ignore[arg-type]
        ratio = np.max(np.abs(scaled)) / np.max(np.abs(alone))
        assert 20 * np.log10(ratio) == pytest.approx(0, abs=1)
