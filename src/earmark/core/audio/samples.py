"""Samples in memory, looked at as those of files are: shape, type, range."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from earmark.core.errors import AudioError

MOST_CHANNELS = 64
LOUDEST = 32.0
"""Samples of full scale 1 beyond this (30 dB above it) are whole numbers written as floats."""
_QUIETEST_INT32 = 2**16  # a step of 16 bits in a type of 32: below it, numbers are of fewer bits


def as_samples(values: Any, what: str, *, whole: bool = True) -> NDArray[Any]:
    """Samples [s, channels] of an array, a tensor or a list.

    Args:
        values: [s] or [s, channels], floats of full scale 1 or whole numbers of their type's scale.
        what: What they are, for messages.
        whole: They are all there is of a recording, so that their peak says something.

    Raises:
        AudioError: They are of another shape or type, masked, or whole numbers whose full scale
            cannot be known.
    """
    if hasattr(values, "detach"):  # a tensor of PyTorch, with a gradient or of a type NumPy lacks
        values = values.detach().cpu()
        if not hasattr(np, str(values.dtype).removeprefix("torch.")):
            values = values.float()
        values = values.numpy()
    if isinstance(values, np.ma.MaskedArray) and np.ma.is_masked(values):
        raise AudioError(f"{what} has masked samples", hint="Fill them (`.filled(0)`) or cut them")
    samples = np.asarray(values)
    if samples.ndim not in (1, 2) or samples.dtype.kind not in "fiu":
        raise AudioError(
            f"{what} has shape {samples.shape} and type {samples.dtype}",
            hint="Give numbers of shape [samples] or [samples, channels]",
        )
    if samples.ndim == 1:
        samples = samples[:, None]
    if samples.shape[1] > MOST_CHANNELS:
        raise AudioError(
            f"{what} has {samples.shape[1]} channels of {len(samples)} samples",
            hint="Transpose it: the shape is [samples, channels]",
        )
    if samples.dtype.kind in "iu":
        _check_whole_numbers(samples, what, whole)
    return samples


def _check_whole_numbers(samples: NDArray[Any], what: str, whole: bool) -> None:
    hint = "Give them as int16, or divide by their full scale: 32768.0 for 16 bits"
    bits = 8 * samples.dtype.itemsize
    if bits > 32 and samples.size:
        raise AudioError(f"{what} is whole numbers of {bits} bits, which no audio has", hint=hint)
    if bits == 32 and whole and samples.dtype.kind == "i":
        peak = int(np.abs(samples.astype(np.int64)).max(initial=0))
        if 0 < peak < _QUIETEST_INT32:
            raise AudioError(
                f"{what} is whole numbers of 32 bits with a peak of {peak}: numbers of fewer bits",
                hint=hint,
            )


def check_range(samples: NDArray[Any], name: str) -> None:
    """Refuse floats that are whole numbers in disguise.

    Raises:
        AudioError: The peak is far beyond full scale.
    """
    peak = float(np.abs(samples).max(initial=0.0))
    if LOUDEST < peak < np.inf:  # what is not finite is another fault
        raise AudioError(
            f"its samples reach {peak:,.0f} where full scale is 1: whole numbers written as floats",
            where=name,
            hint="Divide them by 32768 (of 16 bits), or export the recording again",
        )
