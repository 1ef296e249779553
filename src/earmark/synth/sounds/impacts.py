"""Dishes: struck plates, glasses, pans and cutlery, as clusters of damped modes."""

from __future__ import annotations

import numpy as np

from earmark.core.timeline import SAMPLE_RATE
from earmark.synth.sounds.shaping import (
    BINS,
    Array,
    band,
    convolve,
    decibels,
    level,
    log_uniform,
    modes,
    overlap_add,
    peak,
    random_spectrum,
    seconds,
    shaped_noise,
    spectra,
    swell,
    wander,
)

# lowest mode (Hz), longest decay (s), modes, and how much the decay shortens per octave
_OBJECTS = {
    "plate": ((500.0, 2_600.0), (0.04, 0.3), (14, 45), (0.1, 0.8)),
    "glass": ((1_200.0, 4_500.0), (0.08, 0.9), (6, 16), (0.2, 0.7)),
    "cutlery": ((1_200.0, 5_000.0), (0.03, 0.3), (12, 36), (0.0, 0.5)),
    "pan": ((250.0, 1_500.0), (0.06, 0.7), (16, 48), (0.2, 0.8)),
    "plastic": ((200.0, 1_000.0), (0.02, 0.08), (6, 14), (0.6, 1.2)),
}


def dishes(rng: np.random.Generator) -> Array:
    """Handle dishes: hits in clusters, sometimes a bounce or a scrape, among 1–4 objects: [S]."""
    kind = rng.choice(3, p=[0.2, 0.7, 0.1])
    duration = (rng.uniform(0.05, 0.5), log_uniform(rng, 0.5, 6.0), rng.uniform(0.3, 1.2))[kind]
    active = seconds(duration)
    tail = seconds(1.3)
    out = np.zeros(active + tail)
    softness = log_uniform(rng, 3_000, 20_000)
    thud = rng.uniform(0, 0.6) * (rng.random() < 0.5)
    for _ in range(1 if kind == 0 else rng.integers(1, 6)):
        places, strengths = _hits(rng, active, bouncing=kind == 2, few=kind == 0)
        for response in _object(rng):
            loudness = decibels(rng.normal(0, 4.0))
            train = np.zeros(active + tail)
            # every hit meets another place on the object, so excites its modes differently
            weights = loudness * strengths * decibels(rng.normal(0, 4.0, len(places)))
            np.add.at(train, places, weights)
            out += convolve(train, response)
    if thud:
        out += thud * np.abs(out).max() * _thud(rng, len(out), active)
    if rng.random() < 0.25:
        out += _scrape(rng, len(out), active) * rng.uniform(0.1, 0.6) * np.abs(out).max()
    gain = band(BINS, 0.0, softness, 1.0)
    click = shaped_noise(rng, 64, BINS, gain) * np.exp(-np.arange(64) / rng.uniform(3, 20))
    return convolve(out, click)


def _hits(
    rng: np.random.Generator, active: int, *, bouncing: bool, few: bool
) -> tuple[np.ndarray[tuple[int], np.dtype[np.intp]], Array]:
    """Draw where (samples) and how hard an object is hit."""
    if bouncing:
        gaps = rng.uniform(0.06, 0.25) * rng.uniform(0.7, 0.92) ** np.arange(24)
        moments = np.concatenate([[0.0], np.cumsum(gaps)])
        strengths = rng.uniform(0.7, 0.9) ** np.arange(len(moments))
    elif few:
        moments = np.sort(rng.uniform(0, active / SAMPLE_RATE, rng.integers(1, 4)))
        moments[0] = 0.0
        strengths = decibels(rng.normal(0, 5.0, len(moments)))
    else:
        groups = max(1, rng.poisson(active / SAMPLE_RATE * log_uniform(rng, 0.8, 5.0)))
        centres = rng.uniform(0, active / SAMPLE_RATE, groups)
        sizes = rng.integers(1, 12, groups)
        spread = log_uniform(rng, 0.02, 0.35)
        moments = np.repeat(centres, sizes) + rng.exponential(spread, int(sizes.sum()))
        strengths = decibels(rng.normal(-6.0, 6.0, len(moments)))
    places = (moments * SAMPLE_RATE).astype(np.intp)
    inside = places < active
    inside[0] = True
    return np.minimum(places, active - 1)[inside], np.asarray(strengths[inside], dtype=np.float64)


def _object(rng: np.random.Generator) -> list[Array]:
    """Draw an object: two responses, each of half of its modes, that hits mix differently."""
    names = list(_OBJECTS)
    chosen = names[rng.choice(len(names), p=[0.34, 0.12, 0.32, 0.14, 0.08])]
    lowest, longest, counts, shortening = _OBJECTS[chosen]
    base, decay = log_uniform(rng, *lowest), log_uniform(rng, *longest)
    count = int(rng.integers(*counts))
    # modes of shells and bars crowd upwards: between n and n² times the lowest
    power = rng.uniform(0.8, 1.6)
    top = np.log2(rng.uniform(5_500, 7_800) / base)
    ratios = 2.0 ** (top * np.linspace(0, 1, count) ** (1 / power))
    frequencies = base * ratios * np.exp(rng.normal(0, 0.06, count))
    octaves = np.log2(frequencies / base)
    decays = (
        decay * 2.0 ** (-octaves * rng.uniform(*shortening)) * np.exp(rng.normal(0, 0.4, count))
    )
    amplitudes = decibels(rng.normal(0, 6.0, count) - octaves * rng.uniform(0, 5))
    length = seconds(min(1.25, decay * 2.0))
    # modes too many to tell apart ring as a short dense noise
    dense = rng.standard_normal(length) * np.exp(
        -6.91 * np.arange(length) / SAMPLE_RATE / log_uniform(rng, 0.02, 0.25)
    )
    gain = random_spectrum(rng, BINS, rng.uniform(-2, 3), 5.0) * band(
        BINS, base * rng.uniform(0.15, 0.8), 9_000, 1.0
    )
    dense = overlap_add(spectra(dense) * gain, length)
    share = log_uniform(rng, 0.1, 3.0)
    split = rng.random(count) < 0.5
    responses = []
    for part in (split, ~split):
        decay_part = np.clip(decays[part], 0.012, 1.2)
        ring = modes(rng, frequencies[part], decay_part, amplitudes[part], length)
        responses.append(ring / level(ring) + share * dense / level(dense))
    return responses


def _thud(rng: np.random.Generator, samples: int, active: int) -> Array:
    """Let the table answer: a few short low knocks, peak one: [S]."""
    out = np.zeros(samples)
    for _ in range(rng.integers(1, 4)):
        frequencies = np.exp(rng.uniform(np.log(80), np.log(500), 4))
        knock = modes(rng, frequencies, rng.uniform(0.03, 0.15, 4), rng.random(4), seconds(0.2))
        place = int(rng.integers(active))
        span = min(len(knock), samples - place)
        out[place : place + span] += knock[:span]
    return np.asarray(out / (np.abs(out).max() + 1e-12))


def _scrape(rng: np.random.Generator, samples: int, active: int) -> Array:
    """Drag metal over china: rough noise in narrow moving resonances, peak one: [S]."""
    length = min(active, seconds(rng.uniform(0.1, 0.8)))
    gain = random_spectrum(rng, BINS, 1.0, 4.0) * band(BINS, rng.uniform(800, 2_500), 7_800, 2.0)
    for _ in range(rng.integers(1, 4)):
        gain = gain * peak(BINS, log_uniform(rng, 1_500, 7_000), 0.04, rng.uniform(8, 22))
    drag = shaped_noise(rng, length, BINS, gain) * swell(length, 0.03, 0.08)
    drag = drag * wander(rng, length, log_uniform(rng, 15, 90), 0.0, 1.0) ** 2
    out = np.zeros(samples)
    place = int(rng.integers(max(1, active - length)))
    out[place : place + length] = drag / (level(drag) * 4)
    return out
