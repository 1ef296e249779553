"""The whole network: waveform to strong and weak posteriors, with the embeddings at its taps."""

from __future__ import annotations

from typing import NamedTuple, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from earmark.core.config import NetworkSettings
from earmark.core.errors import ConfigError
from earmark.core.spec import ModelSpec
from earmark.features.frontend import LogMel
from earmark.model.crnn import Crnn
from earmark.model.encoders.atst import AtstFrame, align_tokens


class SedOutput(NamedTuple):
    """Posteriors of a batch: ``strong`` [B, T, C], ``weak`` [B, C], ``embeddings`` by tap."""

    strong: Tensor
    weak: Tensor
    embeddings: dict[str, Tensor]


class Mels(NamedTuple):
    """The log-mels of a batch, linear or scaled: the CNN's and, if there is one, the encoder's.

    Each is [B, n_mels, mel frames] of its own front-end.
    """

    cnn: Tensor
    encoder: Tensor | None = None


class SedNetwork(nn.Module):
    """Waveforms [B, S] at 16 kHz → `SedOutput` with ⌊S / frame_hop⌋ frames.

    With an encoder every call spans at least a window: what is missing is zeros, which the
    encoder does not attend to (unless ``mask_padding`` is off) and whose frames are cut from the
    output. So a short clip has the same scores alone and in a padded batch.

    Raises:
        ConfigError: The encoder has fewer positions than a window has tokens.
    """

    def __init__(self, settings: NetworkSettings, labels: tuple[str, ...]) -> None:
        super().__init__()
        self.settings = settings
        self.spec = ModelSpec(tuple(labels), settings.frame_hop, settings.window)
        self.frontend = LogMel(settings.frontend)
        self.encoder_frontend: LogMel | None = None
        self.encoder: AtstFrame | None = None
        self.crnn = Crnn(settings, len(labels))
        if settings.encoder is not None:
            self.encoder_frontend = LogMel(settings.encoder.frontend)
            self.encoder = AtstFrame(settings.encoder)
            tokens, rows = self._window_tokens, settings.encoder.max_tokens
            if tokens > rows and settings.encoder.positions == "cut":
                raise ConfigError(
                    f"a window of {settings.window_seconds:g} s has {tokens} tokens, the encoder "
                    f"{rows} positions",
                    hint="Shorten window_seconds, or set encoder.positions to interpolate",
                )

    @property
    def masks_padding(self) -> bool:
        """Whether the scores depend on which frames are told to be padding."""
        return self.encoder is not None and self.encoder.settings.mask_padding

    @property
    def tap_widths(self) -> dict[str, int]:
        """Width of the embedding at each tap."""
        if self.encoder is None:
            return self.crnn.widths
        return self.crnn.widths | {"encoder": self.encoder.settings.width}

    @property
    def _window_tokens(self) -> int:
        """Tokens of one window."""
        if self.encoder is None:
            raise ValueError("a network without an encoder has no tokens")
        return self.encoder.tokens_in(1 + self.spec.window // self.encoder.settings.frontend.hop)

    def linear(self, waveforms: Tensor, with_encoder: bool = True) -> Mels:
        """Waveforms [B, S] → linear mels; with an encoder zero-padded to the window.

        ``with_encoder=False`` leaves the encoder's out, where its tokens are known.
        """
        if self.encoder_frontend is None:
            return Mels(self.frontend.linear(waveforms))
        missing = max(0, self.spec.window - waveforms.shape[-1])
        if missing:
            waveforms = functional.pad(waveforms, (0, missing))
        cnn = self.frontend.linear(waveforms)
        return Mels(cnn, self.encoder_frontend.linear(waveforms) if with_encoder else None)

    def scale(self, mels: Mels) -> Mels:
        """Linear mels → scaled log-mels, clip by clip."""
        if self.encoder_frontend is None or mels.encoder is None:
            return Mels(self.frontend.scale(mels.cnn))
        return Mels(self.frontend.scale(mels.cnn), self.encoder_frontend.scale(mels.encoder))

    def token_mask(self, valid: Tensor, tokens: int | None = None) -> Tensor:
        """Valid frames [B, T] of clips padded at the end → valid tokens [B, N].

        A token is valid if the frame it begins in is: n frames make ⌈n·frame_hop / token_hop⌉
        tokens. Samples after the last whole frame of a window follow that frame.

        Args:
            valid: True, then False; frames of a window that are missing are no sound.
            tokens: N, or None for those of a window.
        """
        if self.encoder is None:
            raise ValueError("a network without an encoder has no tokens")
        tokens = self._window_tokens if tokens is None else tokens
        valid = functional.pad(valid, (0, max(0, self.spec.frames - valid.shape[1])))
        starts = torch.arange(tokens, device=valid.device) * self.encoder.settings.token_hop
        frames = (starts // self.spec.frame_hop).clamp(max=valid.shape[1] - 1)  # [N]
        return valid[:, frames]

    def encode(self, mel: Tensor, valid: Tensor | None = None) -> Tensor:
        """The encoder's scaled log-mel [B, F, L] and valid frames [B, T] → tokens [B, N, D]."""
        if self.encoder is None:
            raise ValueError("a network without an encoder has no tokens")
        mask = None
        if valid is not None and self.encoder.settings.mask_padding:
            mask = self.token_mask(valid, self.encoder.tokens_in(mel.shape[2]))
        return cast(Tensor, self.encoder(mel, mask))

    def from_mel(
        self,
        mels: Mels,
        valid: Tensor | None = None,
        frames: int | None = None,
        tokens: Tensor | None = None,
    ) -> SedOutput:
        """Scaled log-mels → output of at most ``frames`` frames.

        Args:
            mels: As `scale` gives them.
            valid: [B, T] frames that are no padding; None if all are sound.
            frames: Frames to report.
            tokens: [B, N, D] from `encode`; the encoder is then not run.
        """
        if self.encoder is None:
            posteriors, embeddings = self.crnn(mels.cnn, valid, frames)
            return SedOutput(posteriors.strong, posteriors.weak, embeddings)
        # Everything before the cut runs on all whole frames of the mel, whatever is reported.
        whole = self.spec.grid.frames_in((mels.cnn.shape[2] - 1) * self.settings.frontend.hop)
        if valid is not None:
            valid = functional.pad(valid, (0, whole - valid.shape[1]))
        if tokens is None:
            if mels.encoder is None:
                raise ValueError("the encoder needs its own mel, or its tokens")
            tokens = self.encode(mels.encoder, valid)
        options = self.encoder.settings
        encoded = align_tokens(
            tokens, whole, options.align, options.token_hop, self.spec.frame_hop
        )  # [B, T, D]
        posteriors, embeddings = self.crnn(mels.cnn, valid, whole, encoded)
        cut = {tap: embedding[:, :frames] for tap, embedding in embeddings.items()}
        return SedOutput(posteriors.strong[:, :frames], posteriors.weak, cut | {"encoder": tokens})

    def forward(self, waveforms: Tensor, valid: Tensor | None = None) -> SedOutput:
        """Waveforms [B, S] and optionally valid frames [B, T] → posteriors and embeddings."""
        samples = waveforms.shape[-1]
        frames = self.spec.grid.frames_in(samples)
        if self.encoder is not None and valid is None and samples < self.spec.window:
            sounding = self.spec.grid.frames_covering(samples)
            valid = torch.arange(self.spec.frames, device=waveforms.device) < sounding
            valid = valid.expand(len(waveforms), -1)
        return self.from_mel(self.scale(self.linear(waveforms)), valid, frames)
