"""Frying and running water: noise that is really many small bursts."""

from __future__ import annotations

import numpy as np
from scipy import fft

from earmark.core.timeline import SAMPLE_RATE
from earmark.synth.sounds.shaping import (
    BINS,
    CEILING,
    Array,
    band,
    contour,
    control,
    convolve,
    decibels,
    level,
    log_uniform,
    overlap_add,
    peak,
    random_spectrum,
    seconds,
    shaped_noise,
    spectra,
    swell,
    wander,
)


def frying(rng: np.random.Generator) -> Array:
    """Fry: crackle of droplets bursting in hot fat, over the hiss of steam: [S]."""
    samples = seconds(log_uniform(rng, 2.0, 9.9))
    tilt = rng.uniform(-3, 3.5)
    gain = random_spectrum(rng, BINS, tilt, 3.5) * band(
        BINS, log_uniform(rng, 150, 3_000), 8_500, 1.5
    )
    sizzle = shaped_noise(rng, samples, BINS, gain)
    sizzle *= decibels(wander(rng, samples, log_uniform(rng, 0.5, 12), -rng.uniform(1, 6), 0.0))
    crackle = _crackle(rng, samples)
    share = log_uniform(rng, 0.1, 2.0)
    mixed = sizzle + share * crackle / level(crackle)
    course = contour(
        samples, [(0, rng.uniform(0.3, 1)), (rng.uniform(0.1, 0.5), 1), (1, rng.uniform(0.4, 1))]
    )
    if rng.random() < 0.25:  # something wet goes into the pan: a burst that dies away
        place = rng.uniform(0, 0.5)
        time = np.linspace(0, 1, samples) - place
        course = course * (1 + rng.uniform(1, 4) * (time > 0) * np.exp(-np.abs(time) * 8))
    return mixed * course * swell(samples, log_uniform(rng, 0.02, 0.5), log_uniform(rng, 0.05, 0.6))


def _crackle(rng: np.random.Generator, samples: int) -> Array:
    """Pop at random moments, with loudnesses of a heavy tail, through 3 short resonances: [S]."""
    size = int(fft.next_fast_len(samples + 256, real=True))
    total = np.zeros(size // 2 + 1, dtype=np.complex128)
    rate = log_uniform(rng, 8, 900)
    heavy = rng.uniform(0.5, 1.3)
    busy = wander(rng, samples, log_uniform(rng, 0.5, 6), 0.1, 1.0)
    for _ in range(3):
        count = 1 + rng.poisson(rate / 3 * samples / SAMPLE_RATE)
        places = rng.integers(0, samples, count)
        places = places[rng.random(count) < busy[places]]
        train = np.bincount(
            places,
            np.exp(np.minimum(rng.normal(0, heavy, len(places)), 2 * heavy))
            * rng.choice([-1, 1], len(places)),
            size,
        )
        time = np.arange(200) / SAMPLE_RATE
        ring = np.sin(2 * np.pi * log_uniform(rng, 900, 7_000) * time + rng.uniform(0, 6.28))
        pop = (ring + rng.uniform(0.2, 1.5) * rng.standard_normal(200)) * np.exp(
            -time / log_uniform(rng, 0.0003, 0.003)
        )
        total += fft.rfft(train, size) * fft.rfft(pop, size)
    return np.asarray(fft.irfft(total, size)[:samples])


def running_water(rng: np.random.Generator) -> Array:
    """Run a tap: a rush of noise, bubbles, and the ring of the basin or the vessel filling: [S]."""
    samples = seconds(log_uniform(rng, 2.0, 9.9))
    gain = random_spectrum(rng, BINS, rng.uniform(-3.5, 3.0), 3.5)
    gain = gain * band(BINS, log_uniform(rng, 60, 900), rng.uniform(6_000, 12_000), 1.0)
    for _ in range(rng.integers(0, 4)):
        centre = log_uniform(rng, 250, 6_000)
        gain = gain * peak(BINS, centre, rng.uniform(0.08, 0.6), rng.uniform(3, 12))
    rush = shaped_noise(rng, samples, BINS, gain)
    if rng.random() < 0.6:  # the stream wobbles between two places of the basin
        other = shaped_noise(rng, samples, BINS, gain * random_spectrum(rng, BINS, 0.0, 3.0))
        mix = wander(rng, samples, log_uniform(rng, 0.5, 8), 0.0, 1.0)
        rush = rush * np.sqrt(mix) + other * np.sqrt(1 - mix)
    rush *= decibels(wander(rng, samples, log_uniform(rng, 0.5, 20), -rng.uniform(0.5, 5), 0.0))
    if rng.random() < 0.45:
        rush = _vessel(rng, rush)
    bubbles = _bubbles(rng, samples)
    share = log_uniform(rng, 0.03, 1.2)
    flow = contour(
        samples, [(0, 1), (rng.uniform(0.2, 0.5), rng.uniform(0.5, 1)), (1, rng.uniform(0.6, 1))]
    )
    mixed = (rush + share * bubbles / level(bubbles)) * flow
    if rng.random() < 0.5:
        mixed = mixed + log_uniform(rng, 0.1, 0.7) * _splashes(rng, samples)
    return mixed * swell(samples, log_uniform(rng, 0.02, 0.8), log_uniform(rng, 0.05, 1.0))


def _vessel(rng: np.random.Generator, rush: Array) -> Array:
    """Let a vessel ring as it fills (its air column shortens, so it rises) or as water moves: [S].

    Both resonances of a tube closed below, one and three quarters of a wavelength, move together.
    """
    samples = len(rush)
    start = log_uniform(rng, 200, 1_800)
    if rng.random() < 0.5:
        track = start * contour(samples, [(0, 1), (1, log_uniform(rng, 0.6, 3.0))])
    else:
        track = start * wander(rng, samples, log_uniform(rng, 0.3, 3), 0.75, 1.3)
    octaves = np.log2(np.maximum(BINS, 30.0))[None] - np.log2(control(track))[:, None]  # [F, B]
    width = rng.uniform(0.06, 0.3)
    bells = np.exp(-0.5 * (octaves / width) ** 2)
    bells += rng.uniform(0, 0.8) * np.exp(-0.5 * ((octaves - np.log2(3)) / width) ** 2)
    gains = 1 + (decibels(rng.uniform(6, 20)) - 1) * bells
    out = overlap_add(spectra(rush) * gains, samples)
    return out / level(out)


def _splashes(rng: np.random.Generator, samples: int) -> Array:
    """Splash: broadband gushes of 10–150 ms at random moments, unit level: [S]."""
    gain = random_spectrum(rng, BINS, rng.uniform(-3, 3), 4.0) * band(BINS, 300, 8_500, 1.0)
    moments = np.zeros(samples)
    count = 1 + rng.poisson(log_uniform(rng, 0.5, 15) * samples / SAMPLE_RATE)
    np.add.at(moments, rng.integers(0, samples, count), rng.exponential(1.0, count))
    length = seconds(log_uniform(rng, 0.01, 0.15))
    shape = swell(length, 0.003, length / SAMPLE_RATE * 0.9)
    envelope = np.maximum(convolve(moments, shape), 0)
    out = shaped_noise(rng, samples, BINS, gain) * envelope
    return out / level(out)


def _bubbles(rng: np.random.Generator, samples: int) -> Array:
    """Ring bubbles: damped tones that rise as each nears the surface.

    Source: K. van den Doel, "Physically based models for liquid sounds" (2005): a bubble of
    frequency f decays at 0.043 f + 0.0014 f^1.5 per second and rises in proportion to that rate.
    """
    per_second = log_uniform(rng, 8, 160)
    count = max(4, min(700, int(rng.poisson(per_second * samples / SAMPLE_RATE))))
    centre, spread = log_uniform(rng, 450, 2_200), rng.uniform(0.2, 0.6)
    frequencies = np.clip(centre * np.exp(rng.normal(0, spread, count)), 200, 5_500)
    loudness = np.exp(rng.normal(0, 0.9, count)) * (centre / frequencies)
    rising = rng.uniform(0.0, 0.12) * rng.random(count)
    length = 960
    time = np.arange(length, dtype=np.float32) / np.float32(SAMPLE_RATE)
    rate = (0.043 * frequencies + 0.0014 * frequencies**1.5) * rng.uniform(0.8, 3.0)
    slope = rising * rate
    # the top of the rise stays under the ceiling
    slope = np.minimum(slope, (CEILING / frequencies - 1) / float(time[-1]))
    turn = (2 * np.pi * frequencies)[:, None].astype(np.float32)
    phase = turn * (time + 0.5 * slope[:, None].astype(np.float32) * time * time)
    rings = np.sin(phase) * np.exp(-rate[:, None].astype(np.float32) * time)
    rings = rings * loudness[:, None].astype(np.float32)
    out = np.zeros(samples + length)
    # they come in gushes: even places, drawn together by a slow random warp
    gushes = np.cumsum(wander(rng, samples, log_uniform(rng, 0.5, 8), 0.05, 1.0) ** 2)
    places = np.searchsorted(gushes, rng.uniform(0, gushes[-1], count))
    for place, ring in zip(np.minimum(places, samples - 1), rings, strict=True):
        out[place : place + length] += ring
    return out[:samples]
