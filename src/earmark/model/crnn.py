"""The convolutional recurrent network: CNN branch, BiGRU, strong and weak heads.

Sizes and details follow the DCASE Task 4 CRNN as ATST-SED uses it (arXiv 2309.08153, official
stage-2 configuration): no ReLU beside the gate, average pooling, attention pooling over a
class-wise softmax.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from earmark.core.config import NetworkSettings


class Gate(nn.Module):
    """Context gating x·σ(Wx), or DCASE 2023's gated linear unit Wx·σ(x); W acts on channels."""

    def __init__(self, channels: int, linear_path: bool) -> None:
        super().__init__()
        self.linear = nn.Linear(channels, channels)
        self.linear_path = linear_path

    def forward(self, x: Tensor) -> Tensor:
        """[B, channels, T, F] → the same shape."""
        mapped: Tensor = self.linear(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
        if self.linear_path:
            return mapped * torch.sigmoid(x)
        return x * torch.sigmoid(mapped)


class ConvBlock(nn.Module):
    """Convolution → batch norm → activation → dropout → average pooling."""

    def __init__(self, inputs: int, index: int, settings: NetworkSettings) -> None:
        super().__init__()
        channels, kernel = settings.channels[index], settings.kernels[index]
        stride, pool = settings.strides[index], settings.pools[index]
        self.conv = nn.Conv2d(inputs, channels, kernel, stride, kernel // 2)
        self.norm = nn.BatchNorm2d(channels, eps=1e-3, momentum=settings.norm_momentum)
        self.gate: nn.Module = (
            nn.ReLU()
            if settings.activation == "relu"
            else Gate(channels, linear_path=settings.activation == "glu")
        )
        self.dropout = nn.Dropout(settings.conv_dropout)
        self.pool: nn.Module = nn.Identity() if pool == (1, 1) else nn.AvgPool2d(pool)

    def forward(self, x: Tensor) -> Tensor:
        """[B, inputs, T, F] → [B, channels, T', F']."""
        out: Tensor = self.pool(self.dropout(self.gate(self.norm(self.conv(x)))))
        return out


class ConvBranch(nn.Module):
    """Log-mel [B, n_mels, frames] → frame embeddings [B, T, D]; left-over bands are averaged."""

    def __init__(self, settings: NetworkSettings) -> None:
        super().__init__()
        inputs = (1, *settings.channels[:-1])
        self.blocks = nn.ModuleList(
            ConvBlock(inputs[index], index, settings) for index in range(len(inputs))
        )
        self.width = settings.channels[-1]

    def forward(self, mel: Tensor) -> Tensor:
        """[B, n_mels, frames] → [B, T, width]."""
        x = mel.transpose(1, 2).unsqueeze(1)  # [B, 1, frames, n_mels]
        x = x.contiguous(memory_format=torch.channels_last)
        for block in self.blocks:
            x = block(x)
        return x.mean(dim=3).transpose(1, 2)  # [B, T, width]


class Posteriors(NamedTuple):
    """What the heads give, in float32: strong [B, T, C] and weak [B, C] probabilities."""

    strong: Tensor
    weak: Tensor


class Heads(nn.Module):
    """Strong head, and weak head by attention pooling with a softmax over classes.

    weak_c = Σ_t s_tc·a_tc / Σ_t a_tc with a = clamp(softmax_c(W h_t), 1e-7, 1).
    """

    def __init__(self, width: int, classes: int) -> None:
        super().__init__()
        self.strong = nn.Linear(width, classes)
        self.attention = nn.Linear(width, classes)

    def forward(self, x: Tensor, valid: Tensor | None = None) -> Posteriors:
        """Embeddings [B, T, width] and valid frames [B, T] → posteriors."""
        with torch.autocast(x.device.type, enabled=False):
            x = x.float()
            strong = torch.sigmoid(self.strong(x))  # [B, T, C]
            attention = torch.softmax(self.attention(x), dim=-1).clamp(1e-7, 1.0)
            if valid is not None:
                attention = attention * valid.unsqueeze(-1)
            total = attention.sum(dim=1).clamp(min=1e-7)
            return Posteriors(strong, (strong * attention).sum(dim=1) / total)


class TokenNorm(nn.Module):
    """Batch norm of tokens [B, T, D] without weights of its own, for a linear layer follows it.

    What YAMNet's taps give is sparse, and its numbers differ in size a hundredfold; ε, larger than
    usual, keeps those that are nearly always 0 from being blown up.
    """

    def __init__(self, width: int, momentum: float) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(width, eps=1e-2, momentum=momentum, affine=False)

    def forward(self, tokens: Tensor) -> Tensor:
        """[B, T, D] → the same shape."""
        normed: Tensor = self.norm(tokens.flatten(0, 1))
        return normed.reshape(tokens.shape)


class Crnn(nn.Module):
    """Frame embeddings of the CNN → BiGRU → dropout → heads.

    Beside an encoder, the embeddings of both join in a linear layer before the BiGRU, without an
    activation, as in ATST-SED; ``encoder.norm`` may normalise the tokens before, and
    ``encoder.merge_activation`` put an activation behind.

    Args:
        settings: Of the network.
        classes: C.
        encoder_width: Numbers of a token; 0 without an encoder.
    """

    def __init__(self, settings: NetworkSettings, classes: int, encoder_width: int = 0) -> None:
        super().__init__()
        self.cnn = ConvBranch(settings)
        self.merge: nn.Linear | None = None
        self.token_norm: nn.Module = nn.Identity()
        self.merge_activation: nn.Module = nn.Identity()
        width = self.cnn.width
        if settings.encoder is not None:
            self.merge = nn.Linear(width + encoder_width, settings.encoder.merge)
            width = settings.encoder.merge
            if settings.encoder.norm == "layer":
                self.token_norm = nn.LayerNorm(encoder_width)
            elif settings.encoder.norm == "batch":
                self.token_norm = TokenNorm(encoder_width, settings.norm_momentum)
            if settings.encoder.merge_activation == "gelu":
                self.merge_activation = nn.Sequential(nn.LayerNorm(width), nn.GELU())
        self.rnn = nn.GRU(
            width,
            settings.rnn_hidden,
            settings.rnn_layers,
            batch_first=True,
            bidirectional=True,
        )
        self.dropout = nn.Dropout(settings.dropout)
        self.heads = Heads(2 * settings.rnn_hidden, classes)
        self.widths = {"cnn": self.cnn.width, "rnn": 2 * settings.rnn_hidden}

    def forward(
        self,
        mel: Tensor,
        valid: Tensor | None = None,
        frames: int | None = None,
        encoded: Tensor | None = None,
    ) -> tuple[Posteriors, dict[str, Tensor]]:
        """Scaled log-mel [B, n_mels, frames] → posteriors, and embeddings [B, T, D] by tap.

        ``frames`` cuts the output: centred analysis may complete one frame more than the samples
        fill, and frame f shall cover exactly [f, f + 1)·frame_hop samples. ``encoded``
        [B, T, encoder width] are the encoder's tokens on the grid of frames.
        """
        local = self.cnn(mel)[:, :frames]
        joined = local
        if self.merge is not None:
            if encoded is None:
                raise ValueError("a network with an encoder needs its tokens")
            merged = self.merge(torch.cat([local, self.token_norm(encoded)], dim=-1))
            joined = self.merge_activation(merged)
        context, _ = self.rnn(joined)  # [B, T, 2·hidden]
        posteriors = self.heads(self.dropout(context), valid)
        return posteriors, {"cnn": local, "rnn": context}
