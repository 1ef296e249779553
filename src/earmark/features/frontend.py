"""Log-mel front-ends as modules: waveform in, scaled log-mel out, one clip never seeing another.

Two geometries are published: the CRNN's (2048-point Hamming magnitude, 128 bands) and
ATST-Frame's (1024-point Hann power, 64 bands); both are settings of the same module
(Li et al., arXiv 2309.08153, and the DCASE 2023 Task 4 baseline).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from earmark.core.config import ATST_FRONTEND, FrontendSettings
from earmark.core.timeline import SAMPLE_RATE
from earmark.features.mel import hertz_to_mel

CRNN_FRONTEND = FrontendSettings()
__all__ = ["ATST_FRONTEND", "CRNN_FRONTEND", "LogMel", "mel_filterbank"]


def mel_filterbank(
    n_freqs: int, n_mels: int, f_min: float, f_max: float, sample_rate: int = SAMPLE_RATE
) -> Tensor:
    """Triangular filters on the HTK mel scale m = 2595·log10(1 + f/700), without area norm.

    Returns:
        [n_freqs, n_mels] weights for a one-sided spectrum.
    """
    edges = torch.linspace(hertz_to_mel(f_min), hertz_to_mel(f_max), n_mels + 2)
    hertz = 700.0 * (10.0 ** (edges / 2595.0) - 1.0)  # [n_mels + 2]
    bins = torch.linspace(0, sample_rate // 2, n_freqs)
    distance = hertz[None, :] - bins[:, None]  # [n_freqs, n_mels + 2]
    width = hertz.diff()
    rising = -distance[:, :-2] / width[:-1]
    falling = distance[:, 2:] / width[1:]
    return torch.minimum(rising, falling).clamp(min=0.0)


class LogMel(nn.Module):
    """Waveform [B, S] → scaled log-mel [B, n_mels, 1 + S // hop].

    `linear` and `scale` are the two halves: mixing in the mel domain happens between them.
    All arithmetic is float32, also under autocast.
    """

    window: Tensor
    filters: Tensor

    def __init__(self, settings: FrontendSettings = CRNN_FRONTEND) -> None:
        super().__init__()
        self.settings = settings
        make = torch.hamming_window if settings.window == "hamming" else torch.hann_window
        self.register_buffer("window", make(settings.n_fft, periodic=settings.periodic), False)
        filters = mel_filterbank(
            settings.n_fft // 2 + 1, settings.n_mels, settings.f_min, settings.f_max
        )
        self.register_buffer("filters", filters, False)

    def linear(self, waveforms: Tensor) -> Tensor:
        """Magnitude or power mel: [B, S] → [B, n_mels, frames]."""
        with torch.autocast(waveforms.device.type, enabled=False):
            spectrum = torch.stft(
                waveforms.float(),
                self.settings.n_fft,
                self.settings.hop,
                window=self.window,
                center=True,
                pad_mode="reflect",
                return_complex=True,
            )
            # Complex abs() guards against overflow at several times the cost of this sum.
            spectrum = spectrum.real.square() + spectrum.imag.square()  # [B, n_freqs, frames]
            if self.settings.power == 1:
                spectrum = spectrum.sqrt()
            return torch.matmul(spectrum.transpose(1, 2), self.filters).transpose(1, 2)

    def scale(self, mel: Tensor) -> Tensor:
        """Decibels and scaling of a linear mel [B, n_mels, frames], clip by clip."""
        settings = self.settings
        with torch.autocast(mel.device.type, enabled=False):
            factor = 20.0 if settings.power == 1 else 10.0
            decibels = factor * torch.log10(mel.float().clamp(min=settings.floor))
            if settings.top_db is not None:
                highest = decibels.amax(dim=(1, 2), keepdim=True)
                decibels = torch.maximum(decibels, highest - settings.top_db)
            if settings.db_clamp is not None:
                decibels = decibels.clamp(*settings.db_clamp)
            if settings.scaling == "fixed":
                span = settings.high - settings.low
                return 2.0 * (decibels - settings.low) / span - 1.0
            low = decibels.amin(dim=(1, 2), keepdim=True)
            high = decibels.amax(dim=(1, 2), keepdim=True)
            # Beside a range of decibels 1e-8 is nothing, in silence it keeps 0/0 away. As a bound,
            # not as a summand: ONNX optimisers take a sum with 1e-8 for a sum with nothing.
            return (decibels - low) / (high - low).clamp(min=1e-8)

    def forward(self, waveforms: Tensor) -> Tensor:
        """Scaled log-mel of waveforms [B, S] at 16 kHz: [B, n_mels, frames]."""
        return self.scale(self.linear(waveforms))
