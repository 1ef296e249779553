"""Tools shared by all synthesised sounds: contours, tones, shaped noise, time-varying filters.

Signals are float64 arrays [S] at 16 kHz; the supplier casts to float32 at the end. Tones keep
their partials below `CEILING`, so nothing folds back at the Nyquist frequency.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import fft

from earmark.core.timeline import SAMPLE_RATE

Array = NDArray[np.float64]
#: Makes a sound [S].
Maker = Callable[[np.random.Generator], Array]
CEILING = 7_800.0  # Hz, the highest partial of any tone
HOP = 128  # samples between control points of the time-varying filter (8 ms)
_FRAME = 256
_SIZE = 512  # a frame is zero-padded on both sides, room for the filter's zero-phase response
BINS: Array = np.asarray(np.fft.rfftfreq(_SIZE, 1 / SAMPLE_RATE), dtype=np.float64)
_TABLE = 4_096
_LEVELS_PER_OCTAVE = 3


def log_uniform(rng: np.random.Generator, low: float, high: float) -> float:
    """Draw one number whose logarithm is uniform between those of ``low`` and ``high``."""
    return float(np.exp(rng.uniform(np.log(low), np.log(high))))


def one_of(rng: np.random.Generator, chances: Mapping[Maker, float]) -> Array:
    """Make one of several sounds, drawn by their probabilities, which add up to 1: [S]."""
    makers = list(chances)
    return makers[rng.choice(len(makers), p=list(chances.values()))](rng)


def decibels(value: float | Array) -> Array:
    """Turn decibels into an amplitude factor of the same shape."""
    return np.asarray(10.0 ** (np.asarray(value, dtype=np.float64) / 20.0))


def seconds(value: float) -> int:
    """Turn a duration in seconds into samples, at least one."""
    return max(1, int(value * SAMPLE_RATE))


def stretch(control: Array, samples: int) -> Array:
    """Interpolate control points spread evenly over a sound to one value per sample [S]."""
    return np.interp(
        np.linspace(0, len(control) - 1, samples), np.arange(len(control), dtype=float), control
    )


def contour(samples: int, points: Sequence[tuple[float, float]]) -> Array:
    """Draw straight lines through (place in 0…1, value) points: one value per sample [S]."""
    places, values = zip(*points, strict=True)
    return np.asarray(np.interp(np.linspace(0, 1, samples), places, values))


def wander(
    rng: np.random.Generator, samples: int, per_second: float, low: float, high: float
) -> Array:
    """Wander at random between two values, with some ``per_second`` turning points: [S]."""
    count = int(samples / SAMPLE_RATE * per_second) + 3
    knots = rng.uniform(low, high, count)
    start = rng.random()
    control = np.linspace(start, count - 2 + start, max(2, samples // 64))
    index = np.minimum(control.astype(np.intp), count - 2)
    weight = 0.5 - 0.5 * np.cos(np.pi * (control - index))
    return stretch(knots[index] * (1 - weight) + knots[index + 1] * weight, samples)


def swell(samples: int, attack: float, release: float) -> Array:
    """Rise and fall like a raised cosine over ``attack`` and ``release`` seconds: [S]."""
    envelope = np.ones(samples)
    rise, fall = min(seconds(attack), samples // 2), min(seconds(release), samples // 2)
    if rise > 0:
        envelope[:rise] = 0.5 - 0.5 * np.cos(np.pi * np.arange(rise) / rise)
    if fall > 0:
        envelope[-fall:] = 0.5 + 0.5 * np.cos(np.pi * np.arange(fall) / fall)
    return envelope


def level(signal: Array) -> float:
    """Root mean square of a signal, never zero."""
    return float(np.sqrt(np.mean(signal * signal)) + 1e-12)


def harmonic_tone(rng: np.random.Generator, frequency: Array, amplitudes: Array) -> Array:
    """Play harmonics of a moving fundamental from wavetables, without aliasing.

    A table per third of an octave holds the harmonics that stay below `CEILING` there.

    Args:
        rng: Draws the phases of the harmonics.
        frequency: Fundamental in Hz at every sample [S], positive.
        amplitudes: Amplitude of harmonic 1, 2, … [H].

    Returns:
        The tone [S].
    """
    lowest = max(float(frequency.min()), 1.0)
    spread = np.log2(max(float(frequency.max()), lowest) / lowest)
    levels = int(spread * _LEVELS_PER_OCTAVE) + 1
    tops = lowest * 2.0 ** (np.arange(1, levels + 1) / _LEVELS_PER_OCTAVE)
    count = min(len(amplitudes), int(CEILING / lowest), _TABLE // 8)
    order = np.arange(1, count + 1)
    # [levels, harmonics]: fades over the last kilohertz, so tables do not switch audibly
    kept = np.clip((CEILING - order[None] * tops[:, None]) / 1_000.0, 0.0, 1.0)
    spectrum = np.zeros((levels, _TABLE // 2 + 1), dtype=np.complex128)
    phases = np.exp(2j * np.pi * rng.random(count))
    spectrum[:, 1 : count + 1] = kept * amplitudes[:count] * phases
    tables = fft.irfft(spectrum, _TABLE, axis=1) * (_TABLE / 2)
    tables = np.concatenate([tables, tables[:, :1]], axis=1).ravel()
    position = (np.cumsum(frequency) / SAMPLE_RATE + rng.random()) % 1.0 * _TABLE
    index = np.minimum(position.astype(np.intp), _TABLE - 1)
    fraction = position - index
    if levels > 1:
        which = (np.log2(np.maximum(frequency, lowest) / lowest) * _LEVELS_PER_OCTAVE).astype(
            np.intp
        )
        index += np.minimum(which, levels - 1) * (_TABLE + 1)
    return np.asarray(tables[index] * (1 - fraction) + tables[index + 1] * fraction)


def random_spectrum(
    rng: np.random.Generator, frequencies: Array, tilt: float, roughness: float = 4.0
) -> Array:
    """Draw a smooth magnitude spectrum.

    Args:
        rng: Draws the bumps.
        frequencies: Hz of the bins [B].
        tilt: Slope in dB per octave.
        roughness: Standard deviation of the bumps (about two per octave) in dB.

    Returns:
        Magnitudes [B]; nothing below 20 Hz.
    """
    octave = np.log2(np.maximum(frequencies, 20.0) / 1_000.0)  # -5.6 … 3
    bumps = np.interp(octave, np.linspace(-5.7, 3.1, 18), rng.normal(0, roughness, 18))
    return np.asarray(decibels(tilt * np.maximum(octave, -4.5) + bumps) * (frequencies >= 20.0))


def band(frequencies: Array, low: float, high: float, steepness: float = 4.0) -> Array:
    """Magnitude of a smooth band-pass of two edges in Hz; ``low`` 0 means no lower edge: [B]."""
    bins = np.maximum(frequencies, 1.0)
    gain = 1.0 / np.sqrt(1.0 + (bins / high) ** (2 * steepness))
    return gain / np.sqrt(1.0 + (low / bins) ** (2 * steepness)) if low > 0 else gain


def peak(frequencies: Array, centre: float, width: float, gain_db: float) -> Array:
    """Magnitude of a bell of ``width`` octaves around ``centre`` Hz: [B]."""
    octaves = np.log2(np.maximum(frequencies, 1.0) / centre)
    return decibels(gain_db * np.exp(-0.5 * (octaves / width) ** 2))


def shaped_noise(
    rng: np.random.Generator, samples: int, frequencies: Array, magnitudes: Array
) -> Array:
    """Make stationary Gaussian noise of unit level with a given magnitude spectrum: [S]."""
    size = int(fft.next_fast_len(samples, real=True))
    bins = size // 2 + 1
    gain = np.interp(np.linspace(0, SAMPLE_RATE / 2, bins), frequencies, magnitudes)
    white = rng.standard_normal(2 * bins, dtype=np.float32).view(np.complex64)
    noise = fft.irfft(white * gain.astype(np.float32), size)[:samples].astype(np.float64)
    return np.asarray(noise / level(noise))


def tilted_noise(
    rng: np.random.Generator, samples: int, tilt: float, roughness: float = 4.0
) -> Array:
    """Make noise of unit level whose spectrum falls by ``tilt`` dB per octave with bumps: [S]."""
    return shaped_noise(rng, samples, BINS, random_spectrum(rng, BINS, tilt, roughness))


def control_points(samples: int) -> int:
    """Count the control points of a time-varying filter over ``samples`` samples."""
    return samples // HOP + 2


def control(signal: Array) -> Array:
    """Read a per-sample contour [S] at the control points of the time-varying filter: [F]."""
    index = np.minimum(np.arange(control_points(len(signal))) * HOP, len(signal) - 1)
    return signal[index]


def spectra(signal: Array) -> NDArray[np.complex128]:
    """Transform overlapping Hann-weighted frames, one per control point: [F, B]."""
    frames = control_points(len(signal))
    padded = np.zeros((frames + 1) * HOP)
    padded[HOP : HOP + len(signal)] = signal
    windows = np.lib.stride_tricks.sliding_window_view(padded, _FRAME)[::HOP]
    hann = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(_FRAME) / _FRAME)
    buffer = np.zeros((frames, _SIZE))
    buffer[:, HOP : HOP + _FRAME] = windows * hann
    return np.asarray(fft.rfft(buffer, axis=1))


def overlap_add(frames: NDArray[np.complex128], samples: int) -> Array:
    """Turn (filtered) frames of `spectra` back into a signal [S]."""
    pieces = fft.irfft(frames, _SIZE, axis=1)
    quarters = _SIZE // HOP
    out = np.zeros((len(pieces) + quarters, HOP))
    for quarter in range(quarters):
        out[quarter : quarter + len(pieces)] += pieces[:, quarter * HOP : (quarter + 1) * HOP]
    return out.reshape(-1)[2 * HOP : 2 * HOP + samples]


def formants(centres: Array, bandwidths: Array) -> Array:
    """Magnitude of resonances in cascade, as of a vocal tract.

    Source: D. H. Klatt, "Software for a cascade/parallel formant synthesizer" (1980),
    here as the magnitude of the analogue resonators, one at 0 Hz.

    Args:
        centres: Hz of each resonance at each control point [F, K].
        bandwidths: Hz of each resonance [K].

    Returns:
        Gains [F, B].
    """
    power = np.ones((len(centres), len(BINS)))
    square = BINS * BINS
    for index, width in enumerate(bandwidths):
        half = (width / 2) ** 2
        centre = (centres[:, index] ** 2)[:, None]
        # ((f-F)² + b²)((f+F)² + b²), multiplied out: one quadratic in f²
        power *= (centre + half) ** 2 / ((square + half - centre) ** 2 + 4.0 * half * centre)
    return np.asarray(np.sqrt(power))


def higher_poles(strength: float) -> Array:
    """Gain of the resonances above those that `formants` is given, rising with frequency: [B].

    Without it the cascade falls too steeply.

    Source: G. Fant, "Acoustic theory of speech production" (1960): to the first
    order the correction is exp(f² Σ 1/F_k²) over the missing resonances F_k.

    Args:
        strength: Σ 1/F_k², in 1/kHz²; 0.2 for a tract of 17 cm with five resonances given.
    """
    return np.asarray(np.exp(strength * (np.minimum(BINS, 4_500.0) / 1_000.0) ** 2))


def modes(
    rng: np.random.Generator, frequencies: Array, decays: Array, amplitudes: Array, length: int
) -> Array:
    """Ring damped modes together.

    Args:
        rng: Draws the phases.
        frequencies: Hz [M]; those above `CEILING` are left out.
        decays: Seconds to fall by 60 dB [M].
        amplitudes: Start amplitudes [M].
        length: Samples of the response.

    Returns:
        The response [length].
    """
    time = np.arange(length, dtype=np.float32) / np.float32(SAMPLE_RATE)
    out = np.zeros(length)
    for frequency, decay, amplitude in zip(frequencies, decays, amplitudes, strict=True):
        if frequency >= CEILING:
            continue
        span = min(length, seconds(decay * 1.2))
        part = time[:span]
        turn = np.float32(2 * np.pi * frequency)
        ring = np.sin(turn * part + np.float32(rng.uniform(0, 2 * np.pi)))
        out[:span] += amplitude * ring * np.exp(np.float32(-6.91 / decay) * part)
    return out


def convolve(signal: Array, response: Array) -> Array:
    """Convolve by transforms; the result has the length of ``signal``."""
    size = int(fft.next_fast_len(len(signal) + len(response), real=True))
    product = fft.rfft(signal, size) * fft.rfft(response, size)
    return np.asarray(fft.irfft(product, size)[: len(signal)])


def smooth(values: Array, width: int) -> Array:
    """Smooth along the first axis with a Hann window of ``width`` control points."""
    if width < 2:
        return values
    window = np.hanning(width + 2)[1:-1]
    window /= window.sum()
    before, after = width // 2, width - 1 - width // 2
    edges = [(before, after)] + [(0, 0)] * (values.ndim - 1)
    padded = np.pad(values, edges, mode="edge")
    out = np.zeros_like(values)
    for index, weight in enumerate(window):
        out += weight * padded[index : index + len(values)]
    return out


def trimmed(signal: Array, threshold: float = 0.01) -> Array:
    """Cut silence (below ``threshold`` times the peak) off both ends."""
    loud = np.flatnonzero(np.abs(signal) > threshold * np.abs(signal).max())
    return signal[loud[0] : loud[-1] + 1] if len(loud) else signal[:0]
