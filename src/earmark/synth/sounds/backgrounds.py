"""Backgrounds of homes: room tone, mains hum, refrigerators and fans, distant traffic."""

from __future__ import annotations

import numpy as np

from earmark.core.timeline import SAMPLE_RATE
from earmark.synth.sounds.shaping import (
    BINS,
    Array,
    band,
    decibels,
    harmonic_tone,
    level,
    log_uniform,
    modes,
    random_spectrum,
    seconds,
    shaped_noise,
    swell,
    tilted_noise,
    wander,
)


def background(rng: np.random.Generator, samples: int) -> Array:
    """Mix a room's background of unit level: [samples].

    There is always room tone; hum, a machine, traffic, faint ticks and dull thumps come and go.
    All that is sudden is faint or below some 300 Hz, so none can pass for an event.
    """
    out = tilted_noise(rng, samples, rng.uniform(-8.5, -1.0), 3.0)
    out *= decibels(wander(rng, samples, 0.5, -rng.uniform(0, 3), 0.0))
    if rng.random() < 0.45:
        out += _hum(rng, samples) * log_uniform(rng, 0.03, 0.6)
    if rng.random() < 0.45:
        out += _machine(rng, samples) * log_uniform(rng, 0.2, 2.0)
    if rng.random() < 0.35:
        out += _traffic(rng, samples) * log_uniform(rng, 0.2, 2.0)
    if rng.random() < 0.2:
        out += _swish(rng, samples) * log_uniform(rng, 0.1, 1.0)
    out /= level(out)
    if rng.random() < 0.3:
        out += _ticks(rng, samples)
    if rng.random() < 0.25:
        out += _thumps(rng, samples)
    return out / level(out)


def _hum(rng: np.random.Generator, samples: int) -> Array:
    """Hum at 50 or 60 Hz, the even harmonics often stronger, as transformers do."""
    order = np.arange(1, 13, dtype=float)
    amplitudes = order ** -rng.uniform(0.8, 2.0) * decibels(rng.normal(0, 6, 12))
    amplitudes[1::2] *= rng.uniform(0.5, 3.0)
    tone = harmonic_tone(rng, np.full(samples, float(rng.choice([50.0, 60.0]))), amplitudes)
    return tone / level(tone)


def _machine(rng: np.random.Generator, samples: int) -> Array:
    """Run a refrigerator, a fan or a fridge's far compressor: dull noise with a low steady tone."""
    gain = random_spectrum(rng, BINS, rng.uniform(-9, -4), 5.0)
    rush = shaped_noise(
        rng, samples, BINS, gain * band(BINS, 40, log_uniform(rng, 600, 6_000), 1.0)
    )
    line = np.full(samples, log_uniform(rng, 24, 240))
    tone = harmonic_tone(
        rng,
        line,
        np.arange(1, 17, dtype=float) ** -rng.uniform(0.7, 1.6) * decibels(rng.normal(0, 5, 16)),
    )
    time = np.arange(samples) / SAMPLE_RATE
    throb = 1 + rng.uniform(0, 0.3) * np.sin(2 * np.pi * log_uniform(rng, 0.5, 10) * time)
    mixed = (rush + log_uniform(rng, 0.1, 1.5) * tone / level(tone)) * throb
    if rng.random() < 0.25:  # it switches on or off, gently
        mixed = mixed * decibels(_switch(rng, samples))
    return mixed / level(mixed)


def _switch(rng: np.random.Generator, samples: int) -> Array:
    """Move by 3–12 dB over half a second or more, up or down, somewhere: [S]."""
    time = np.arange(samples) / SAMPLE_RATE - rng.uniform(0, samples / SAMPLE_RATE)
    depth = rng.uniform(3, 12) * rng.choice([-1.0, 1.0])
    return np.asarray(depth * (np.tanh(time / rng.uniform(0.2, 1.0)) / 2))


def _swish(rng: np.random.Generator, samples: int) -> Array:
    """Turn a drum or a spray arm: muffled noise that comes and goes steadily, unit level: [S]."""
    gain = random_spectrum(rng, BINS, rng.uniform(-8, -3), 5.0) * band(BINS, 80, 2_500, 1.0)
    time = np.arange(samples) / SAMPLE_RATE
    turn = np.sin(2 * np.pi * log_uniform(rng, 0.3, 2.5) * time + rng.uniform(0, 2 * np.pi))
    out = shaped_noise(rng, samples, BINS, gain) * decibels(rng.uniform(2, 8) * (turn - 1))
    return out / level(out)


def _traffic(rng: np.random.Generator, samples: int) -> Array:
    """Let cars pass far away: low noise that swells over seconds."""
    gain = random_spectrum(rng, BINS, rng.uniform(-10, -6), 3.0) * band(BINS, 30, 1_500, 1.0)
    passing = shaped_noise(rng, samples, BINS, gain)
    passing *= decibels(wander(rng, samples, 0.4, -12.0, 0.0))
    return passing / level(passing)


def _ticks(rng: np.random.Generator, samples: int) -> Array:
    """Tick: a few faint dull knocks, or a clock, no louder than the room around them."""
    out = np.zeros(samples + seconds(0.1))
    frequencies = np.exp(rng.uniform(np.log(200), np.log(2_500), 4))
    tick = modes(rng, frequencies, rng.uniform(0.01, 0.04, 4), rng.random(4), seconds(0.05))
    tick /= np.abs(tick).max() + 1e-12
    if rng.random() < 0.5:
        places = np.arange(rng.uniform(0, 1), samples / SAMPLE_RATE, rng.choice([0.5, 1.0]))
    else:
        places = rng.uniform(0, samples / SAMPLE_RATE, rng.integers(1, 6))
    for place in (places * SAMPLE_RATE).astype(np.intp):
        out[place : place + len(tick)] += tick * rng.uniform(0.5, 2.0)
    return out[:samples]


def _thumps(rng: np.random.Generator, samples: int) -> Array:
    """Thump: a few steps or doors behind the wall, all below some 300 Hz: [S]."""
    length = seconds(0.25)
    out = np.zeros(samples + length)
    for _ in range(rng.integers(1, 8)):
        frequencies = np.exp(rng.uniform(np.log(40), np.log(320), 4))
        thump = modes(rng, frequencies, rng.uniform(0.05, 0.2, 4), rng.random(4), length)
        place = int(rng.integers(samples))
        loudness = log_uniform(rng, 0.5, 5.0) / (np.abs(thump).max() + 1e-12)
        out[place : place + length] += thump * loudness * swell(length, 0.004, 0.1)
    return out[:samples]
