"""Audio of another domain: nothing moves in time, and each effect does what it says."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from earmark.core.timeline import SAMPLE_RATE
from earmark.synth.domain import (
    DomainSettings,
    add_noise,
    apply_domain,
    equalise,
    reverberate,
    room_response,
    set_peak,
    soft_clip,
)

ALL = DomainSettings(
    reverberation=1, equalisation=1, band_limit=1, noise=1, clipping=1, noise_db=(-80, -70)
)


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def click(at: int = 20_000, size: int = 40_000) -> np.ndarray:
    samples = np.zeros(size, dtype=np.float32)
    samples[at] = 0.5
    return samples


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 10_000), at=st.integers(100, 39_000))
def test_a_click_stays_at_its_sample_through_everything(seed: int, at: int) -> None:
    output = apply_domain(click(at), ALL.model_copy(update={"direct_db": (3.0, 15.0)}), rng(seed))
    assert output.dtype == np.float32
    assert output.shape == (40_000,)
    assert int(np.argmax(np.abs(output))) == at
    assert np.max(np.abs(output)) <= 1


def test_the_result_depends_on_the_generator_alone() -> None:
    samples = rng(1).standard_normal(16_000).astype(np.float32) * 0.1
    before = samples.copy()
    first = apply_domain(samples, ALL, rng(7))
    np.testing.assert_array_equal(first, apply_domain(samples, ALL, rng(7)))
    assert not np.allclose(first, apply_domain(samples, ALL, rng(8)))
    np.testing.assert_array_equal(samples, before)


def test_silence_stays_silence() -> None:
    silence = np.zeros(1000, dtype=np.float32)
    np.testing.assert_array_equal(apply_domain(silence, ALL, rng()), silence)


def test_switched_off_only_the_level_changes() -> None:
    off = DomainSettings(
        reverberation=0, equalisation=0, band_limit=0, noise=0, clipping=0, level_db=(-6, -6)
    )
    samples = rng(2).standard_normal(4000).astype(np.float32)
    output = apply_domain(samples, off, rng())
    ratio = output / samples
    assert np.max(np.abs(output)) == pytest.approx(10 ** (-6 / 20), rel=1e-5)
    np.testing.assert_allclose(ratio, ratio[0], rtol=1e-5)


@pytest.mark.parametrize("rt60", [0.2, 0.5, 0.9])
def test_the_room_decays_as_it_says(rt60: float) -> None:
    # Schroeder's backward integral, averaged over rooms. The high frequencies die sooner, so the
    # decay of all of it may only be faster than asked, and not by much.
    times = []
    for seed in range(20):
        response = room_response(rt60, 0.0, rng(seed)).astype(np.float64)
        energy = np.cumsum(response[::-1][:-1] ** 2)[::-1]
        level = 10 * np.log10(energy / energy[0])
        at_5, at_25 = np.argmax(level < -5), np.argmax(level < -25)
        times.append(3 * (at_25 - at_5) / SAMPLE_RATE)
    assert 0.45 * rt60 < np.mean(times) < 1.05 * rt60


@given(direct_db=st.floats(-3, 20), seed=st.integers(0, 100))
@settings(max_examples=20, deadline=None)
def test_direct_to_reverberant_ratio(direct_db: float, seed: int) -> None:
    response = room_response(0.4, direct_db, rng(seed)).astype(np.float64)
    assert response[0] == 1
    ratio = 10 * np.log10(1 / np.sum(response[1:] ** 2))
    assert ratio == pytest.approx(direct_db, abs=0.01)


def test_reverberation_is_causal_convolution() -> None:
    samples = rng(3).standard_normal(500).astype(np.float32)
    response = rng(4).standard_normal(60).astype(np.float32)
    expected = np.convolve(samples.astype(float), response.astype(float))[:500]
    np.testing.assert_allclose(reverberate(samples, response), expected, atol=2e-5)


@pytest.mark.parametrize(("frequency", "gain_db"), [(250.0, -12.0), (2000.0, 0.0), (6000.0, 6.0)])
def test_equaliser_gains(frequency: float, gain_db: float) -> None:
    time = np.arange(32_000) / SAMPLE_RATE
    tone = np.sin(2 * np.pi * frequency * time).astype(np.float32)
    corners = np.array([300.0, 1500.0, 3000.0, 5000.0])
    output = equalise(tone, corners, np.array([-12.0, 0.0, 0.0, 6.0]))
    middle = slice(8000, 24_000)
    change = 20 * np.log10(np.std(output[middle]) / np.std(tone[middle]))
    assert change == pytest.approx(gain_db, abs=0.3)
    assert np.corrcoef(output[middle], tone[middle])[0, 1] > 0.999  # zero phase


def test_noise_level_clipping_and_peak() -> None:
    quiet = click(10, 200_000)
    noise = add_noise(quiet, -40.0, rng()) - quiet
    assert np.std(noise) == pytest.approx(0.5 * 10 ** (-40 / 20), rel=0.02)
    ramp = np.linspace(-0.3, 0.3, 101).astype(np.float32)
    clipped = soft_clip(ramp, 1.5)
    assert np.all(np.diff(clipped) > 0)
    slopes = np.diff(clipped)
    assert slopes[0] < 0.3 * slopes[50]
    assert np.max(np.abs(set_peak(ramp, -20.0))) == pytest.approx(0.1, rel=1e-5)


@pytest.mark.parametrize(
    "wrong",
    [{"rt60": (0.9, 0.1)}, {"rt60": (0.0, 0.5)}, {"level_db": (-3, 3)}, {"echo": 1}, {"noise": 2}],
)
def test_settings_that_make_no_sense_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        DomainSettings.model_validate(wrong)
