"""From tokens at their own times to the frames of a detector, and back."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from torch import Tensor


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
    import torch
    from torch.nn import functional

    if how == "adaptive":
        return functional.adaptive_avg_pool1d(tokens.transpose(1, 2), frames).transpose(1, 2)
    weights = overlap_weights(frames, tokens.shape[1], token_hop, frame_hop, start)
    return torch.matmul(torch.from_numpy(weights).to(tokens), tokens)


def overlap_weights(
    frames: int, tokens: int, token_hop: float, frame_hop: float, start: float = 0.0
) -> NDArray[np.float32]:
    """Share of each token in each frame: [T, N], rows sum to 1.

    A frame before the first token or after the last one takes that token.
    """
    frame_start = np.arange(frames, dtype=np.float64)[:, None] * frame_hop  # [T, 1]
    token_start = np.arange(tokens, dtype=np.float64)[None, :] * token_hop + start  # [1, N]
    first = np.maximum(frame_start, token_start)
    last = np.minimum(frame_start + frame_hop, token_start + token_hop)
    overlap = (last - first).clip(min=0)  # samples, [T, N]
    alone = overlap.sum(axis=1) == 0
    overlap[alone & (frame_start[:, 0] + frame_hop <= start), 0] = 1.0
    overlap[alone & (frame_start[:, 0] >= token_start[0, -1]), -1] = 1.0
    weights: NDArray[np.float32] = (overlap / overlap.sum(axis=1, keepdims=True)).astype(np.float32)
    return weights
