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

Samples = NDArray[np.float32]
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
    share = (places - left).astype(np.float32)[:, None]  # [N, 1]
    magnitude = np.abs(spectra)
    magnitudes = (1 - share) * magnitude[left] + share * magnitude[left + 1]  # [N, F]
    # What a bin's phase advances by over one hop, from the two frames around the place.
    angles = np.angle(spectra)
    bins = np.arange(spectra.shape[1])
    expected = 2 * np.pi * _HOP * bins / _WINDOW  # [F]
    turned = angles[left + 1] - angles[left] - expected
    advance = expected + turned - 2 * np.pi * np.round(turned / (2 * np.pi))  # [N, F]
    phases = np.empty_like(magnitudes, dtype=np.float64)
    phases[0] = angles[left[0]]
    for n in range(1, len(places)):
        owner = _peak_of_each_bin(magnitudes[n])
        peaks = phases[n - 1, owner] + advance[n - 1, owner]
        phases[n] = peaks + angles[left[n]] - angles[left[n], owner]
    result: Spectra = (magnitudes * np.exp(1j * phases)).astype(np.complex64)
    return result


def _peak_of_each_bin(magnitudes: NDArray[np.float32]) -> NDArray[np.int64]:
    """The spectral peak whose region each bin lies in [F]: the nearest one."""
    inner = magnitudes[2:-2]
    higher = (inner >= magnitudes[1:-3]) & (inner >= magnitudes[:-4])
    higher &= (inner > magnitudes[3:-1]) & (inner > magnitudes[4:])
    peaks = np.flatnonzero(higher) + 2
    bins = np.arange(magnitudes.size)
    if peaks.size == 0:
        return bins
    borders = (peaks[1:] + peaks[:-1]) / 2
    return peaks[np.searchsorted(borders, bins)]


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
