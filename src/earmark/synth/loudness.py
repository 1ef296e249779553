"""Levels of sounds: RMS, loudness (LUFS) after ITU-R BS.1770-4 as in Scaper, and what sounds.

Loudness is of mono sounds at any sample rate: the two stages of the K-weighting are made from the
analogue filters that the recommendation's coefficients for 48 kHz stand for.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy.signal import sosfilt

from earmark.core.timeline import SAMPLE_RATE, seconds_to_samples
from earmark.synth.supplier import Samples

#: Samples of a frame: 10 ms.
FRAME = seconds_to_samples(0.01)

_EMPHASIS = np.float32(0.97)
_BLOCK, _STEP = 0.4, 0.1  # seconds: blocks overlap by 75 %
_OFFSET = -0.691  # dB: so that a 997-Hz sine of full scale in one channel has -3.01 LUFS
_ABSOLUTE_GATE = -70.0  # LUFS
_RELATIVE_GATE = 10.0  # LU below the mean of what passed the absolute gate


def at_level(
    samples: Samples,
    level: float,
    measure: Literal["rms", "lufs"] = "rms",
    *,
    loud_frames: bool = False,
) -> Samples:
    """Scale a sound to a level.

    Args:
        samples: Sound [S] at 16 kHz.
        level: Wanted, in dB relative to full scale (``rms``) or in LUFS (``lufs``).
        measure: How the level is measured.
        loud_frames: RMS counts 10-ms frames within 20 dB of the loudest only, so that the pauses
            of speech or of clattering dishes do not raise the rest. (Loudness has gates for it.)

    Returns:
        Samples [S]; silence stays as it is.
    """
    if measure == "lufs":
        measured = loudness(samples)
        if np.isinf(measured):  # too quiet for the gate at -70 LUFS
            peak = float(np.max(np.abs(samples), initial=0.0))
            if peak == 0:
                return samples
            samples = samples / np.float32(peak)
            measured = loudness(samples)
        return (samples * np.float32(10 ** ((level - measured) / 20))).astype(np.float32)
    power = frame_power(samples)
    if loud_frames:
        power = power[power >= power.max() * 1e-2]
    rms = float(np.sqrt(power.mean()))
    if rms == 0:
        return samples
    return (samples * np.float32(10 ** (level / 20) / rms)).astype(np.float32, copy=False)


@lru_cache
def k_weighting(sample_rate: int = SAMPLE_RATE) -> NDArray[np.float64]:
    """The K-weighting filter as second-order sections [2, 6]: a high shelf and a high pass."""
    shelf = np.tan(np.pi * 1681.974450955533 / sample_rate)
    quality, gain = 0.7071752369554196, 10 ** (3.999843853973347 / 20)
    middle = gain**0.4996667741545416
    norm = 1 + shelf / quality + shelf**2
    stage1 = [
        (gain + middle * shelf / quality + shelf**2) / norm,
        2 * (shelf**2 - gain) / norm,
        (gain - middle * shelf / quality + shelf**2) / norm,
        1.0,
        2 * (shelf**2 - 1) / norm,
        (1 - shelf / quality + shelf**2) / norm,
    ]
    high, quality = np.tan(np.pi * 38.13547087602444 / sample_rate), 0.5003270373238773
    norm = 1 + high / quality + high**2
    stage2 = [
        1.0, -2.0, 1.0,
        1.0, 2 * (high**2 - 1) / norm, (1 - high / quality + high**2) / norm,
    ]  # fmt: skip
    return np.array([stage1, stage2])


def loudness(samples: Samples, sample_rate: int = SAMPLE_RATE) -> float:
    """Integrated loudness in LUFS.

    Args:
        samples: Sound [S]; one shorter than a block of 0.4 s is repeated to fill it.
        sample_rate: Samples per second.

    Returns:
        LUFS; -inf where nothing passes the gate at -70 LUFS.
    """
    block, step = seconds_to_samples(_BLOCK, sample_rate), seconds_to_samples(_STEP, sample_rate)
    if samples.size == 0:
        return -np.inf
    if samples.size < block:
        samples = np.resize(samples, block)
    weighted = sosfilt(k_weighting(sample_rate), samples.astype(np.float64))
    sums = np.concatenate(([0.0], np.cumsum(weighted**2)))
    starts = np.arange(0, samples.size - block + 1, step)
    power = np.maximum(sums[starts + block] - sums[starts], 0) / block  # [blocks]
    power = power[power > _power(_ABSOLUTE_GATE)]
    if power.size == 0:
        return -np.inf
    power = power[power > power.mean() * 10 ** (-_RELATIVE_GATE / 10)]
    return float(_OFFSET + 10 * np.log10(power.mean()))


def _power(lufs: float) -> float:
    return float(10 ** ((lufs - _OFFSET) / 10))


def level_power(level: float, measure: Literal["rms", "lufs"] = "rms") -> float:
    """Mean square of a sound at a level; of its K-weighted samples if that is in LUFS."""
    return _power(level) if measure == "lufs" else float(10 ** (level / 10))


def heard_power(samples: Samples, measure: Literal["rms", "lufs"] = "rms") -> NDArray[np.float64]:
    """Mean square of each 10-ms frame [T], weighted as the measure of levels is."""
    if measure == "lufs" and samples.size:
        samples = sosfilt(k_weighting(), samples.astype(np.float64)).astype(np.float32)
    return frame_power(samples)


def frame_power(samples: NDArray[np.float32]) -> NDArray[np.float64]:
    """Mean square of each 10-ms frame.

    Args:
        samples: Sound [S] at 16 kHz.

    Returns:
        Power [T], T = ⌈S / FRAME⌉; a last, shorter frame counts by its own length.
    """
    if samples.size == 0:
        return np.zeros(0)
    squares = np.square(samples, dtype=np.float64)
    edges = np.arange(0, samples.size, FRAME)
    power: NDArray[np.float64] = np.add.reduceat(squares, edges)
    return power / np.diff(np.append(edges, samples.size))


def runs(active: NDArray[np.bool_], bridge: int = 0) -> list[tuple[int, int]]:
    """Half-open index ranges of the runs of True; gaps of up to ``bridge`` frames are bridged."""
    edges = np.diff(np.concatenate(([0], active.astype(np.int8), [0])))
    starts, stops = np.flatnonzero(edges == 1), np.flatnonzero(edges == -1)
    joined: list[tuple[int, int]] = []
    for start, stop in zip(starts.tolist(), stops.tolist(), strict=True):
        if joined and start - joined[-1][1] <= bridge:
            joined[-1] = (joined[-1][0], stop)
        else:
            joined.append((start, stop))
    return joined


@dataclass(frozen=True)
class EnergyGate:
    """An energy gate with hysteresis; levels are dB relative to the recording's loudest frame.

    A frame opens the gate above ``hold_db`` + ``hysteresis_db`` and keeps it open above
    ``hold_db``; gaps up to ``hangover`` seconds are bridged. Above a steady noise floor the gate
    rises ``floor_margin_db`` over it, though never beyond ``highest_hold_db``, so that the room's
    hiss around a bark is no part of the bark while a steady sound is kept whole.
    """

    hold_db: float = -35.0
    highest_hold_db: float = -25.0
    floor_margin_db: float = 3.0
    hysteresis_db: float = 10.0
    hangover: float = 0.4


DEFAULT_GATE = EnergyGate()


def active_parts(samples: Samples, gate: EnergyGate = DEFAULT_GATE) -> list[tuple[int, int]]:
    """Find the stretches of a recording in which something sounds.

    Args:
        samples: Recording [S] at 16 kHz.
        gate: When it counts as sounding.

    Returns:
        Half-open sample ranges, in order, each on the gate's 10-ms grid (the last one may end at
        S); empty for silence.
    """
    if samples.size == 0:
        return []
    # The ear cares little about rumble; without pre-emphasis a hum before a sound opens the gate.
    emphasised = samples - _EMPHASIS * np.append(samples[:1], samples[:-1])
    power = frame_power(emphasised)  # [T]
    if not np.any(power):
        return []
    with np.errstate(divide="ignore"):
        levels = 10 * np.log10(power / power.max())  # -inf for digital silence
    floor = float(np.percentile(levels, 10, method="lower"))  # -inf cannot be interpolated
    hold = max(gate.hold_db, min(floor + gate.floor_margin_db, gate.highest_hold_db))
    bridge = seconds_to_samples(gate.hangover) // FRAME
    # A run that is never loud enough to open the gate does not count, nor bridge a gap.
    opened = np.zeros(levels.size, dtype=np.bool_)
    for start, stop in runs(levels >= hold):
        opened[start:stop] = levels[start:stop].max() >= hold + gate.hysteresis_db
    return [(a * FRAME, min(b * FRAME, samples.size)) for a, b in runs(opened, bridge)]
