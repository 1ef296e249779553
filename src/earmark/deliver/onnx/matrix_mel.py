"""The log-mel front-end as a few products of constant matrices, for runtimes without a good FFT.

An exported network holds its front-end. ONNX has an STFT operator, but runtimes are slow at it;
what all of them do well is multiply matrices. So the transform of N = N₁·N₂ points is taken in two
steps (Cooley and Tukey 1965), each a product with a constant:

    X[k₁ + N₁k₂] = Σ_{n₂} W_N^{n₂k₁} W_{N₂}^{n₂k₂} Σ_{n₁} W_{N₁}^{n₁k₁} x[N₂n₁ + n₂]

Of a real signal k₁ = 0 … N₁/2 is enough: the other bins mirror these, and only their power is
asked for. The bins come out in another order than those of an FFT; the mel filters are put in that
order beforehand, so nothing is ever sorted.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from earmark.core.config import FrontendSettings
from earmark.core.errors import ConfigError
from earmark.features.frontend import LogMel


class MatrixLogMel(LogMel):
    """`LogMel` of waveforms [B, samples] of one fixed length: the same numbers by other means.

    Args:
        settings: The front-end's.
        samples: Length of every waveform.

    Raises:
        ConfigError: If the transform's length cannot be split in two or exceeds the waveform.
    """

    index: Tensor
    first: Tensor
    second: Tensor
    ordered_filters: Tensor

    def __init__(self, settings: FrontendSettings, samples: int) -> None:
        super().__init__(settings)
        n_fft, hop = settings.n_fft, settings.hop
        if samples <= n_fft // 2:
            raise ConfigError(
                f"windows of {samples} samples are too short for a transform of {n_fft}"
            )
        self.frames = 1 + samples // hop
        self.block = math.gcd(hop, n_fft)  # frames are put together from whole blocks
        starts = torch.arange(self.frames)[:, None] * (hop // self.block)
        index = starts + torch.arange(n_fft // self.block)  # [frames, blocks of a frame]
        self.register_buffer("index", index.flatten(), False)
        self.rows = _split(n_fft)
        first, second, bins = two_steps(n_fft, self.rows)
        self.register_buffer("first", first, False)
        self.register_buffer("second", second, False)
        places = torch.zeros(len(bins), 1)
        places[np.unique(bins.numpy(), return_index=True)[1]] = 1.0  # two may hold the same bin
        self.register_buffer("ordered_filters", self.filters[bins] * places, False)

    def linear(self, waveforms: Tensor) -> Tensor:
        """Magnitude or power mel: [B, samples] → [B, n_mels, frames]."""
        settings, half = self.settings, self.settings.n_fft // 2
        padded = functional.pad(waveforms.unsqueeze(1), (half, half), mode="reflect").squeeze(1)
        used = (self.frames - 1) * settings.hop + settings.n_fft
        blocks = padded[:, :used].reshape(-1, used // self.block, self.block)
        frames = blocks.index_select(1, self.index).reshape(-1, settings.n_fft)  # [B·L, N]
        folded = (frames * self.window).reshape(-1, self.rows, settings.n_fft // self.rows)
        partial = torch.matmul(self.first, folded)  # [B·L, (N₁/2 + 1)·2, N₂]
        partial = partial.reshape(-1, *self.second.shape[:2]).transpose(0, 1)
        spectrum = torch.matmul(partial, self.second)  # [N₁/2 + 1, B·L, 2·N₂]
        real, imaginary = (spectrum * spectrum).chunk(2, dim=-1)
        power = (real + imaginary).transpose(0, 1)  # [B·L, N₁/2 + 1, N₂]
        power = power.reshape(-1, self.frames, self.ordered_filters.shape[0])
        if settings.power == 1:
            power = power.sqrt()
        return torch.matmul(power, self.ordered_filters).transpose(1, 2)


def _split(n_fft: int) -> int:
    """N₁, even, near the square root of N = N₁·N₂: the fewest operations."""
    divisors = [n for n in range(2, n_fft + 1, 2) if n_fft % n == 0]
    if not divisors:
        raise ConfigError(f"a transform of {n_fft} points is odd", hint="Use an even n_fft")
    return min(divisors, key=lambda n: abs(math.log(n * n / n_fft)))


def two_steps(n_fft: int, rows: int) -> tuple[Tensor, Tensor, Tensor]:
    """The constants of both steps.

    Args:
        n_fft: N.
        rows: N₁, an even divisor of N.

    Returns:
        The first step's [(N₁/2 + 1)·2, N₁], real and imaginary rows alternating; the second's
        [N₁/2 + 1, 2·N₂, 2·N₂], real and imaginary halves; and the bin of the one-sided spectrum
        [(N₁/2 + 1)·N₂] that each place of the result holds.
    """
    columns = n_fft // rows
    k1 = torch.arange(rows // 2 + 1)
    n1, n2 = torch.arange(rows), torch.arange(columns)
    angle = _turns(k1[:, None] * n1, rows)
    first = torch.stack([angle.cos(), angle.sin()], dim=1).flatten(0, 1)
    k = k1[:, None] + rows * n2  # [N₁/2 + 1, N₂] bins k₁ + N₁k₂
    angle = _turns(n2[None, :, None] * k[:, None, :], n_fft)  # [N₁/2 + 1, n₂, k₂]
    cosine, sine = angle.cos(), angle.sin()
    second = torch.cat([torch.cat([cosine, sine], 2), torch.cat([-sine, cosine], 2)], 1)
    bins = torch.where(k > n_fft // 2, n_fft - k, k).flatten()
    return first.float(), second.float(), bins


def _turns(numerator: Tensor, denominator: int) -> Tensor:
    """-2π·numerator / denominator in double precision, whole turns taken off first."""
    return (numerator % denominator).double() * (-2.0 * math.pi / denominator)
