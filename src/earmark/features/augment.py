"""Augmentations as pure functions of a tensor and a generator."""

from __future__ import annotations

from itertools import pairwise
from typing import Literal

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


def filter_augment(
    mel: Tensor,
    generator: torch.Generator,
    probability: float,
    *,
    power: int,
    kind: Literal["step", "linear"] = "linear",
    bands: tuple[int, int] = (3, 6),
    decibels: tuple[float, float] = (-6.0, 6.0),
    narrowest: int = 6,
) -> Tensor:
    """Filter each clip as a room, a wall or a microphone would (FilterAugment).

    H. Nam, S.-H. Kim, Y.-H. Park, "FilterAugment: An acoustic environmental data augmentation
    method", ICASSP 2022 (arXiv 2110.03282). Of a mel X in F bands, n ~ U{bands} regions are cut at
    random band edges 0 = b_0 < … < b_n = F, and

        step:   Y[f, t] = X[f, t] · g(w_k),                                 b_k ≤ f < b_(k+1)
        linear: Y[f, t] = X[f, t] · g(w_k + (w_(k+1) − w_k)·(f − b_k)/(b_(k+1) − b_k))

    with w ~ U(decibels), n of them for ``step`` and n + 1 for ``linear``, and g(w) = 10^(w/20) of a
    magnitude, 10^(w/10) of a power. It is the addition of w to the log-mel, before any clamping or
    scaling. Drawn for each clip (the authors draw for each batch).

    Args:
        mel: [B, F, T] linear mel.
        generator: Source of the draws, on the CPU.
        probability: That a clip is filtered.
        power: 1 for magnitudes, 2 for powers.
        kind: Constant within a region, or linear between its edges.
        bands: Fewest and most regions.
        decibels: Smallest and largest gain.
        narrowest: Bands that a region has at least; fewer where they would not fit.

    Returns:
        [B, F, T], a new tensor.
    """
    count = mel.shape[1]
    gains = torch.zeros(len(mel), count)
    for clip in range(len(mel)):
        chosen = float(torch.rand((), generator=generator)) < probability
        regions = int(torch.randint(bands[0], bands[1] + 1, (), generator=generator))
        regions = min(regions, count)
        least = max(1, min(narrowest, count // regions))
        # Cuts of what is left when every region has its least: uniform over all divisions.
        room = count - regions * least
        cuts = torch.randint(0, room + 1, (regions - 1,), generator=generator).sort().values
        edges = [0, *(cuts + least * torch.arange(1, regions)).tolist(), count]
        low, high = decibels
        weights = low + (high - low) * torch.rand(regions + 1, generator=generator)
        if not chosen:
            continue
        for number, (first, last) in enumerate(pairwise(edges)):
            start, end = float(weights[number]), float(weights[number + 1])
            slope = 0.0 if kind == "step" else (end - start) / (last - first)
            gains[clip, first:last] = start + slope * torch.arange(last - first)
    factors = 10.0 ** (gains / (20.0 if power == 1 else 10.0))
    return mel * factors.to(mel.device, mel.dtype)[:, :, None]


def time_mask(
    mel: Tensor,
    generator: torch.Generator,
    probability: float,
    frames: tuple[int, int],
) -> Tensor:
    """Silence a stretch of each clip (SpecAugment's time mask).

    D. S. Park et al., "SpecAugment", Interspeech 2019 (arXiv 1904.08779), section 2: of T frames
    [t_0, t_0 + n) are masked, n ~ U{frames}, t_0 ~ U{0, …, T − n}. They take the clip's lowest
    value, as of silence (the paper's mean is a sound in a scaled log-mel).

    Args:
        mel: [B, F, T] scaled log-mel.
        generator: Source of the draws, on the CPU.
        probability: That a clip is masked.
        frames: Fewest and most masked frames.

    Returns:
        [B, F, T], a new tensor.
    """
    total, masked = mel.shape[2], mel.clone()
    for clip in range(len(mel)):
        chosen = float(torch.rand((), generator=generator)) < probability
        low, high = (min(number, total) for number in frames)
        length = int(torch.randint(low, high + 1, (), generator=generator))
        first = int(torch.randint(0, total - length + 1, (), generator=generator))
        if chosen:
            masked[clip, :, first : first + length] = mel[clip].min()
    return masked
