"""Projector and predictor of the embedding-level loss; they never leave training."""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn

from earmark.core.config import EmbeddingSettings


class FrameHead(nn.Module):
    """Linear(no bias) → BN → ReLU → Linear(no bias) over valid frames, as in ATST-Frame.

    Batch statistics pool the valid frames only, so padding never enters.
    """

    def __init__(self, inputs: int, hidden: int, outputs: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(inputs, hidden, bias=False),
            nn.BatchNorm1d(hidden),
            nn.ReLU(),
            nn.Linear(hidden, outputs, bias=False),
        )
        self.outputs = outputs

    def forward(self, x: Tensor, valid: Tensor) -> Tensor:
        """[B, T, inputs] and valid frames [B, T] → [B, T, outputs], zero where not valid."""
        if bool(valid.all()):
            return cast(Tensor, self.layers(x.flatten(0, 1)).unflatten(0, x.shape[:2]))
        rows = self.layers(x[valid])
        result = torch.zeros(*x.shape[:2], self.outputs, dtype=rows.dtype, device=rows.device)
        result[valid] = rows
        return result


class StudentHeads(nn.Module):
    """u = pred(proj(H)); the projector is what the teacher's average follows."""

    def __init__(self, width: int, settings: EmbeddingSettings) -> None:
        super().__init__()
        self.projector = FrameHead(width, settings.hidden, settings.out)
        self.predictor = FrameHead(settings.out, settings.hidden, settings.out)

    def forward(self, embedding: Tensor, valid: Tensor) -> Tensor:
        """[B, T, width] → u [B, T, out]."""
        return cast(Tensor, self.predictor(self.projector(embedding, valid), valid))


class RunningCentre(nn.Module):
    """Running mean of the teacher's vectors, subtracted from both sides when centring is on."""

    mean: Tensor

    def __init__(self, outputs: int, momentum: float = 0.01) -> None:
        super().__init__()
        self.momentum = momentum
        self.register_buffer("mean", torch.zeros(outputs))

    @torch.no_grad()
    def update(self, z: Tensor, valid: Tensor) -> None:
        """Follow the mean of z [B, T, d] over valid frames."""
        if bool(valid.any()):
            self.mean.lerp_(z[valid].float().mean(dim=0), self.momentum)

    def forward(self, z: Tensor) -> Tensor:
        """Subtract the mean from z [B, T, d]."""
        return z - self.mean
