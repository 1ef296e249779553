"""The whole network: waveform to strong and weak posteriors, with the embeddings at its taps."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple, cast

from torch import Tensor, nn

from earmark.core.config import NetworkSettings
from earmark.core.timeline import SAMPLE_RATE, FrameGrid
from earmark.features.frontend import LogMel
from earmark.model.crnn import Crnn


@dataclass(frozen=True)
class ModelSpec:
    """What a network listens for and how finely, so that inference never guesses.

    Attributes:
        labels: Class names in the order of the scores' last axis.
        frame_hop: Samples of one output frame.
        window: Samples of one call.
        sample_rate: In Hz.
    """

    labels: tuple[str, ...]
    frame_hop: int
    window: int = 10 * SAMPLE_RATE
    sample_rate: int = SAMPLE_RATE

    @property
    def grid(self) -> FrameGrid:
        """The output frames on the time line."""
        return FrameGrid(self.frame_hop, self.sample_rate)

    @property
    def frames(self) -> int:
        """Output frames of one window."""
        return self.grid.frames_in(self.window)


class SedOutput(NamedTuple):
    """Posteriors of a batch: ``strong`` [B, T, C], ``weak`` [B, C], ``embeddings`` by tap."""

    strong: Tensor
    weak: Tensor
    embeddings: dict[str, Tensor]


class SedNetwork(nn.Module):
    """Waveforms [B, S] at 16 kHz → `SedOutput` with ⌊S / frame_hop⌋ frames."""

    def __init__(self, settings: NetworkSettings, labels: tuple[str, ...]) -> None:
        super().__init__()
        self.settings = settings
        self.spec = ModelSpec(tuple(labels), settings.frame_hop, settings.window)
        self.frontend = LogMel(settings.frontend)
        self.crnn = Crnn(settings, len(labels))

    @property
    def tap_widths(self) -> dict[str, int]:
        """Width of the embedding at each tap."""
        return self.crnn.widths

    def from_mel(
        self, mel: Tensor, valid: Tensor | None = None, frames: int | None = None
    ) -> SedOutput:
        """Scaled log-mel [B, n_mels, mel frames] → output of at most ``frames`` frames."""
        posteriors, embeddings = self.crnn(mel, valid, frames)
        return SedOutput(posteriors.strong, posteriors.weak, embeddings)

    def forward(self, waveforms: Tensor, valid: Tensor | None = None) -> SedOutput:
        """Waveforms [B, S] and optionally valid frames [B, T] → posteriors and embeddings."""
        frames = self.spec.grid.frames_in(waveforms.shape[-1])
        mel = cast(Tensor, self.frontend(waveforms))
        return self.from_mel(mel, valid, frames)
