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
    groups: Tensor | None = None,
) -> Tensor:
    """Stretch a random band of each clip's log-mel over all bands; time stays as it is.

    A crop of ⌊F·U(keep)⌋ rows at a uniform offset is resized back by bicubic interpolation
    (random-resize-crop along frequency of ATST, Li et al., arXiv 2306.04186).

    Args:
        mel: [B, F, T] scaled log-mel.
        generator: Source of the draws, on the CPU.
        probability: That a clip, or a group, is warped.
        keep: Smallest and largest share of rows kept.
        groups: [B] numbers; clips of one number share a crop. By default each has its own.

    Returns:
        [B, F, T], a new tensor.
    """
    bands = mel.shape[1]
    members: list[slice | Tensor] = [slice(clip, clip + 1) for clip in range(len(mel))]
    if groups is not None:
        members = [groups == group for group in torch.unique(groups)]
    count = len(members)
    chosen = torch.rand(count, generator=generator) < probability
    shares = torch.empty(count).uniform_(*keep, generator=generator)
    places = torch.rand(count, generator=generator)
    warped = mel.clone()
    for number, clips in enumerate(members):
        rows = min(bands, max(1, int(bands * float(shares[number]))))
        if not chosen[number] or rows == bands:
            continue
        first = int(float(places[number]) * (bands - rows + 1))
        crop = mel[clips, None, first : first + rows]  # [b, 1, rows, T]
        size = (bands, crop.shape[3])
        resized = F.interpolate(crop, size, mode="bicubic", align_corners=True)
        warped[clips] = resized.squeeze(1)
    return warped
