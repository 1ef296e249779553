"""Speech: a glottal source and noise, shaped by a vocal tract that moves between targets."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from earmark.core.timeline import SAMPLE_RATE
from earmark.synth.sounds.shaping import (
    BINS,
    HOP,
    Array,
    decibels,
    formants,
    harmonic_tone,
    higher_poles,
    log_uniform,
    overlap_add,
    smooth,
    spectra,
    stretch,
)

# First three formants of ten vowels, men's means: G. E. Peterson and H. L. Barney, "Control
# methods used in a study of the vowels" (1952), table II. The fourth and fifth vary little.
_VOWELS: Array = np.array(
    [
        [270, 2290, 3010],
        [390, 1990, 2550],
        [530, 1840, 2480],
        [660, 1720, 2410],
        [730, 1090, 2440],
        [570, 840, 2410],
        [440, 1020, 2240],
        [300, 870, 2240],
        [640, 1190, 2390],
        [490, 1350, 1690],
    ],
    dtype=np.float64,
)
_POINTS_PER_SECOND = SAMPLE_RATE / HOP


@dataclass(frozen=True)
class _Speaker:
    """What stays the same while one person speaks."""

    pitch: float  # Hz
    range: float  # octaves the pitch moves
    tract: float  # factor on all formants: short vocal tracts sound higher
    tilt: float  # exponent of the fall of the harmonics
    breath: float
    poles: float  # strength of the resonances above the fifth
    rate: float  # syllables per second
    bandwidths: Array
    vowels: Array


@dataclass
class _Score:
    """What the articulators do, at each control point [F]."""

    voice: Array
    pitch: Array  # octaves about the speaker's pitch
    targets: Array  # [F, 5] Hz
    hiss: Array
    hiss_centre: Array
    hiss_width: Array


def speech(rng: np.random.Generator) -> Array:
    """Speak a made-up utterance of 0.3–7 s: phrases of syllables with pauses between: [S]."""
    speaker = _draw_speaker(rng)
    score = _write_score(rng, speaker)
    count = len(score.voice)
    samples = (count - 2) * HOP
    jitter = smooth(rng.normal(0, rng.uniform(0.01, 0.05), count), 2)
    pitch = speaker.pitch * 2.0 ** np.clip(score.pitch + jitter, -1.2, 1.5)
    frequency = stretch(np.clip(pitch, 55.0, 600.0), samples)
    order = np.arange(1, 141, dtype=float)
    source = harmonic_tone(rng, frequency, order**-speaker.tilt)
    noise = rng.standard_normal(samples) * 0.05
    tract = formants(score.targets, speaker.bandwidths) * higher_poles(speaker.poles)
    shimmer = decibels(smooth(rng.normal(0, 2.0, count), 3))
    voiced = spectra(source) * (score.voice * shimmer)[:, None]
    breath = spectra(noise)
    breathed = breath * (speaker.breath * (0.2 * score.voice + 0.3 * score.hiss))[:, None]
    octaves = np.log2(np.maximum(BINS, 60.0)[None] / score.hiss_centre[:, None])
    fricative = np.exp(-0.5 * (octaves / score.hiss_width[:, None]) ** 2) * score.hiss[:, None]
    return overlap_add((voiced + breathed) * tract + breath * fricative, samples)


def _draw_speaker(rng: np.random.Generator) -> _Speaker:
    kind = rng.choice(3, p=[0.45, 0.42, 0.13])  # men, women, children
    low, high = [(75.0, 165.0), (140.0, 270.0), (210.0, 380.0)][kind]
    small, large = [(0.88, 1.08), (1.05, 1.27), (1.2, 1.5)][kind]
    tract = rng.uniform(small, large)
    # everyone's vowels differ, by language and by person
    vowels = _VOWELS * np.exp(rng.normal(0, 0.08, _VOWELS.shape)) * tract
    upper = np.array([3500.0, 4500.0]) * tract * np.exp(rng.normal(0, 0.05, 2))
    vowels = np.concatenate([vowels, np.tile(upper, (len(vowels), 1))], axis=1)
    widths = np.array([70.0, 90.0, 140.0, 220.0, 300.0]) * rng.uniform(0.7, 1.6)
    return _Speaker(
        pitch=log_uniform(rng, low, high),
        range=rng.uniform(0.1, 0.6),
        tract=tract,
        tilt=rng.uniform(0.4, 1.4),
        breath=log_uniform(rng, 0.05, 1.5),
        poles=rng.uniform(0.04, 0.16) / tract**2,
        rate=rng.uniform(3.2, 7.0),
        bandwidths=widths,
        vowels=vowels,
    )


def _write_score(rng: np.random.Generator, speaker: _Speaker) -> _Score:
    duration = log_uniform(rng, 0.45, 7.0)
    count = int((duration + 1.0) * _POINTS_PER_SECOND)
    score = _Score(
        voice=np.zeros(count),
        pitch=np.zeros(count),
        targets=np.zeros((count, 5)),
        hiss=np.zeros(count),
        hiss_centre=np.full(count, 4_000.0),
        hiss_width=np.full(count, 0.5),
    )
    score.targets[:] = speaker.vowels[rng.integers(len(_VOWELS))]
    place, end = 3, int(duration * _POINTS_PER_SECOND)
    while place < end:
        phrase_start = place
        for _ in range(rng.integers(1, 11)):
            place = _syllable(rng, speaker, score, place)
            if place >= end:
                break
        _intonate(rng, speaker, score, phrase_start, min(place, count))
        place += int(rng.uniform(0.08, 0.5) * _POINTS_PER_SECOND)
    score.voice = smooth(score.voice, 4)
    score.hiss = smooth(score.hiss, 2)
    score.pitch = smooth(score.pitch, 12)
    score.targets = smooth(score.targets, int(rng.integers(5, 11)))
    return score


def _syllable(rng: np.random.Generator, speaker: _Speaker, score: _Score, place: int) -> int:
    """Write onset consonant, vowel and sometimes a coda from ``place`` on; give the end."""
    length = _POINTS_PER_SECOND / speaker.rate * float(np.exp(rng.normal(0, 0.3)))
    vowel = speaker.vowels[rng.integers(len(_VOWELS))]
    stress = decibels(rng.normal(0, 3.0))
    if rng.random() < 0.85:
        place = _consonant(rng, speaker, score, place, vowel)
    end = min(place + max(4, int(length * rng.uniform(0.5, 0.8))), len(score.voice) - 2)
    span = end - place
    if span > 0:
        arch = np.sin(np.linspace(0.25, np.pi - 0.25, span)) ** 0.6
        score.voice[place:end] = stress * arch
        score.targets[place:end] = vowel
        if rng.random() < 0.3:  # a diphthong
            score.targets[place + span // 2 : end] = speaker.vowels[rng.integers(len(_VOWELS))]
        score.pitch[place:end] += rng.normal(0, speaker.range * 0.6)
    if rng.random() < 0.35:
        end = _consonant(rng, speaker, score, end, vowel)
    return end


def _consonant(
    rng: np.random.Generator, speaker: _Speaker, score: _Score, place: int, vowel: Array
) -> int:
    kind = rng.choice(4, p=[0.32, 0.33, 0.25, 0.1])
    length = int(rng.uniform(0.04, 0.13) * _POINTS_PER_SECOND) + 1
    end = min(place + length, len(score.voice) - 2)
    here = slice(place, end)
    voiced = rng.random() < 0.4
    if kind == 0:  # fricative
        centre = float(rng.choice([2_700.0, 3_800.0, 5_500.0, 6_800.0])) * speaker.tract**0.5
        score.hiss[here] = log_uniform(rng, 0.3, 4.0)
        score.hiss_centre[here] = min(centre * rng.uniform(0.85, 1.15), 7_400.0)
        score.hiss_width[here] = rng.uniform(0.2, 0.6)
        score.voice[here] = 0.2 * voiced
    elif kind == 1:  # plosive: closure, then a burst
        burst = max(place, end - int(rng.integers(1, 4)))
        score.voice[place:burst] = 0.08 * voiced
        score.hiss[burst:end] = log_uniform(rng, 0.5, 5.0)
        score.hiss_centre[place:end] = log_uniform(rng, 700.0, 5_000.0)
        score.hiss_width[place:end] = rng.uniform(0.6, 1.3)
    elif kind == 2:  # nasal or liquid: voiced, weaker, low first formant
        score.voice[here] = rng.uniform(0.2, 0.6)
        score.targets[here] = vowel * np.array([0.55, rng.uniform(0.7, 1.2), 1.0, 1.0, 1.0])
    else:  # h: breath through the vowel's own tract
        score.hiss[here] = 0.3
        score.hiss_width[here] = 1.5
        score.targets[here] = vowel
    return end


def _intonate(
    rng: np.random.Generator, speaker: _Speaker, score: _Score, start: int, end: int
) -> None:
    """Let the pitch fall over a phrase, and rise at the end of some."""
    span = end - start
    if span <= 0:
        return
    fall = speaker.range * rng.uniform(0.2, 1.0)
    line = np.linspace(fall, -fall, span)
    if rng.random() < 0.25:
        line[-span // 4 :] += np.linspace(0, 2 * fall, len(line[-span // 4 :]))
    score.pitch[start:end] += line
