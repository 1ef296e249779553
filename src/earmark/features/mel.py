"""The HTK mel scale, without PyTorch."""

from __future__ import annotations

import math


def hertz_to_mel(hertz: float) -> float:
    """M = 2595·log10(1 + f/700)."""
    return 2595.0 * math.log10(1.0 + hertz / 700.0)


def mel_to_hertz(mel: float) -> float:
    """The inverse of `hertz_to_mel`."""
    return 700.0 * (math.pow(10.0, mel / 2595.0) - 1.0)
