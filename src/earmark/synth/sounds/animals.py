"""Cats and dogs: noisy harmonic sources swept in pitch, shaped by a mouth that opens and shuts."""

from __future__ import annotations

import numpy as np

from earmark.core.timeline import SAMPLE_RATE
from earmark.synth.sounds.shaping import (
    BINS,
    Array,
    band,
    contour,
    control,
    formants,
    harmonic_tone,
    higher_poles,
    level,
    log_uniform,
    one_of,
    overlap_add,
    peak,
    random_spectrum,
    seconds,
    shaped_noise,
    spectra,
    swell,
    wander,
)


def cat(rng: np.random.Generator) -> Array:
    """Meow (mostly), trill, yowl, hiss or purr: [S]."""
    return one_of(rng, {meows: 0.64, _trill: 0.08, _yowl: 0.14, _hiss: 0.08, _purr: 0.06})


def dog(rng: np.random.Generator) -> Array:
    """Bark (mostly), growl, howl, whine or pant: [S]."""
    return one_of(rng, {barks: 0.7, _growl: 0.09, _howl: 0.08, _whine: 0.09, _pant: 0.04})


def _voice(
    rng: np.random.Generator,
    frequency: Array,
    envelope: Array,
    mouth: list[Array],
    *,
    tilt: float,
    noise: float,
    width: float,
) -> Array:
    """Sound a throat.

    Args:
        rng: Draws phases and noise.
        frequency: Fundamental in Hz [S].
        envelope: Amplitude [S].
        mouth: Hz of each resonance, [S] each.
        tilt: Exponent of the harmonics' fall.
        noise: Level of the noise against the tone.
        width: Bandwidth of the first resonance in Hz.
    """
    samples = len(frequency)
    tone = harmonic_tone(rng, frequency, np.arange(1, 101, dtype=float) ** -tilt)
    # breath pulses with the folds: the noise follows the tone's own loudness
    rough = rng.standard_normal(samples) * (0.5 + np.abs(tone) / (level(tone) * 2))
    source = (tone / level(tone) + noise * rough) * envelope
    centres = np.stack([control(track) for track in mouth], axis=1)
    widths = width * (1 + 0.6 * np.arange(len(mouth), dtype=float))
    gains = formants(centres, widths) * higher_poles(rng.uniform(0.0, 0.2))
    out = overlap_add(spectra(source) * gains, samples)
    return np.asarray(out / (np.abs(out).max() + 1e-12))


def _sequence(rng: np.random.Generator, calls: list[Array], gap: tuple[float, float]) -> Array:
    pieces: list[Array] = []
    for index, call in enumerate(calls):
        if index:
            pieces.append(np.zeros(seconds(log_uniform(rng, *gap))))
        pieces.append(call)
    return np.concatenate(pieces)


def meows(rng: np.random.Generator, pitch: float | None = None) -> Array:
    """Meow one to five times with one voice of fundamental ``pitch`` Hz (drawn when None): [S]."""
    pitch = log_uniform(rng, 340.0, 1_150.0) if pitch is None else pitch
    size = rng.uniform(0.8, 1.3)
    tilt, noise = rng.uniform(0.1, 1.1), log_uniform(rng, 0.03, 1.0)
    typical = log_uniform(rng, 0.2, 1.4)
    unsteady = rng.uniform(0.0, 0.05)
    calls = []
    for _ in range(rng.choice([1, 2, 3, 4, 5], p=[0.35, 0.25, 0.2, 0.12, 0.08])):
        samples = seconds(typical * float(np.exp(rng.normal(0, 0.2))))
        high = rng.uniform(0.2, 0.7)
        top = pitch * rng.uniform(1.0, 1.15)
        line = contour(
            samples,
            [
                (0, top * rng.uniform(0.5, 0.95)),
                (high * 0.5, top * rng.uniform(0.85, 1.0)),
                (high, top),
                (1, top * rng.uniform(0.45, 0.95)),
            ],
        )
        line = line * (1 + wander(rng, samples, 40, -unsteady, unsteady))
        opened = contour(samples, [(0, 0), (rng.uniform(0.15, 0.5), 1), (1, rng.uniform(0, 0.5))])
        mouth = [
            size * (450 + opened * rng.uniform(500, 1000)),
            size * (1_500 + opened * rng.uniform(-200, 800)),
            size * (3_000 + opened * rng.uniform(0, 600)),
            np.full(samples, size * 4_600),
        ]
        envelope = swell(samples, rng.uniform(0.02, 0.12), typical * rng.uniform(0.3, 0.6))
        envelope *= wander(rng, samples, 6, rng.uniform(0.4, 0.9), 1.0)
        width = rng.uniform(120, 350)
        call = _voice(rng, line, envelope, mouth, tilt=tilt, noise=noise, width=width)
        calls.append(call * rng.uniform(0.6, 1.0))
    return _sequence(rng, calls, (0.15, 1.5))


def _trill(rng: np.random.Generator) -> Array:
    samples = seconds(rng.uniform(0.25, 0.8))
    base = log_uniform(rng, 350, 700)
    time = np.arange(samples) / SAMPLE_RATE
    beat = np.sin(2 * np.pi * rng.uniform(18, 32) * time)
    line = base * contour(samples, [(0, 1), (1, rng.uniform(1.1, 1.7))]) * (1 + 0.04 * beat)
    envelope = swell(samples, 0.03, 0.1) * (1 + rng.uniform(0.3, 0.9) * beat) / 2
    mouth = [np.full(samples, f) for f in rng.uniform([500, 1400, 2800], [900, 2200, 3800])]
    tilt, width = rng.uniform(0.6, 1.3), rng.uniform(150, 350)
    return _voice(rng, line, envelope, mouth, tilt=tilt, noise=0.15, width=width)


def _yowl(rng: np.random.Generator) -> Array:
    samples = seconds(log_uniform(rng, 0.8, 3.5))
    line = log_uniform(rng, 250, 650) * wander(rng, samples, rng.uniform(1, 3), 0.8, 1.35)
    line = line * (1 + wander(rng, samples, 90, -1, 1) * log_uniform(rng, 0.005, 0.15))
    opened = wander(rng, samples, 2.5, 0, 1)
    mouth = [500 + 900 * opened, 1400 + 900 * opened, np.full(samples, 3300.0)]
    envelope = swell(samples, 0.15, 0.3) * wander(rng, samples, 4, 0.5, 1.0)
    noise = log_uniform(rng, 0.05, 0.8)
    return _voice(rng, line, envelope, mouth, tilt=0.6, noise=noise, width=rng.uniform(150, 400))


def _hiss(rng: np.random.Generator) -> Array:
    samples = seconds(log_uniform(rng, 0.3, 1.5))
    gain = band(BINS, rng.uniform(800, 2_500), rng.uniform(5_500, 7_800), 2.0)
    gain = gain * peak(BINS, rng.uniform(2_000, 5_500), 0.4, rng.uniform(3, 12))
    return shaped_noise(rng, samples, BINS, gain) * swell(samples, rng.uniform(0.02, 0.15), 0.25)


def _purr(rng: np.random.Generator) -> Array:
    samples = seconds(rng.uniform(1.5, 6.0))
    breath = rng.uniform(0.5, 1.1)
    time = np.arange(samples) / SAMPLE_RATE
    out_breath = np.sin(2 * np.pi * breath * time) > rng.uniform(-0.3, 0.3)
    rate = np.where(out_breath, 24.0, 28.0) * rng.uniform(0.85, 1.15)
    pulse = harmonic_tone(rng, rate, np.arange(1, 9, dtype=float) ** -0.3)
    pulse = np.maximum(pulse / level(pulse), 0) ** 1.5
    gain = random_spectrum(rng, BINS, rng.uniform(-9, -4), 4.0) * band(BINS, 60, 5_000, 2.0)
    swelling = 0.4 + 0.6 * np.abs(np.sin(np.pi * breath * time)) ** 0.5
    return (
        shaped_noise(rng, samples, BINS, gain) * (pulse + 0.1) * swelling * swell(samples, 0.2, 0.2)
    )


def barks(rng: np.random.Generator) -> Array:
    """Bark one to ten times: bursts of 60–280 ms, noisy, falling in pitch: [S]."""
    size = rng.random()  # 0 a large dog, 1 a small one
    pitch = 160.0 * 5.0**size * rng.uniform(0.8, 1.25)
    tract = 0.7 + 0.8 * size * rng.uniform(0.7, 1.2)
    noise, tilt = log_uniform(rng, 0.15, 2.0), rng.uniform(0.0, 0.9)
    typical = log_uniform(rng, 0.07, 0.25)
    resonances = np.array([600.0, 1300.0, 2500.0, 4200.0]) * tract * rng.uniform(0.8, 1.25, 4)
    rough, width = rng.uniform(0.02, 0.12), rng.uniform(150, 450)
    calls = []
    for _ in range(
        rng.choice([1, 2, 3, 4, 6, 8, 10], p=[0.25, 0.23, 0.17, 0.13, 0.11, 0.07, 0.04])
    ):
        samples = seconds(typical * float(np.exp(rng.normal(0, 0.12))) + 0.03)
        line = contour(
            samples,
            [(0, rng.uniform(0.6, 0.95)), (rng.uniform(0.1, 0.45), 1), (1, rng.uniform(0.4, 0.75))],
        )
        line = pitch * line * (1 + wander(rng, samples, 200, -rough, rough))
        opened = contour(samples, [(0, 0.75), (0.3, 1.1), (1, 0.75)])
        mouth = [f * opened * rng.uniform(0.95, 1.05) for f in resonances]
        envelope = swell(samples, rng.uniform(0.004, 0.03), typical * rng.uniform(0.4, 0.8))
        envelope *= contour(samples, [(0, 1), (0.25, 1), (1, rng.uniform(0.2, 1.0))])
        envelope *= wander(rng, samples, 90, rng.uniform(0.3, 1.0), 1.0)
        call = _voice(rng, line, envelope, mouth, tilt=tilt, noise=noise, width=width)
        calls.append(call * rng.uniform(0.5, 1.0))
    gap = log_uniform(rng, 0.06, 0.8)
    return _sequence(rng, calls, (gap * 0.6, gap * rng.uniform(1.1, 3.0)))


def _growl(rng: np.random.Generator) -> Array:
    samples = seconds(log_uniform(rng, 0.6, 3.0))
    rough = wander(rng, samples, 80, -0.15, 0.15)
    line = log_uniform(rng, 45, 130) * wander(rng, samples, 2, 0.85, 1.15) * (1 + rough)
    mouth = [np.full(samples, f) for f in rng.uniform([350, 900, 2000], [700, 1600, 3200])]
    envelope = swell(samples, 0.15, 0.3) * wander(rng, samples, 12, 0.4, 1.0)
    tilt, noise = rng.uniform(0.3, 0.8), rng.uniform(0.3, 1.2)
    return _voice(rng, line, envelope, mouth, tilt=tilt, noise=noise, width=250)


def _howl(rng: np.random.Generator) -> Array:
    samples = seconds(log_uniform(rng, 0.8, 5.0))
    top = log_uniform(rng, 300, 850)
    line = top * contour(samples, [(0, rng.uniform(0.5, 0.8)), (0.25, 1), (0.7, 0.97), (1, 0.7)])
    line = line * wander(rng, samples, 5, 0.98, 1.02)
    mouth = [line * 1.1, line * 2.2, np.full(samples, 2800.0)]
    envelope = swell(samples, 0.15, 0.4)
    return _voice(rng, line, envelope, mouth, tilt=rng.uniform(0.3, 1.8), noise=0.05, width=300)


def _whine(rng: np.random.Generator) -> Array:
    calls = []
    base = log_uniform(rng, 350, 1_800)
    tilt = rng.uniform(0.2, 1.6)
    for _ in range(rng.integers(1, 5)):
        samples = seconds(log_uniform(rng, 0.2, 1.6))
        line = base * contour(samples, [(0, 0.9), (0.3, 1.1), (1, rng.uniform(0.7, 1.0))])
        line = line * wander(rng, samples, 12, 0.97, 1.03)
        mouth = [np.full(samples, base * 1.1), np.full(samples, min(base * 2.4, 5_000.0))]
        envelope = swell(samples, 0.05, 0.12) * wander(rng, samples, 8, 0.5, 1.0)
        calls.append(_voice(rng, line, envelope, mouth, tilt=tilt, noise=0.08, width=300))
    return _sequence(rng, calls, (0.05, 0.4))


def _pant(rng: np.random.Generator) -> Array:
    samples = seconds(rng.uniform(1.0, 4.0))
    gain = random_spectrum(rng, BINS, -3.0, 5.0) * band(BINS, rng.uniform(300, 900), 6_500, 2.0)
    time = np.arange(samples) / SAMPLE_RATE
    beat = np.maximum(np.sin(2 * np.pi * rng.uniform(2.0, 5.0) * time), 0) ** 0.7
    return shaped_noise(rng, samples, BINS, gain) * (beat + 0.02)
