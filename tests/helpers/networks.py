"""Networks small enough to reason about, which still listen to the audio."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn

from earmark.core.spec import ModelSpec

RATE = 16_000


@dataclass(frozen=True)
class Spec(ModelSpec):
    labels: tuple[str, ...] = ("low", "mid", "high")
    frame_hop: int = 1024


@dataclass(frozen=True)
class Output:
    strong: Tensor
    weak: Tensor


class BandEnergy(nn.Module):
    """Each frame's energy in three bands, squashed: sees nothing outside the frame."""

    edges = (0, 1000, 3000, 8000)  # Hz

    def __init__(self, spec: Spec | None = None, scale: float = 30.0) -> None:
        super().__init__()
        self.spec = spec or Spec()
        self.scale = nn.Parameter(torch.tensor(scale))
        self.calls: list[int] = []

    def forward(self, waveforms: Tensor) -> Output:
        assert waveforms.shape[1] == self.spec.window
        assert not self.training
        self.calls.append(len(waveforms))
        hop = self.spec.frame_hop
        frames = self.spec.window // hop
        cut = waveforms[:, : frames * hop].reshape(len(waveforms), frames, hop)  # [B, T, S]
        spectrum = torch.fft.rfft(cut).abs() / hop
        bins = [round(edge * hop / self.spec.sample_rate) for edge in self.edges]
        bands = [spectrum[..., a:b].amax(-1) for a, b in pairwise(bins)]
        strong = torch.tanh(self.scale * torch.stack(bands, -1))  # [B, T, C]
        return Output(strong, strong.mean(1))


class Function(nn.Module):
    """Scores by a function of the waveforms [B, S] → [B, T, C]."""

    def __init__(self, spec: Spec, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.spec = spec
        self.function = function

    def forward(self, waveforms: Tensor) -> Output:
        strong = self.function(waveforms)
        return Output(strong, strong.mean(1))
