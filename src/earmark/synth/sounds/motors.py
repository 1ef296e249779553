"""Household motors: blender, shaver or electric toothbrush, vacuum cleaner."""

from __future__ import annotations

import numpy as np

from earmark.core.timeline import SAMPLE_RATE
from earmark.synth.sounds.shaping import (
    BINS,
    Array,
    band,
    contour,
    decibels,
    harmonic_tone,
    level,
    log_uniform,
    peak,
    random_spectrum,
    seconds,
    shaped_noise,
    swell,
    tilted_noise,
    wander,
)


def _partials(
    rng: np.random.Generator, fundamental: float, tilt: float, spread: float, count: int = 120
) -> Array:
    """Draw harmonic amplitudes: a slope in dB per octave, body resonances, and chance: [count]."""
    order = np.arange(1, count + 1, dtype=float)
    body = random_spectrum(rng, order * fundamental, 0.0, 5.0)
    return np.asarray(order ** (tilt / 6.02) * body * decibels(rng.normal(0, spread, count)))


def _speed(rng: np.random.Generator, samples: int, up: float, down: float) -> Array:
    """Relative speed of a motor that spins up from a third and down again (0 = cut): [S]."""
    speed = np.ones(samples)
    rise, fall = min(seconds(up), samples // 3), min(seconds(down), samples // 3)
    if up > 0:
        speed[:rise] = 1.0 - 0.75 * np.exp(-4.0 * np.arange(rise) / rise)
    if down > 0:
        speed[-fall:] *= 0.15 + 0.85 * np.exp(-2.5 * np.arange(fall) / fall)
    return speed


def _moving_noise(rng: np.random.Generator, samples: int, first: Array, second: Array) -> Array:
    """Cross-fade slowly and at random between noises of two spectra [B]: [S]."""
    mix = wander(rng, samples, log_uniform(rng, 0.3, 3.0), 0.0, 1.0)
    one = shaped_noise(rng, samples, BINS, first)
    two = shaped_noise(rng, samples, BINS, second)
    return one * np.sqrt(mix) + two * np.sqrt(1 - mix)


def _pulses(rng: np.random.Generator, samples: int) -> Array:
    """Switch between running and nearly silent every 0.3–1.5 s, with soft edges: [S]."""
    time = np.arange(samples) / SAMPLE_RATE
    wave = np.sin(2 * np.pi * rng.uniform(0.3, 1.5) * time + rng.uniform(0, 2 * np.pi))
    return 0.03 + 0.97 / (1 + np.exp(-rng.uniform(8, 40) * (wave + rng.uniform(0.0, 0.6))))


def blender(rng: np.random.Generator) -> Array:
    """Blend: a universal motor under changing load, and the grinding of what is in the jug: [S]."""
    samples = seconds(log_uniform(rng, 1.5, 9.5))
    base = log_uniform(rng, 80.0, 420.0)
    starts, stops = rng.random() < 0.5, rng.random() < 0.5
    speed = _speed(
        rng, samples, rng.uniform(0.1, 0.8) * starts, rng.uniform(0.2, 1.0) * stops
    ) * wander(rng, samples, log_uniform(rng, 0.4, 5.0), rng.uniform(0.8, 0.97), 1.0)
    if rng.random() < 0.3:  # pulsed by hand, or switched to another step
        steps = np.repeat(rng.choice([0.55, 0.8, 1.0], 8), samples // 8 + 1)[:samples]
        kernel = seconds(0.12)
        total = np.cumsum(np.concatenate([np.full(kernel, steps[0]), steps]))
        speed = speed * (total[kernel:] - total[:-kernel]) / kernel
    line = base * speed * (1 + wander(rng, samples, 60, -0.01, 0.01))
    tone = harmonic_tone(rng, line, _partials(rng, base, rng.uniform(-7, -1), 5.0))
    if rng.random() < 0.6:  # blades and brushes turn at another ratio, at many Hz
        ratio = rng.choice([3, 4, 6, 11, 12]) + rng.choice([0.0, 0.5])
        whine = harmonic_tone(
            rng, np.minimum(line * ratio, 7_000), _partials(rng, base, -4, 4.0, 12)
        )
        tone = tone / level(tone) + rng.uniform(0.1, 0.8) * whine / level(whine)
    turn = 1 + rng.uniform(0, 0.6) * np.sin(2 * np.pi * np.cumsum(line) / SAMPLE_RATE / 2)
    grind = _moving_noise(
        rng,
        samples,
        random_spectrum(rng, BINS, rng.uniform(-5, 1), 6.0) * band(BINS, 120, 7_500, 1.0),
        random_spectrum(rng, BINS, rng.uniform(-4, 2), 6.0) * band(BINS, 200, 7_800, 1.0),
    )
    rattle = decibels(wander(rng, samples, log_uniform(rng, 3, 40), -rng.uniform(2, 16), 0.0))
    share = log_uniform(rng, 0.2, 4.0)
    mixed = (tone / level(tone) + share * grind * turn * rattle) * speed**2
    if rng.random() < 0.2:  # held down and let go, again and again
        mixed = mixed * _pulses(rng, samples)
    return mixed * swell(samples, 0.04, 0.06)


def shaver(rng: np.random.Generator) -> Array:
    """Shave or brush: a small motor's buzz, rich in harmonics, damped as it touches skin: [S]."""
    samples = seconds(log_uniform(rng, 2.0, 9.8))
    base = rng.choice([100.0, 120.0]) if rng.random() < 0.25 else log_uniform(rng, 75, 280)
    load = wander(rng, samples, log_uniform(rng, 0.4, 3.0), rng.uniform(0.9, 0.99), 1.0)
    starts = rng.random() < 0.5
    line = base * load * _speed(rng, samples, 0.15 * starts, 0.12 * starts)
    line = line * (1 + wander(rng, samples, 90, -0.006, 0.006))
    steep = rng.uniform(-5, 0.5)
    free = harmonic_tone(rng, line, _partials(rng, base, steep, 5.0))
    touching = harmonic_tone(rng, line, _partials(rng, base, steep - 3, 5.0))
    touch = wander(rng, samples, log_uniform(rng, 0.5, 4.0), 0.0, 1.0)
    buzz = free / level(free) * (1 - touch) + touching / level(touching) * touch
    if rng.random() < 0.5:  # an oscillating head beats slowly against the motor
        time = np.arange(samples) / SAMPLE_RATE
        beat = np.sin(2 * np.pi * log_uniform(rng, 1.5, 30) * time)
        buzz = buzz * (1 + rng.uniform(0.05, 0.6) * beat)
    gain = random_spectrum(rng, BINS, rng.uniform(-3, 3), 5.0) * band(BINS, 300, 7_800, 1.0)
    blades = shaped_noise(rng, samples, BINS, gain)
    stubble = decibels(wander(rng, samples, log_uniform(rng, 2, 25), -10.0, 0.0))
    share = log_uniform(rng, 0.03, 0.8)
    return (buzz + share * blades * stubble) * swell(samples, 0.05, 0.08)


def vacuum(rng: np.random.Generator) -> Array:
    """Vacuum: a loud broadband rush with the motor's tone in it, moved about: [S]."""
    samples = seconds(log_uniform(rng, 3.0, 9.9))
    up = rng.uniform(0.4, 1.8) * (rng.random() < 0.35)
    down = rng.uniform(0.6, 2.5) * (rng.random() < 0.35)
    speed = _speed(rng, samples, up, down)
    tilt = rng.uniform(-5.5, -1.0)
    body = peak(BINS, log_uniform(rng, 200, 1_500), rng.uniform(0.4, 1.2), rng.uniform(0, 12))
    shape = (
        random_spectrum(rng, BINS, tilt, 3.0) * body * band(BINS, rng.uniform(40, 200), 7_900, 1.0)
    )
    moved = shape * random_spectrum(rng, BINS, rng.uniform(-1.5, 1.5), 3.0)
    rush = _moving_noise(rng, samples, shape, moved)
    base = log_uniform(rng, 180.0, 650.0)
    load = wander(rng, samples, log_uniform(rng, 0.3, 1.5), rng.uniform(0.93, 0.995), 1.0)
    tone = harmonic_tone(
        rng, base * load * speed, _partials(rng, base, rng.uniform(-9, -2), 6.0, 24)
    )
    strokes = decibels(wander(rng, samples, log_uniform(rng, 0.4, 2.5), -rng.uniform(0.5, 7), 0.0))
    mixed = rush * strokes + log_uniform(rng, 0.06, 0.8) * tone / level(tone)
    if rng.random() < 0.3:  # mains hum of an old one
        hum = harmonic_tone(rng, np.full(samples, 100.0), np.arange(1, 9, dtype=float) ** -1.0)
        mixed = mixed + rng.uniform(0.05, 0.4) * hum / level(hum)
    if rng.random() < 0.2:  # the brush rattles over a floor
        rattle = tilted_noise(rng, samples, 0.0)
        mixed = mixed + 0.3 * rattle * contour(
            samples, [(0, 0), (rng.uniform(0.3, 0.8), 1), (1, 0)]
        )
    return mixed * speed**1.5 * swell(samples, 0.08, 0.1)
