"""Alarms, bells and rings: tones in patterns."""

from __future__ import annotations

import numpy as np

from earmark.core.timeline import SAMPLE_RATE
from earmark.synth.sounds.shaping import (
    Array,
    convolve,
    decibels,
    harmonic_tone,
    log_uniform,
    modes,
    one_of,
    seconds,
    swell,
    wander,
)


def alarm(rng: np.random.Generator) -> Array:
    """Ring: one of nine kinds of alarm, bell, telephone or ring tone: [S]."""
    return one_of(
        rng,
        {
            _beeps: 0.2, _siren: 0.1, _mechanical_bell: 0.15, _chimes: 0.15, _melody: 0.15,
            _telephone: 0.1, _line_tone: 0.05, _buzzer: 0.05, _chirps: 0.05,
        },
    )  # fmt: skip


def _timbre(rng: np.random.Generator) -> Array:
    """Draw harmonics: nearly a sine, a square wave, or something between: [24]."""
    order = np.arange(1, 25, dtype=float)
    kind = rng.integers(4)
    if kind == 0:
        return np.asarray(order ** -rng.uniform(3, 6))
    if kind == 1:
        return np.asarray(np.where(order % 2 == 1, 1 / order, rng.uniform(0, 0.1) / order))
    if kind == 2:
        return np.asarray(order ** -rng.uniform(0.5, 1.5))
    return np.asarray(decibels(rng.normal(0, 8, 24)) * order ** -rng.uniform(1, 2.5))


def _gate(samples: int, on: float, period: float, group: int, pause: float, edge: float) -> Array:
    """Switch on for ``on`` s each ``period`` s, ``group`` times, then wait ``pause`` s: [S]."""
    time = np.arange(samples) / SAMPLE_RATE
    within = time % (group * period + pause)
    beat = within % period
    sounding = within < group * period
    rise = np.clip(np.minimum(beat, on - beat) / edge, 0.0, 1.0)
    return rise * sounding


def _beeps(rng: np.random.Generator) -> Array:
    """Digital watch, smoke alarm, oven, microwave: one tone in groups of beeps."""
    period = log_uniform(rng, 0.06, 1.2)
    on = period * rng.uniform(0.3, 0.8)
    group = int(rng.integers(1, 7))
    pause = rng.choice([0.0, rng.uniform(0.2, 1.2)])
    cycle = group * period + pause
    samples = seconds(min(rng.uniform(0.25, 8.0), cycle * rng.integers(1, 9)))
    line = np.full(samples, log_uniform(rng, 700, 4_200))
    if rng.random() < 0.25:  # two pitches in turn
        line = line * np.where(
            np.arange(samples) / SAMPLE_RATE % (2 * period) < period, 1.0, rng.uniform(0.6, 1.4)
        )
    tone = harmonic_tone(rng, line, _timbre(rng))
    return tone * _gate(samples, on, period, group, pause, log_uniform(rng, 0.001, 0.01))


def _siren(rng: np.random.Generator) -> Array:
    """Two-tone, wail or yelp."""
    samples = seconds(rng.uniform(1.0, 8.0))
    time = np.arange(samples) / SAMPLE_RATE
    low = log_uniform(rng, 300, 1_400)
    ratio = rng.uniform(1.15, 2.6)
    kind = rng.integers(3)
    if kind == 0:
        rate = log_uniform(rng, 0.6, 5)
        sweep = 1 / (1 + np.exp(-rng.uniform(15, 80) * np.sin(2 * np.pi * rate * time)))
    elif kind == 1:
        sweep = 0.5 - 0.5 * np.cos(2 * np.pi * log_uniform(rng, 0.2, 6) * time + rng.uniform(0, 6))
    else:
        sweep = (time * log_uniform(rng, 0.5, 8)) % 1.0
    line = low * ratio**sweep
    return harmonic_tone(rng, line, _timbre(rng)) * swell(samples, 0.02, 0.05)


def _bell_modes(rng: np.random.Generator, base: float, decay: float, length: int) -> Array:
    """Strike a bell of a drawn family: inharmonic partials, higher ones dying sooner."""
    families = (
        [0.5, 1.0, 1.2, 1.5, 2.0, 2.5, 2.67, 3.0, 4.0],  # church bell: hum, prime, tierce, …
        [1.0, 2.76, 5.40, 8.93],  # bar with free ends
        [1.0, 2.0, 3.0, 4.2, 5.4, 6.8],
        [1.0, 1.59, 2.14, 2.30, 2.65, 2.92, 3.5],  # disc, membrane-like
    )
    ratios = np.array(families[rng.integers(len(families))])
    ratios = ratios * np.exp(rng.normal(0, rng.uniform(0, 0.04), len(ratios)))
    frequencies = base * ratios
    decays = decay * ratios ** -rng.uniform(0.2, 1.2)
    amplitudes = decibels(rng.normal(0, 5, len(ratios))) * ratios ** -rng.uniform(0.2, 1.5)
    beats = frequencies * (1 + rng.uniform(0.0002, 0.003, len(ratios)))
    return modes(rng, frequencies, decays, amplitudes, length) + rng.uniform(0, 0.8) * modes(
        rng, beats, decays, amplitudes, length
    )


def _mechanical_bell(rng: np.random.Generator) -> Array:
    """Alarm clock, school bell, old telephone: a clapper strikes 8–28 times a second."""
    samples = seconds(rng.uniform(0.6, 7.0))
    rate = log_uniform(rng, 8, 28)
    base = log_uniform(rng, 700, 3_200)
    response = _bell_modes(rng, base, log_uniform(rng, 0.15, 1.2), seconds(0.9))
    gaps = np.maximum(
        rng.normal(1.0, rng.uniform(0.0, 0.08), int(samples / SAMPLE_RATE * rate) + 2), 0.2
    )
    places = (np.cumsum(gaps) * SAMPLE_RATE / rate).astype(np.intp)
    places = places[places < samples]
    if rng.random() < 0.4:  # rings and rests, as a telephone does
        on, off = rng.uniform(0.4, 2.0), rng.uniform(0.2, 2.0)
        places = places[(places / SAMPLE_RATE) % (on + off) < on]
    if len(places) == 0:
        places = np.zeros(1, dtype=np.intp)
    strengths = rng.uniform(0.6, 1.0, len(places))
    strikes = np.bincount(places, strengths, samples + seconds(0.9)).astype(np.float64)
    out = convolve(strikes, response)
    if rng.random() < 0.5:  # the second gong of a pair
        second = _bell_modes(rng, base * rng.uniform(1.02, 1.4), 0.5, seconds(0.5))
        strikes = np.bincount(places[::2], strengths[::2], len(out)).astype(np.float64)
        out = out + convolve(strikes, second)
    return out


def _chimes(rng: np.random.Generator) -> Array:
    """Door bell, hand bell, wind chime: 1–8 strikes that ring out."""
    count = int(rng.choice([1, 2, 3, 5, 8], p=[0.3, 0.3, 0.15, 0.15, 0.1]))
    base, decay = log_uniform(rng, 250, 2_500), log_uniform(rng, 0.4, 4.0)
    gap = rng.uniform(0.12, 0.8)
    moments = np.cumsum(np.concatenate([[0.0], gap * rng.uniform(0.7, 1.3, count - 1)]))
    out = np.zeros(seconds(min(moments[-1] + decay, 7.5)))
    for moment in moments:
        pitch = base * 2.0 ** (rng.integers(-7, 8) / 12)
        place = int(moment * SAMPLE_RATE)
        if place < len(out):
            length = min(len(out) - place, seconds(decay))
            strike = _bell_modes(rng, pitch, decay, length)
            out[place : place + length] += strike * rng.uniform(0.4, 1.0)
    return out * swell(len(out), 0.001, 0.15)


def _melody(rng: np.random.Generator) -> Array:
    """Ring tone or jingle: a few notes of one timbre, plucked or sustained, sometimes a chord."""
    count = int(rng.integers(2, 17))
    length = log_uniform(rng, 0.06, 0.4)
    scale = np.array(
        [[0, 2, 4, 7, 9, 12], [0, 3, 5, 7, 10, 12], [0, 4, 7, 11, 12, 16]][rng.integers(3)]
    )
    base = log_uniform(rng, 260, 1_400)
    notes = base * 2.0 ** (scale[rng.integers(0, 6, count)] / 12)
    durations = np.maximum(
        (length * rng.choice([1, 1, 1, 2], count) * SAMPLE_RATE).astype(int), 400
    )
    total = int(durations.sum())
    if total > 8 * SAMPLE_RATE:
        keep = int(np.searchsorted(np.cumsum(durations), 8 * SAMPLE_RATE))
        notes, durations = notes[:keep], durations[:keep]
    line = np.repeat(notes, durations)
    starts = np.concatenate([[0], np.cumsum(durations)[:-1]])
    age = (np.arange(len(line)) - np.repeat(starts, durations)) / SAMPLE_RATE
    left = (np.repeat(starts + durations, durations) - np.arange(len(line))) / SAMPLE_RATE
    edge = np.clip(age / log_uniform(rng, 0.002, 0.05), 0, 1) * np.clip(left / 0.006, 0, 1)
    envelope = edge * np.exp(-age * rng.choice([0.0, log_uniform(rng, 1.5, 15)]))
    timbre = _timbre(rng)
    tone = harmonic_tone(rng, line, timbre)
    if rng.random() < 0.4:  # a second voice
        interval = 2.0 ** (rng.choice([-12, -5, 3, 4, 7, 12]) / 12)
        tone = tone + rng.uniform(0.3, 1.0) * harmonic_tone(rng, line * interval, timbre)
    return np.asarray(tone * envelope)


def _telephone(rng: np.random.Generator) -> Array:
    """Electronic telephone: two tones warbling, in rings with rests."""
    samples = seconds(rng.uniform(0.5, 6.0))
    time = np.arange(samples) / SAMPLE_RATE
    low = log_uniform(rng, 500, 2_500)
    warble = np.sin(2 * np.pi * log_uniform(rng, 8, 32) * time)
    line = low * np.where(warble > 0, 1.0, rng.uniform(1.08, 1.5))
    tone = harmonic_tone(rng, line, _timbre(rng)) * (1 - rng.uniform(0, 0.6) * (warble > 0))
    on, off = rng.uniform(0.3, 2.0), rng.uniform(0.1, 2.0)
    return tone * _gate(samples, on, on + off, 1, 0.0, 0.005)


def _line_tone(rng: np.random.Generator) -> Array:
    """Dial, ringback, busy: two low tones together, in a cadence, as the networks specify."""
    pairs = ((440, 480), (480, 620), (350, 440), (425, 425), (400, 450), (425, 400))
    first, second = pairs[rng.integers(len(pairs))]
    samples = seconds(rng.uniform(0.8, 6.0))
    time = np.arange(samples) / SAMPLE_RATE
    detune = rng.uniform(0.95, 1.05)
    tone = np.sin(2 * np.pi * first * detune * time) + np.sin(2 * np.pi * second * detune * time)
    cadences = ((0.5, 0.5), (0.25, 0.25), (2.0, 4.0), (1.0, 4.0), (0.4, 0.2), (10.0, 0.0))
    on, off = cadences[rng.integers(len(cadences))]
    return tone * _gate(samples, on, on + off, 1, 0.0, 0.01)


def _buzzer(rng: np.random.Generator) -> Array:
    """Clock radio or door buzzer: a low rich tone, interrupted or not."""
    samples = seconds(rng.uniform(0.4, 5.0))
    base = log_uniform(rng, 90, 600)
    order = np.arange(1, 61, dtype=float)
    amplitudes = order ** -rng.uniform(0, 1) * decibels(rng.normal(0, 5, 60))
    line = base * wander(rng, samples, 5, 0.995, 1.005)
    tone = harmonic_tone(rng, line, amplitudes)
    if rng.random() < 0.5:
        return tone * swell(samples, 0.01, 0.02)
    period = log_uniform(rng, 0.08, 1.0)
    return tone * _gate(samples, period * rng.uniform(0.4, 0.7), period, 1, 0.0, 0.004)


def _chirps(rng: np.random.Generator) -> Array:
    """Repeated fast sweeps: car alarms, reversing or security devices, space-age notifications."""
    samples = seconds(rng.uniform(0.4, 5.0))
    time = np.arange(samples) / SAMPLE_RATE
    rate = log_uniform(rng, 1.0, 14)
    place = (time * rate) % 1.0
    if rng.random() < 0.5:
        place = 1 - place
    line = log_uniform(rng, 500, 1_800) * rng.uniform(1.3, 3.5) ** place
    period = 1 / rate
    on, group = period * rng.uniform(0.5, 0.98), int(rng.integers(2, 12))
    gate = _gate(samples, on, period, group, rng.uniform(0, 0.5), 0.004)
    return harmonic_tone(rng, line, _timbre(rng)) * gate
