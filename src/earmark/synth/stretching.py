"""Pitch and tempo of a sound, each changed without the other.

A phase vocoder with phases locked to the spectral peaks (Laroche and Dolson, "Improved phase
vocoder time-scale modification of audio", IEEE Trans. Speech Audio Process. 7, 1999) changes the
duration; resampling changes pitch and duration together, and the two combined the pitch alone.
"""

from __future__ import annotations

import numpy as np
import soxr
from numpy.typing import NDArray
from scipy import fft
from scipy.signal import get_window

from earmark.core.timeline import SAMPLE_RATE
from earmark.synth.supplier import Samples

Spectra = NDArray[np.complex64]

_WINDOW = 1024  # 64 ms at 16 kHz
_HOP = 256
_LEAST = 64  # samples; nothing shorter comes out


def change(samples: Samples, semitones: float = 0.0, factor: float = 1.0) -> Samples:
    """Shift the pitch and stretch the time.

    Args:
        samples: Sound [S] at 16 kHz.
        semitones: Upwards where positive; the duration stays.
        factor: Of the duration: 2 is twice as long at the same pitch.

    Returns:
        Samples [about S · factor]; the very array where nothing is changed.
    """
    if (semitones == 0 and factor == 1) or samples.size == 0:
        return samples
    ratio = 2 ** (semitones / 12)
    target = max(_LEAST, round(samples.size * factor))
    longer = stretch(samples, factor * ratio)
    if semitones == 0:
        return longer
    # Played faster by the ratio: the pitch rises, and the length is the one asked for.
    played = soxr.resample(longer, SAMPLE_RATE * ratio, SAMPLE_RATE, quality="HQ")
    return _fitted(np.asarray(played, dtype=np.float32), target)


def stretch(samples: Samples, factor: float) -> Samples:
    """Change the duration by a factor; the pitch stays.

    Args:
        samples: Sound [S].
        factor: Of the duration.

    Returns:
        Samples [S · factor, rounded].
    """
    if factor == 1 or samples.size == 0:
        return samples
    target = max(_LEAST, round(samples.size * factor))
    spectra = _analysed(samples)  # [T, F]
    count = -(-target // _HOP) + 1
    places = np.minimum(np.arange(count) / factor, len(spectra) - 1.001)
    return _synthesised(_moved(spectra, np.maximum(places, 0.0)), target)


def _analysed(samples: Samples) -> Spectra:
    """Short-time spectra [T, F], T ≥ 2; frame t is centred on sample t · hop."""
    padded = np.pad(samples, (_WINDOW // 2, _WINDOW + _HOP))
    frames = np.lib.stride_tricks.sliding_window_view(padded, _WINDOW)[::_HOP]
    frames = frames[: samples.size // _HOP + 2]
    spectra: Spectra = fft.rfft(frames * _window(), axis=1)
    return spectra


def _moved(spectra: Spectra, places: NDArray[np.float64]) -> Spectra:
    """Spectra at places between the frames, their phases going on from one to the next.

    Args:
        spectra: [T, F].
        places: [N] frame positions in [0, T - 1).

    Returns:
        [N, F] for synthesis at the hop of the analysis.
    """
    left = places.astype(np.int64)
    weight = (places - left).astype(np.float32)[:, None]  # [N, 1]
    magnitude, angles = np.abs(spectra), np.angle(spectra)  # [T, F]
    magnitudes = (1 - weight) * magnitude[left] + weight * magnitude[left + 1]  # [N, F]
    owner = _nearest_peaks(magnitudes)
    # A bin's phase advances as its peak's does between the two frames around the place (over one
    # hop, up to several cycles), and keeps the angle it has to the peak.
    advance = np.take_along_axis((angles[1:] - angles[:-1])[left], owner, axis=1)
    relative = angles[left] - np.take_along_axis(angles[left], owner, axis=1)
    phases = np.empty(magnitudes.shape)
    phases[0] = angles[left[0]]
    for n in range(1, len(places)):
        phases[n] = phases[n - 1][owner[n]] + advance[n] + relative[n]
    wrapped = (phases % (2 * np.pi)).astype(np.float32)
    result = np.empty(magnitudes.shape, dtype=np.complex64)
    np.multiply(magnitudes, np.cos(wrapped), out=result.real)
    np.multiply(magnitudes, np.sin(wrapped), out=result.imag)
    return result


def _nearest_peaks(magnitudes: NDArray[np.float32]) -> NDArray[np.int64]:
    """For each bin of frames [N, F] the nearest bin that is higher than two on either side."""
    bins = magnitudes.shape[1]
    inner = magnitudes[:, 2:-2]
    higher = (inner >= magnitudes[:, 1:-3]) & (inner >= magnitudes[:, :-4])
    higher &= (inner > magnitudes[:, 3:-1]) & (inner > magnitudes[:, 4:])
    peak = np.pad(higher, ((0, 0), (2, 2)))
    number = np.arange(bins)
    below = np.maximum.accumulate(np.where(peak, number, -bins), axis=1)
    above = np.minimum.accumulate(np.where(peak, number, 2 * bins)[:, ::-1], axis=1)[:, ::-1]
    nearest = np.where(number - below <= above - number, below, above)
    # A frame without any peak (silence) has nothing to lock to: each bin for itself.
    return np.where((nearest >= 0) & (nearest < bins), nearest, number)


def _synthesised(spectra: Spectra, size: int) -> Samples:
    """Overlap-add frames [N, F], each centred on its multiple of the hop: [size]."""
    frames = fft.irfft(spectra, _WINDOW, axis=1) * _window()  # [N, W]
    total = (len(frames) - 1) * _HOP + _WINDOW
    result = np.zeros(total, dtype=np.float64)
    weight = np.zeros(total, dtype=np.float64)
    square = _window().astype(np.float64) ** 2
    for n, frame in enumerate(frames):
        result[n * _HOP : n * _HOP + _WINDOW] += frame
        weight[n * _HOP : n * _HOP + _WINDOW] += square
    result /= np.maximum(weight, 1e-3)
    return _fitted(result[_WINDOW // 2 :].astype(np.float32), size)


def _fitted(samples: Samples, size: int) -> Samples:
    """Exactly so many samples: cut, or filled with zeros."""
    return np.pad(samples[:size], (0, max(0, size - samples.size)))


def _window() -> NDArray[np.float32]:
    window: NDArray[np.float32] = get_window("hann", _WINDOW).astype(np.float32)
    return window
