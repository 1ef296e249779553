"""ATST-Frame, whole: the pretrained transformer that gives a log-mel frame-level tokens.

A pre-norm vision transformer whose patches span all bands and four frames, so that a token is
40 ms of sound (Li, Shao, Li: "Self-supervised Audio Teacher-Student Transformer for Both
Clip-level and Frame-level Tasks", arXiv 2306.04186):

    e_t  = W·patch_t + b                     masked t (pretraining): e_t = mask_embed
    h⁰_t = e_t + pos[t + 1]                  row 0 of the table belongs to a class slot, never used
    u    = h + DP(Attention(LN(h)));   h' = u + DP(MLP(LN(u)))
    H    = LN_frame(h of the last block)

Names of parameters are those of the published checkpoints, 138 of them for 12 blocks, so that
their weights load as they are.
"""

from __future__ import annotations

from typing import Literal, cast

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from earmark.core.config import EncoderSettings
from earmark.core.errors import AudioError

ENCODER_SIZES = {
    "tiny": EncoderSettings(width=96, depth=4, heads=3),
    "small": EncoderSettings(width=384, depth=12, heads=6),
    "base": EncoderSettings(width=768, depth=12, heads=12),
}
"""The sizes by name: small and base are published, tiny is for tests and CPUs."""

NORM_EPS = 1e-6


class PatchEmbed(nn.Module):
    """One linear map of every patch of all bands × ``frames`` mel frames."""

    def __init__(self, bands: int, frames: int, width: int) -> None:
        super().__init__()
        self.frames = frames
        self.patch_embed = nn.Linear(bands * frames, width)

    def forward(self, mel: Tensor) -> Tensor:
        """[B, F, L] → [B, L // frames, width]; mel frames left over at the end are dropped."""
        tokens = mel.shape[2] // self.frames
        patches = mel[:, :, : tokens * self.frames].reshape(
            mel.shape[0], mel.shape[1], tokens, self.frames
        )
        # Within a patch the band is the slow index, the frame the fast one.
        patches = patches.transpose(1, 2).flatten(2)  # [B, N, F·frames]
        return cast(Tensor, self.patch_embed(patches))


class Attention(nn.Module):
    """Multi-head self-attention; queries, keys and values come from one map without bias."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width, bias=False)
        self.proj = nn.Linear(width, width)

    def forward(self, x: Tensor, keys: Tensor | None = None) -> Tensor:
        """[B, N, D] → [B, N, D]; ``keys`` [B, 1, 1, N] are the tokens that may be attended to."""
        # Views of one GEMM's result: the fused kernel takes strides, nothing is copied.
        qkv = self.qkv(x).view(*x.shape[:2], 3, self.heads, -1)  # [B, N, 3, heads, d]
        query, key, value = qkv.permute(2, 0, 3, 1, 4).unbind(0)  # each [B, heads, N, d]
        mixed = functional.scaled_dot_product_attention(query, key, value, attn_mask=keys)
        return cast(Tensor, self.proj(mixed.transpose(1, 2).flatten(2)))


class Mlp(nn.Module):
    """Linear to four times the width → exact GELU → linear back."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(width, 4 * width)
        self.fc2 = nn.Linear(4 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        """[…, D] → […, D]."""
        return cast(Tensor, self.fc2(functional.gelu(self.fc1(x))))


class DropPath(nn.Module):
    """Stochastic depth: in training a clip skips the branch with probability ``rate``."""

    def __init__(self, rate: float) -> None:
        super().__init__()
        self.rate = rate

    def forward(self, x: Tensor) -> Tensor:
        """[B, N, D] → the same shape; the expected value is kept."""
        if not self.training or self.rate == 0.0:
            return x
        if self.rate >= 1.0:
            return torch.zeros_like(x)
        kept = x.new_empty(x.shape[0], 1, 1).bernoulli_(1.0 - self.rate)
        return x * kept / (1.0 - self.rate)


class Block(nn.Module):
    """Pre-norm transformer block."""

    def __init__(self, width: int, heads: int, drop_path: float) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width, eps=NORM_EPS)
        self.attn = Attention(width, heads)
        self.norm2 = nn.LayerNorm(width, eps=NORM_EPS)
        self.mlp = Mlp(width)
        self.drop_path = DropPath(drop_path)

    def forward(self, x: Tensor, keys: Tensor | None = None) -> Tensor:
        """[B, N, D] and keys [B, 1, 1, N] → [B, N, D]."""
        x = x + self.drop_path(self.attn(self.norm1(x), keys))
        return cast(Tensor, x + self.drop_path(self.mlp(self.norm2(x))))


class AtstFrame(nn.Module):
    """Scaled log-mel [B, F, L] → tokens [B, L // patch_frames, width].

    Raises:
        AudioError: From `forward`, where the input has no whole token or more than the position
            table has rows.
    """

    def __init__(self, settings: EncoderSettings) -> None:
        super().__init__()
        self.settings = settings
        width, depth = settings.width, settings.depth
        self.mask_embed = nn.Parameter(torch.zeros(1, 1, width))
        self.pos_embed = nn.Parameter(torch.zeros(1, settings.max_tokens + 1, width))
        self.patch_embed = PatchEmbed(settings.frontend.n_mels, settings.patch_frames, width)
        rates = [settings.drop_path * index / max(1, depth - 1) for index in range(depth)]
        self.blocks = nn.ModuleList(Block(width, settings.heads, rate) for rate in rates)
        self.norm_frame = nn.LayerNorm(width, eps=NORM_EPS)
        self._initialise()

    def _initialise(self) -> None:
        """Truncated normal of deviation 0.02 for maps and embeddings; biases 0."""
        nn.init.trunc_normal_(self.pos_embed, std=0.02)
        nn.init.trunc_normal_(self.mask_embed, std=0.02)
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.trunc_normal_(module.weight, std=0.02)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)

    def tokens_in(self, mel_frames: int) -> int:
        """Whole tokens of so many mel frames."""
        return mel_frames // self.settings.patch_frames

    def forward(
        self, mel: Tensor, valid: Tensor | None = None, masked: Tensor | None = None
    ) -> Tensor:
        """Encode a batch.

        Args:
            mel: [B, F, L] scaled log-mel.
            valid: [B, N] tokens that are no padding; only these are attended to. A clip without
                any attends to all its tokens, so that nothing undefined ever comes out.
            masked: [B, N] tokens hidden behind ``mask_embed``, for pretraining.

        Returns:
            [B, N, width] tokens after the final norm; those of padding mean nothing.
        """
        x = self.patch_embed(mel)  # [B, N, D]
        if masked is not None:
            x = torch.where(masked.unsqueeze(-1), self.mask_embed.to(x.dtype), x)
        x = x + self._positions(x.shape[1])
        keys = None
        if valid is not None:
            keys = (valid | ~valid.any(dim=1, keepdim=True))[:, None, None, :]  # [B, 1, 1, N]
        for block in self.blocks:
            if self.settings.checkpointing and self.training and torch.is_grad_enabled():
                x = cast(Tensor, checkpoint(block, x, keys, use_reentrant=False))
            else:
                x = block(x, keys)
        return cast(Tensor, self.norm_frame(x))

    def _positions(self, tokens: int) -> Tensor:
        """[1, tokens, D] rows of the position table."""
        rows, how = self.settings.max_tokens, self.settings.positions
        seconds = tokens * self.settings.token_seconds
        if tokens < 1:
            raise AudioError(
                "the encoder's input holds no whole token",
                hint=f"Give it at least {self.settings.token_seconds:g} s",
            )
        if how == "interpolate" and tokens != rows:
            table = self.pos_embed[:, 1:].transpose(1, 2).unsqueeze(2)  # [1, D, 1, rows]
            resized = functional.interpolate(
                table.float(), (1, tokens), mode="bicubic", align_corners=False
            )
            return resized.squeeze(2).transpose(1, 2).to(self.pos_embed.dtype)
        if tokens > rows:
            raise AudioError(
                f"the encoder's input of {tokens} tokens ({seconds:g} s) is longer than its "
                f"{rows} positions ({rows * self.settings.token_seconds:g} s)",
                hint="Cut it into windows, or set encoder.positions to interpolate",
            )
        return self.pos_embed[:, 1 : tokens + 1]


def align_tokens(
    tokens: Tensor,
    frames: int,
    how: Literal["adaptive", "exact"],
    token_hop: int,
    frame_hop: int,
) -> Tensor:
    """Bring tokens onto the grid of output frames.

    Args:
        tokens: [B, N, D]; token t covers the samples [t, t + 1)·token_hop.
        frames: T.
        how: ``adaptive`` is ATST-SED v1's adaptive average pooling, which spreads all tokens
            over all frames whatever times they have; ``exact`` gives frame f the mean of the
            tokens weighted by their overlap with [f, f + 1)·frame_hop.
        token_hop: Samples of a token.
        frame_hop: Samples of a frame.

    Returns:
        [B, T, D].
    """
    if how == "adaptive":
        return functional.adaptive_avg_pool1d(tokens.transpose(1, 2), frames).transpose(1, 2)
    weights = overlap_weights(frames, tokens.shape[1], token_hop, frame_hop)
    return torch.matmul(weights.to(tokens), tokens)


def overlap_weights(frames: int, tokens: int, token_hop: int, frame_hop: int) -> Tensor:
    """Share of each token in each frame: [T, N], rows sum to 1.

    A frame that begins after the end of the last token takes that token.
    """
    frame_start = torch.arange(frames).unsqueeze(1) * frame_hop  # [T, 1]
    token_start = torch.arange(tokens).unsqueeze(0) * token_hop  # [1, N]
    first = torch.maximum(frame_start, token_start)
    last = torch.minimum(frame_start + frame_hop, token_start + token_hop)
    overlap = (last - first).clamp(min=0).float()  # samples, [T, N]
    orphan = frame_start.squeeze(1) >= tokens * token_hop  # [T]
    overlap[:, -1] = torch.where(orphan, 1.0, overlap[:, -1])
    return overlap / overlap.sum(dim=1, keepdim=True)
