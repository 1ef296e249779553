"""An encoder of one's own: levels in bands of frequency, and a network over time.

After `pip install examples/own_encoder` a recipe may say `network.encoder: {kind: bands}`. Put the
network that you have in the place of `layers_in_time`, and its weights where `--init` finds them.
"""

from fractions import Fraction
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from earmark.core.config import EncoderSettings

HOP, FFT = 800, 512  # samples from token to token: 50 ms; samples of a spectrum


class BandsSettings(EncoderSettings):
    """What a recipe may say of it."""

    kind: Literal["bands"] = "bands"
    width: int = 32


class Bands(nn.Module):
    """Levels in bands → 32 numbers every 50 ms."""

    Settings = BandsSettings
    token_hop = Fraction(HOP, 16_000)
    first_centre = token_hop / 2
    max_seconds: float | None = None
    licence = "CC0-1.0"

    def __init__(self, settings: BandsSettings) -> None:
        super().__init__()
        self.width = settings.width
        self.bands = nn.Linear(FFT // 2, settings.width)
        self.layers_in_time = nn.Conv1d(settings.width, settings.width, 3, padding=1)

    def features(self, waveform: Tensor) -> Tensor:
        """[B, S] → log spectra [B, N, 256], one in the middle of each token."""
        whole = functional.pad(waveform, (0, -waveform.shape[1] % HOP))
        middles = whole.reshape(waveform.shape[0], -1, HOP)[
            :, :, (HOP - FFT) // 2 : (HOP + FFT) // 2
        ]
        time = torch.arange(FFT)[:, None] * torch.arange(1, FFT // 2 + 1) * (2 * torch.pi / FFT)
        spectra = (middles @ time.cos()).square() + (middles @ time.sin()).square()
        return torch.log10(spectra + 1e-5)  # [B, N, FFT / 2]

    def tokens_of(self, features: Tensor) -> int:
        """N."""
        return features.shape[1]

    def forward(self, features: Tensor, valid: Tensor | None = None) -> Tensor:
        """Log spectra and valid tokens [B, N] → tokens [B, N, width]."""
        x = torch.relu(self.bands(features))
        if valid is not None:
            x = x * valid.unsqueeze(2)  # what is padding must not reach its neighbours
        return self.layers_in_time(x.transpose(1, 2)).transpose(1, 2)

    def layers(self) -> list[list[str]]:
        """Names of all parameters, from the top layer to the bottom."""
        top, bottom = ("layers_in_time", "bands")
        return [[f"{layer}.{name}" for name in ("weight", "bias")] for layer in (top, bottom)]
