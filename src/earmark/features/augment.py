"""Augmentations as pure functions of a tensor and a generator."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def frequency_warp(
    mel: Tensor,
    generator: torch.Generator,
    probability: float = 0.5,
    keep: tuple[float, float] = (0.6, 1.0),
) -> Tensor:
    """Stretch a random band of each clip's log-mel over all bands; time stays as it is.

    A crop of ⌊F·U(keep)⌋ rows at a uniform offset is resized back by bicubic interpolation
    (random-resize-crop along frequency of ATST, Li et al., arXiv 2306.04186; per clip here).

    Args:
        mel: [B, F, T] scaled log-mel.
        generator: Source of the draws, on the CPU.
        probability: That a clip is warped.
        keep: Smallest and largest share of rows kept.

    Returns:
        [B, F, T], a new tensor.
    """
    batch, bands, _ = mel.shape
    chosen = torch.rand(batch, generator=generator) < probability
    shares = torch.empty(batch).uniform_(*keep, generator=generator)
    places = torch.rand(batch, generator=generator)
    warped = []
    for clip in range(batch):
        rows = min(bands, max(1, int(bands * float(shares[clip]))))
        if not chosen[clip] or rows == bands:
            warped.append(mel[clip])
            continue
        first = int(float(places[clip]) * (bands - rows + 1))
        crop = mel[clip, first : first + rows]  # [rows, T]
        size = (bands, crop.shape[1])
        resized = F.interpolate(crop[None, None], size, mode="bicubic", align_corners=True)
        warped.append(resized[0, 0])
    return torch.stack(warped)
