"""Which frames of a sound are active: short-time power and runs of frames."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from earmark.core.timeline import seconds_to_samples

#: Samples of a frame of this module: 10 ms.
FRAME = seconds_to_samples(0.01)


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
