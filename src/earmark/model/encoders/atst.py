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

from fractions import Fraction
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from earmark.core.config import AtstSettings
from earmark.core.errors import AudioError
from earmark.core.timeline import SAMPLE_RATE
from earmark.features.frontend import LogMel

ENCODER_SIZES = {
    "tiny": AtstSettings(width=96, depth=4, heads=3),
    "small": AtstSettings(width=384, depth=12, heads=6),
    "base": AtstSettings(width=768, depth=12, heads=12),
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

    def exportable(self) -> nn.Module:
        """The same in plain products of matrices."""
        return SpeltAttention(self)


class SpeltAttention(nn.Module):
    """`Attention` in matrix products; queries, keys and values have maps of their own.

    There is no guard against queries that may attend to nothing, which costs several passes over
    the largest array there is: every clip has a token to attend to.
    """

    def __init__(self, source: Attention) -> None:
        super().__init__()
        self.heads = source.heads
        width = source.proj.out_features
        scale = (width // source.heads) ** -0.5
        query, key, value = source.qkv.weight.detach().split(width)  # type: ignore[no-untyped-call]
        for name, weight in (("query", query * scale), ("key", key), ("value", value)):
            self.register_buffer(name, weight)
        self.proj = source.proj

    def forward(self, x: Tensor, keys: Tensor | None = None) -> Tensor:
        """[B, N, D] and keys [B, 1, 1, N] that may be attended to → [B, N, D]."""
        query, key, value = (
            functional.linear(x, self.get_buffer(name))
            .reshape(-1, x.shape[1], self.heads, x.shape[2] // self.heads)
            .transpose(1, 2)
            for name in ("query", "key", "value")
        )  # each [B, heads, N, d]
        scores = torch.matmul(query, key.transpose(2, 3))  # [B, heads, N, N]
        if keys is not None:
            scores = scores + torch.where(keys, 0.0, -1e4)
        mixed = torch.matmul(torch.softmax(scores, dim=-1), value)
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

    It is a `FrameEncoder` and a `MelEncoder`.

    Raises:
        AudioError: From `forward`, where the input has no whole token or more than the position
            table has rows.
    """

    licence = "NOASSERTION"  # of whoever trained the weights
    bfloat16_maps = True

    def __init__(self, settings: AtstSettings) -> None:
        super().__init__()
        self.settings = settings
        width, depth = settings.width, settings.depth
        self.width, self.mel_frames = width, settings.patch_frames
        self.token_hop = Fraction(settings.token_hop, SAMPLE_RATE)
        self.first_centre = self.token_hop / 2
        self.max_seconds: float | None = None
        if settings.positions == "cut":  # one sample less than what makes a token too many
            mel_frames = (settings.max_tokens + 1) * settings.patch_frames - 1
            self.max_seconds = (mel_frames * settings.frontend.hop - 1) / SAMPLE_RATE
        self.mel = LogMel(settings.frontend)
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

    @property
    def unused(self) -> tuple[nn.Parameter, ...]:
        """What a detector leaves idle: it stands for hidden tokens, and only pretraining hides."""
        return (self.mask_embed,)

    def linear(self, waveform: Tensor) -> Tensor:
        """Waveforms [B, S] → linear mel [B, F, L]."""
        return self.mel.linear(waveform)

    def scale(self, mel: Tensor) -> Tensor:
        """Linear mel → scaled log-mel, of the same shape."""
        return self.mel.scale(mel)

    def features(self, waveform: Tensor) -> Tensor:
        """Waveforms [B, S] at 16 kHz in [-1, 1] → scaled log-mel [B, F, L]."""
        return cast(Tensor, self.mel(waveform))

    def tokens_in(self, mel_frames: int) -> int:
        """Whole tokens of so many mel frames."""
        return mel_frames // self.settings.patch_frames

    def tokens_of(self, features: Tensor) -> int:
        """Tokens of a scaled log-mel [B, F, L]."""
        return self.tokens_in(features.shape[2])

    def layers(self) -> list[list[str]]:
        """The last norm, the blocks from the last one down, what embeds patches and positions.

        ATST-SED's counting of layers.
        """
        names = [name for name, _ in self.named_parameters()]
        tops = ["norm_frame.", *(f"blocks.{i}." for i in reversed(range(len(self.blocks))))]
        groups = [[name for name in names if name.startswith(top)] for top in tops]
        above = {name for group in groups for name in group}
        return [*groups, [name for name in names if name not in above]]

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
