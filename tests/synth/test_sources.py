"""Synthesised sources: every class sounds, within its bounds, and like its kind."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from earmark.core.errors import LabelError
from earmark.synth.sounds.animals import barks, meows
from earmark.synth.sounds.shaping import (
    BINS,
    CEILING,
    formants,
    harmonic_tone,
    overlap_add,
    shaped_noise,
    spectra,
)
from earmark.synth.sources import SYNTHESISED_LABELS, SynthesisedSources

RATE = 16_000
SPLITS = ("synthetic", "real", "validation", "test")
SUPPLIER = SynthesisedSources()
# seconds, shortest and longest that a class may last
RANGES = {
    "Alarm_bell_ringing": (0.15, 9.0),
    "Blender": (1.3, 10.0),
    "Cat": (0.15, 10.0),
    "Dishes": (0.15, 8.0),
    "Dog": (0.15, 10.0),
    "Electric_shaver_toothbrush": (1.8, 10.0),
    "Frying": (1.8, 10.0),
    "Running_water": (1.8, 10.0),
    "Speech": (0.2, 9.0),
    "Vacuum_cleaner": (2.7, 10.0),
}


def events(label: str, count: int = 12, split: str = "synthetic") -> list[NDArray[np.float64]]:
    rng = np.random.default_rng(20)
    return [SUPPLIER.event(label, split, rng).astype(np.float64) for _ in range(count)]


def frames(signal: NDArray[np.float64], size: int = 512) -> NDArray[np.float64]:
    count = max(1, len(signal) // size)
    return np.resize(signal, count * size)[: count * size].reshape(count, size)


def flatness(signal: NDArray[np.float64]) -> float:
    """Geometric over arithmetic mean of the power spectrum of the loud frames: 0 tone, 1 noise."""
    parts = frames(signal, 1024) * np.hanning(1024)
    parts = parts[(parts**2).sum(1) > 0.05 * (parts**2).sum(1).max()]
    power = (np.abs(np.fft.rfft(parts, axis=1)) ** 2)[:, 10:450] + 1e-12
    return float(np.median(np.exp(np.log(power).mean(1)) / power.mean(1)))


def crest(signal: NDArray[np.float64]) -> float:
    """Loudest 8 ms frame over the mean frame, in dB: large for sounds made of short bursts."""
    energy = (frames(signal, 128) ** 2).mean(1)
    return float(10 * np.log10(energy.max() / energy.mean()))


def longest_burst(signal: NDArray[np.float64]) -> float:
    """Longest stretch of 16 ms frames within 12 dB of the loudest, in seconds."""
    energy = (frames(signal, 256) ** 2).mean(1)
    runs = "".join("x" if loud else " " for loud in energy > energy.max() / 16).split()
    return max(map(len, runs)) * 256 / RATE


def centroid(signal: NDArray[np.float64]) -> float:
    power = np.abs(np.fft.rfft(signal)) ** 2
    return float((power * np.fft.rfftfreq(len(signal), 1 / RATE)).sum() / power.sum())


def median(measure: object, label: str) -> float:
    assert callable(measure)
    return float(np.median([measure(signal) for signal in events(label)]))


@pytest.mark.parametrize("label", SYNTHESISED_LABELS)
def test_events_keep_to_the_contract(label: str) -> None:
    rng = np.random.default_rng(1)
    shortest, longest = RANGES[label]
    for split in SPLITS * 3:
        signal = SUPPLIER.event(label, split, rng)
        assert signal.dtype == np.float32
        assert signal.ndim == 1
        assert np.isfinite(signal).all()
        assert np.abs(signal).max() == pytest.approx(0.9, abs=1e-5)
        assert shortest <= len(signal) / RATE <= longest
        # no silence at the ends
        edge = RATE // 50
        assert np.abs(signal[:edge]).max() > 0.005
        assert np.abs(signal[-edge:]).max() > 0.005


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**32), label=st.sampled_from(SYNTHESISED_LABELS))
def test_any_seed_gives_a_usable_event(seed: int, label: str) -> None:
    signal = SUPPLIER.event(label, "real", np.random.default_rng(seed))
    assert np.isfinite(signal).all()
    assert 0.15 <= len(signal) / RATE <= 10.0
    assert float(np.sqrt(np.mean(signal.astype(np.float64) ** 2))) > 0.003


@pytest.mark.parametrize("label", [*SYNTHESISED_LABELS, "background"])
def test_seed_and_split_decide_the_sound(label: str) -> None:
    def sound(split: str, seed: int) -> NDArray[np.float32]:
        rng = np.random.default_rng(seed)
        if label == "background":
            return SUPPLIER.background(split, 8_000, rng)
        return SUPPLIER.event(label, split, rng)

    first = sound("synthetic", 3)
    np.testing.assert_array_equal(first, sound("synthetic", 3))
    others = [sound("synthetic", 4), *(sound(split, 3) for split in SPLITS[1:])]
    for other in others:
        size = min(len(first), len(other))
        assert np.abs(np.corrcoef(first[:size], other[:size])[0, 1]) < 0.5


def test_an_event_takes_one_number_from_the_caller() -> None:
    first, second = np.random.default_rng(5), np.random.default_rng(5)
    SUPPLIER.event("Dog", "test", first)
    SUPPLIER.event("Vacuum_cleaner", "test", second)
    assert first.integers(2**40) == second.integers(2**40)


@pytest.mark.parametrize("label", SYNTHESISED_LABELS)
def test_a_class_varies(label: str) -> None:
    centroids = [centroid(signal) for signal in events(label)]
    lengths = [len(signal) for signal in events(label)]
    assert max(centroids) / min(centroids) > 1.4
    assert max(lengths) / min(lengths) > 1.4


def test_alarms_are_tonal_and_steam_is_not() -> None:
    alarm, frying = median(flatness, "Alarm_bell_ringing"), median(flatness, "Frying")
    assert alarm < 0.05
    assert frying > 0.15
    assert median(flatness, "Running_water") > 2 * alarm
    assert median(flatness, "Electric_shaver_toothbrush") < frying


def test_dishes_and_barks_are_impulsive_and_motors_steady() -> None:
    steady = max(median(crest, "Vacuum_cleaner"), median(crest, "Electric_shaver_toothbrush"))
    assert median(crest, "Dishes") > steady + 4
    for label in ("Dishes", "Dog"):
        assert median(longest_burst, label) < 0.4
    for label in ("Vacuum_cleaner", "Electric_shaver_toothbrush"):
        assert median(longest_burst, label) > 0.8


def test_vacuum_is_broadband() -> None:
    for signal in events("Vacuum_cleaner"):
        power = np.abs(np.fft.rfft(signal)) ** 2
        bands = np.array([part.sum() for part in np.array_split(power, 16)])
        assert (bands / bands.max() > 1e-4).sum() >= 6  # of 500 Hz each


def test_brightness_follows_the_class() -> None:
    assert median(centroid, "Frying") > median(centroid, "Speech") + 500
    assert median(centroid, "Dishes") > median(centroid, "Dog") + 500
    rng = np.random.default_rng(3)
    room = [SUPPLIER.background("test", 32_000, rng).astype(np.float64) for _ in range(12)]
    assert np.median([centroid(signal) for signal in room]) < median(centroid, "Running_water")


@pytest.mark.parametrize("pitch", [400.0, 600.0, 900.0])
def test_meows_have_the_pitch_of_cats(pitch: float) -> None:
    # spacing of the harmonics: highest peak of the autocorrelation in the loudest stretch
    for seed in range(4):
        signal = meows(np.random.default_rng(seed), pitch)
        middle = int(np.argmax(np.convolve(signal**2, np.ones(512), "same")))
        part = signal[max(0, middle - 512) : middle + 512]
        correlation = np.correlate(part, part, "full")[len(part) - 1 :]
        lags = np.arange(RATE // 1_400, RATE // 180)
        found = RATE / lags[np.argmax(correlation[lags])]
        assert pitch * 0.42 < found < pitch * 1.2


def test_barks_come_in_bursts() -> None:
    bursts = []
    for seed in range(20):
        loud = (frames(barks(np.random.default_rng(seed)), 320) ** 2).mean(1)
        on = loud > 0.02 * loud.max()
        bursts.append(int(on[0]) + int((on[1:] & ~on[:-1]).sum()))
    assert max(bursts) >= 4
    assert min(bursts) == 1


def test_speech_pulses_at_the_rate_of_syllables() -> None:
    rates = []
    for signal in events("Speech", 30):
        if len(signal) < 2 * RATE:
            continue
        envelope = np.sqrt((frames(signal, 160) ** 2).mean(1))  # 100 per second
        power = np.abs(np.fft.rfft(envelope - envelope.mean(), 4096)) ** 2
        rate = np.fft.rfftfreq(4096, 0.01)
        inside = (rate > 0.5) & (rate < 25)
        rates.append(float((power * rate)[inside].sum() / power[inside].sum()))
    assert len(rates) >= 5
    assert 2.0 < float(np.median(rates)) < 8.0


@settings(max_examples=20, deadline=None)
@given(samples=st.integers(1, 60_000), seed=st.integers(0, 1_000))
def test_background_has_the_length_asked_for(samples: int, seed: int) -> None:
    sound = SUPPLIER.background("real", samples, np.random.default_rng(seed))
    assert sound.shape == (samples,)
    assert sound.dtype == np.float32
    assert np.isfinite(sound).all()
    assert 0.89 < np.abs(sound).max() <= 0.9 + 1e-5


def test_backgrounds_are_steadier_than_events() -> None:
    rng = np.random.default_rng(8)
    spreads = []
    for _ in range(20):
        sound = SUPPLIER.background("real", 80_000, rng).astype(np.float64)
        loudness = 10 * np.log10((frames(sound, 1_600) ** 2).mean(1))
        spreads.append(float(loudness.std()))
    assert np.median(spreads) < 3.0


@settings(max_examples=15, deadline=None)
@given(low=st.floats(60, 4_000), ratio=st.floats(1.0, 1.9), seed=st.integers(0, 99))
def test_tones_do_not_alias(low: float, ratio: float, seed: int) -> None:
    # whatever lies between the harmonics of a steady tone would be folded back or a table's error
    rng = np.random.default_rng(seed)
    tone = harmonic_tone(rng, np.full(16_000, low), np.ones(100))
    power = np.abs(np.fft.rfft(tone * np.blackman(16_000))) ** 2
    distance = np.abs((np.arange(8_001) + low / 2) % low - low / 2)
    assert power[distance > 6].sum() < 1e-4 * power.sum()
    glide = harmonic_tone(rng, np.linspace(low, low * ratio, 16_000), np.ones(100))
    high = np.abs(np.fft.rfft(glide * np.blackman(16_000))) ** 2
    assert high[int(CEILING) + 60 :].sum() < 1e-3 * high.sum()


@settings(max_examples=15, deadline=None)
@given(samples=st.integers(1, 5_000), seed=st.integers(0, 99))
def test_the_filter_passes_a_signal_unchanged_at_unit_gain(samples: int, seed: int) -> None:
    signal = np.random.default_rng(seed).standard_normal(samples)
    np.testing.assert_allclose(overlap_add(spectra(signal), samples), signal, atol=1e-10)


def test_formants_peak_where_they_are_put() -> None:
    gains = formants(np.array([[700.0, 2_000.0]]), np.array([60.0, 60.0]))[0]
    assert gains[0] == pytest.approx(1.0)
    lower, upper = BINS < 1_200, BINS >= 1_200
    assert abs(BINS[lower][np.argmax(gains[lower])] - 700) < 32
    assert abs(BINS[upper][np.argmax(gains[upper])] - 2_000) < 32


def test_shaped_noise_has_the_spectrum_asked_for() -> None:
    inside = ((BINS > 1_000) & (BINS < 2_000)).astype(float)
    noise = shaped_noise(np.random.default_rng(0), 32_000, BINS, inside)
    power = np.abs(np.fft.rfft(noise)) ** 2
    frequency = np.fft.rfftfreq(32_000, 1 / RATE)
    assert power[(frequency > 900) & (frequency < 2_100)].sum() > 0.99 * power.sum()
    assert np.mean(noise**2) == pytest.approx(1.0)


def test_labels_can_be_chosen_and_are_checked() -> None:
    some = SynthesisedSources(["Speech", "Dog"])
    assert some.labels == ("Dog", "Speech")
    with pytest.raises(LabelError, match="'Cat'"):
        some.event("Cat", "test", np.random.default_rng(0))
    with pytest.raises(LabelError, match="Doorbell"):
        SynthesisedSources(["Doorbell"])
    with pytest.raises(LabelError, match="no class"):
        SynthesisedSources([])
    with pytest.raises(ValueError, match="at least one"):
        some.background("test", 0, np.random.default_rng(0))
