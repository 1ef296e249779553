"""From tokens at their own times to the frames of a detector, and back."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional


def align_tokens(
    tokens: Tensor,
    frames: int,
    how: Literal["adaptive", "exact"],
    token_hop: float,
    frame_hop: float,
    start: float = 0.0,
) -> Tensor:
    """Bring tokens onto the grid of output frames.

    Args:
        tokens: [B, N, D]; token t covers the samples start + [t, t + 1)·token_hop.
        frames: T.
        how: ``adaptive`` is ATST-SED v1's adaptive average pooling, which spreads all tokens
            over all frames whatever times they have; ``exact`` gives frame f the mean of the
            tokens weighted by their overlap with [f, f + 1)·frame_hop.
        token_hop: Samples of a token.
        frame_hop: Samples of a frame.
        start: Samples from the clip's start to the first token's.

    Returns:
        [B, T, D].
    """
    if how == "adaptive":
        return functional.adaptive_avg_pool1d(tokens.transpose(1, 2), frames).transpose(1, 2)
    weights = overlap_weights(frames, tokens.shape[1], token_hop, frame_hop, start)
    return torch.matmul(weights.to(tokens), tokens)


def overlap_weights(
    frames: int, tokens: int, token_hop: float, frame_hop: float, start: float = 0.0
) -> Tensor:
    """Share of each token in each frame: [T, N], rows sum to 1.

    A frame before the first token or after the last one takes that token.
    """
    frame_start = torch.arange(frames, dtype=torch.float64)[:, None] * frame_hop  # [T, 1]
    token_start = torch.arange(tokens, dtype=torch.float64)[None, :] * token_hop + start  # [1, N]
    first = torch.maximum(frame_start, token_start)
    last = torch.minimum(frame_start + frame_hop, token_start + token_hop)
    overlap = (last - first).clamp(min=0)  # samples, [T, N]
    early, late = frame_start[:, 0] + frame_hop <= start, frame_start[:, 0] >= token_start[0, -1]
    alone = overlap.sum(dim=1) == 0
    overlap[:, 0] = torch.where(alone & early, 1.0, overlap[:, 0])
    overlap[:, -1] = torch.where(alone & late, 1.0, overlap[:, -1])
    return (overlap / overlap.sum(dim=1, keepdim=True)).float()
