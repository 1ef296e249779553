"""Audio of another domain: the same sounds in another room, through another microphone.

Every function here is pure: samples in, new samples out, all randomness from the generator. None
moves a sound in time (the direct path of a room stays at its sample, equalisers have zero phase),
so labels made for the dry audio stay exact.
"""

from __future__ import annotations

from typing import Annotated

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator
from scipy import fft
from scipy.signal import lfilter

from earmark.core.config import Proportion, Settings
from earmark.core.timeline import SAMPLE_RATE, seconds_to_samples
from earmark.synth.supplier import Samples

Range = tuple[float, float]

_ZERO_PHASE_MARGIN = seconds_to_samples(0.1)  # room for an equaliser's two-sided response


class DomainSettings(Settings):
    """How audio of another domain differs; ranges are drawn from uniformly, once a clip.

    Attributes:
        reverberation: Probability that a clip is reverberant.
        rt60: Seconds in which the reverberation falls by 60 dB.
        direct_db: Direct-to-reverberant energy ratio, dB.
        equalisation: Probability of an equaliser of ``bands`` smooth bands and a tilt.
        equalisation_db: Largest gain or cut of a band, and of the tilt over the whole range.
        bands: Number of the equaliser's bands, spaced evenly in log frequency.
        band_limit: Probability of a cheap microphone's band limits.
        low_cut: Its lower limit, Hz (12 dB per octave below).
        high_cut: Its upper limit, Hz (24 dB per octave above).
        noise: Probability of sensor noise.
        noise_db: Level of the sensor noise relative to the clip's peak, dB.
        clipping: Probability of mild soft clipping.
        drive: How far the clip's peak is driven into the saturation (1 is hardly audible).
        level_db: Peak of the result relative to full scale, dB.
    """

    reverberation: Proportion = 0.8
    rt60: Range = (0.15, 0.9)
    direct_db: Range = (0.0, 15.0)
    equalisation: Proportion = 0.9
    equalisation_db: Annotated[float, Field(ge=0, le=24)] = 6.0
    bands: Annotated[int, Field(ge=2, le=16)] = 5
    band_limit: Proportion = 0.5
    low_cut: Range = (40.0, 250.0)
    high_cut: Range = (4000.0, 7800.0)
    noise: Proportion = 0.9
    noise_db: Range = (-75.0, -45.0)
    clipping: Proportion = 0.25
    drive: Range = (0.5, 1.5)
    level_db: Range = (-20.0, 0.0)

    @model_validator(mode="after")
    def _ranges_hold(self) -> DomainSettings:
        for name in ("rt60", "direct_db", "low_cut", "high_cut", "noise_db", "drive", "level_db"):
            low, high = getattr(self, name)
            if low > high:
                raise ValueError(f"{name}: use [{high:g}, {low:g}], the lower limit first")
        for name in ("rt60", "low_cut", "high_cut", "drive"):
            if getattr(self, name)[0] <= 0:
                raise ValueError(f"{name} must be above 0")
        if self.rt60[1] > 5:
            raise ValueError("rt60 must be at most 5 seconds")
        if self.level_db[1] > 0:
            raise ValueError("level_db must be at most 0: louder clips would be clipped")
        return self


def apply_domain(samples: Samples, settings: DomainSettings, rng: np.random.Generator) -> Samples:
    """Carry a clip over into another domain.

    Args:
        samples: Clip [S] at 16 kHz.
        settings: What may happen to it.
        rng: Source of all randomness; the number of values drawn depends on the settings only
            through what they switch on.

    Returns:
        Samples [S], the sounds at the times they had, peak at most 1. Silence stays as it is.
    """
    if samples.size == 0 or not np.any(samples):
        return samples.astype(np.float32, copy=True)
    output = samples
    if rng.random() < settings.reverberation:
        response = room_response(rng.uniform(*settings.rt60), rng.uniform(*settings.direct_db), rng)
        output = reverberate(output, response)
    output = _microphone(output, settings, rng)
    if rng.random() < settings.noise:
        output = add_noise(output, rng.uniform(*settings.noise_db), rng)
    if rng.random() < settings.clipping:
        output = soft_clip(output, rng.uniform(*settings.drive))
    return set_peak(output, rng.uniform(*settings.level_db))


def room_response(rt60: float, direct_db: float, rng: np.random.Generator) -> Samples:
    """Draw the impulse response of a synthetic room: direct path, early echoes, decaying noise.

    The late part is Gaussian noise under an exponential decay, the statistical model of a
    diffuse field (Polack 1988); its high frequencies, which air and soft furniture swallow,
    decay faster.

    Args:
        rt60: Seconds until the reverberation has fallen by 60 dB.
        direct_db: Energy of the direct path over that of all the rest, dB.
        rng: Source of all randomness.

    Returns:
        Response [R] at 16 kHz; sample 0 is the direct path and is 1.
    """
    length = max(seconds_to_samples(rt60), 64)
    time = np.arange(length) / SAMPLE_RATE
    noise = rng.standard_normal(length)
    pole = np.exp(-2 * np.pi * rng.uniform(800.0, 3000.0) / SAMPLE_RATE)
    low = lfilter([1 - pole], [1, -pole], noise)
    decay = np.log(1000.0) / rt60  # 60 dB in amplitude
    tail = low * np.exp(-decay * time)
    tail += (noise - low) * np.exp(-decay * rng.uniform(1.2, 2.5) * time)
    first = seconds_to_samples(rng.uniform(0.001, 0.01))  # no echo arrives before this
    tail[: min(first, length // 2)] = 0.0
    early = rng.integers(first, first + seconds_to_samples(0.03), size=6)
    early = early[early < length]
    tail[early] += rng.choice([-3.0, 3.0], size=early.size) * np.exp(-decay * time[early])
    tail *= np.sqrt(10 ** (-direct_db / 10) / np.sum(tail**2))
    tail[0] = 1.0
    response: Samples = tail.astype(np.float32)
    return response


def reverberate(samples: Samples, response: Samples) -> Samples:
    """Convolve a clip [S] with a causal response [R]; the result keeps the clip's length."""
    size = fft.next_fast_len(samples.size + response.size - 1, True)
    spectrum = fft.rfft(samples, size) * fft.rfft(response, size)
    result: Samples = fft.irfft(spectrum, size)[: samples.size].astype(np.float32)
    return result


def equalise(
    samples: Samples, frequencies: NDArray[np.float64], gains_db: NDArray[np.float64]
) -> Samples:
    """Filter a clip with a smooth zero-phase gain curve.

    Args:
        samples: Clip [S] at 16 kHz.
        frequencies: Frequencies [N] the curve is given at, Hz, increasing and above 0.
        gains_db: Gains [N] there, dB; between them the curve is linear in log frequency, beyond
            them constant.

    Returns:
        Samples [S].
    """
    size = fft.next_fast_len(samples.size + _ZERO_PHASE_MARGIN, True)
    # The curve is smooth, so a coarse grid carries it; a fine one would cost more than the FFT.
    coarse = np.geomspace(20.0, SAMPLE_RATE / 2, 256)
    curve = 10 ** (np.interp(np.log(coarse), np.log(frequencies), gains_db) / 20)
    bins = np.arange(size // 2 + 1) * (SAMPLE_RATE / size)
    gain = np.interp(bins, coarse, curve).astype(np.float32)
    result: Samples = fft.irfft(fft.rfft(samples, size) * gain, size)[: samples.size]
    return result


def add_noise(samples: Samples, level_db: float, rng: np.random.Generator) -> Samples:
    """Add white sensor noise of an RMS so many dB from the clip's peak (usually below: < 0)."""
    scale = np.float32(np.max(np.abs(samples)) * 10 ** (level_db / 20))
    return samples + scale * rng.standard_normal(samples.size, dtype=np.float32)


def soft_clip(samples: Samples, drive: float) -> Samples:
    """Saturate a clip as an overdriven input does: tanh, the peak at ``drive`` before it."""
    peak = np.max(np.abs(samples), initial=0.0)
    if peak == 0:
        return samples.copy()
    clipped: Samples = np.tanh(samples * np.float32(drive / peak))
    return clipped


def set_peak(samples: Samples, level_db: float) -> Samples:
    """Scale a clip so that its peak is so many dB from full scale; silence stays silence."""
    peak = np.max(np.abs(samples), initial=0.0)
    if peak == 0:
        return samples.copy()
    return (samples * np.float32(10 ** (level_db / 20) / peak)).astype(np.float32)


def _microphone(samples: Samples, settings: DomainSettings, rng: np.random.Generator) -> Samples:
    """The colour of a microphone: an equaliser, a tilt and band limits as one gain curve."""
    frequencies = np.geomspace(30.0, SAMPLE_RATE / 2, 64)
    gains = np.zeros(frequencies.size)
    if rng.random() < settings.equalisation:
        limit = settings.equalisation_db
        octaves = np.log2(frequencies)
        centres = np.linspace(octaves[0], octaves[-1], settings.bands)
        width = (octaves[-1] - octaves[0]) / (settings.bands - 1)
        distance = (octaves[:, None] - centres[None, :]) / width  # [64, bands]
        weights = np.maximum(1 - np.abs(distance), 0)
        gains += (weights**2 * (3 - 2 * weights)) @ rng.uniform(-limit, limit, settings.bands)
        gains += rng.uniform(-limit, limit) * np.linspace(-0.5, 0.5, frequencies.size)
    if rng.random() < settings.band_limit:
        low, high = rng.uniform(*settings.low_cut), rng.uniform(*settings.high_cut)
        gains -= 10 * np.log10(1 + (low / frequencies) ** 4)
        gains -= 10 * np.log10(1 + (frequencies / high) ** 8)
    if not np.any(gains):
        return samples
    return equalise(samples, frequencies, gains)
