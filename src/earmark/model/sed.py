"""The whole network: waveform to strong and weak posteriors, with the embeddings at its taps."""

from __future__ import annotations

from functools import cached_property
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from earmark.core.config import NetworkSettings
from earmark.core.errors import ConfigError
from earmark.core.spec import ModelSpec
from earmark.core.timeline import SAMPLE_RATE
from earmark.features.frontend import LogMel
from earmark.model.crnn import Crnn, Posteriors
from earmark.model.encoders.alignment import align_tokens
from earmark.model.encoders.contract import FrameEncoder, MelEncoder, token_span
from earmark.model.encoders.registry import make_encoder
from earmark.model.encoders.stretches import Stretches


class SedOutput(NamedTuple):
    """Posteriors of a batch: ``strong`` [B, T, C], ``weak`` [B, C], ``embeddings`` by tap."""

    strong: Tensor
    weak: Tensor
    embeddings: dict[str, Tensor]


class Mels(NamedTuple):
    """The log-mels of a batch, linear or scaled: the CNN's and, if there is one, the encoder's.

    Each is [B, n_mels, mel frames] of its own front-end. An encoder that is no `MelEncoder` has
    waveforms [B, S] in the place of linear mels, and its features in that of scaled ones.
    """

    cnn: Tensor
    encoder: Tensor | None = None


def encoder_width(settings: NetworkSettings) -> int:
    """Numbers of a token; 0 without an encoder."""
    if settings.encoder is None:
        return 0
    with torch.device("meta"):
        return make_encoder(settings.encoder).width


class SedNetwork(nn.Module):
    """Waveforms [B, S] at 16 kHz → `SedOutput` with ⌊S / frame_hop⌋ frames.

    With an encoder every call spans at least a window: what is missing is zeros, which the
    encoder does not attend to (unless ``mask_padding`` is off) and whose frames are cut from the
    output. So a short clip has the same scores alone and in a padded batch.

    Raises:
        ConfigError: A window is longer than what the encoder takes.
    """

    def __init__(self, settings: NetworkSettings, labels: tuple[str, ...]) -> None:
        super().__init__()
        self.settings = settings
        self.spec = ModelSpec(tuple(labels), settings.frame_hop, settings.window)
        self.frontend = LogMel(settings.frontend)
        self.encoder: FrameEncoder | None = None
        # The CNN's weights are drawn before the encoder's, so that a seed means what it always did.
        self.crnn = Crnn(settings, len(labels), encoder_width(settings))
        if settings.encoder is not None:
            self.encoder = make_encoder(settings.encoder)
            longest = self.encoder.max_seconds
            if longest is not None and settings.window_seconds > longest:
                raise ConfigError(
                    f"a window of {settings.window_seconds:g} s is longer than the {longest:.2f} s "
                    "that the encoder takes",
                    hint="Shorten window_seconds, or let the encoder take more (ATST-Frame: "
                    "encoder.positions=interpolate)",
                )

    @property
    def masks_padding(self) -> bool:
        """Whether the scores depend on which frames are told to be padding."""
        return self.settings.encoder is not None and self.settings.encoder.mask_padding

    @property
    def tap_widths(self) -> dict[str, int]:
        """Width of the embedding at each tap."""
        if self.encoder is None:
            return self.crnn.widths
        return self.crnn.widths | {"encoder": self.encoder.width}

    @cached_property
    def window_tokens(self) -> int:
        """Tokens of one window."""
        device = self.frontend.filters.device
        with torch.no_grad():
            silence = torch.zeros(1, self.spec.window, device=device)
            return self.sure_encoder.tokens_of(self.sure_encoder.features(silence))

    @property
    def sure_encoder(self) -> FrameEncoder:
        """The encoder, where there must be one."""
        if self.encoder is None:
            raise ValueError("a network without an encoder has no tokens")
        return self.encoder

    @property
    def token_grid(self) -> tuple[float, float]:
        """Samples from token to token, and from the clip's start to that of the first token."""
        start, _ = token_span(self.sure_encoder, 0)
        return float(self.sure_encoder.token_hop * SAMPLE_RATE), float(start * SAMPLE_RATE)

    def linear(self, waveforms: Tensor, with_encoder: bool = True) -> Mels:
        """Waveforms [B, S] → linear mels; with an encoder zero-padded to the window.

        ``with_encoder=False`` leaves the encoder's out, where its tokens are known.
        """
        if self.encoder is None:
            return Mels(self.frontend.linear(waveforms))
        missing = max(0, self.spec.window - waveforms.shape[-1])
        if missing:
            waveforms = functional.pad(waveforms, (0, missing))
        cnn = self.frontend.linear(waveforms)
        if not with_encoder:
            return Mels(cnn)
        if isinstance(self.encoder, MelEncoder):
            return Mels(cnn, self.encoder.linear(waveforms))
        return Mels(cnn, waveforms)

    def scale(self, mels: Mels) -> Mels:
        """Linear mels → scaled log-mels, clip by clip."""
        cnn = self.frontend.scale(mels.cnn)
        if self.encoder is None or mels.encoder is None:
            return Mels(cnn)
        if isinstance(self.encoder, MelEncoder):
            return Mels(cnn, self.encoder.scale(mels.encoder))
        return Mels(cnn, self.encoder.features(mels.encoder))

    def token_mask(self, valid: Tensor, tokens: int | None = None) -> Tensor:
        """Valid frames [B, T] of clips padded at the end → valid tokens [B, N].

        A token is valid if the frame it begins in is: n frames make ⌈n·frame_hop / token_hop⌉
        tokens. Samples after the last whole frame of a window follow that frame.

        Args:
            valid: True, then False; frames of a window that are missing are no sound.
            tokens: N, or None for those of a window.
        """
        tokens = self.window_tokens if tokens is None else tokens
        hop, start = self.token_grid
        valid = functional.pad(valid, (0, max(0, self.spec.frames - valid.shape[1])))
        starts = torch.arange(tokens, device=valid.device, dtype=torch.float64) * hop + start
        frames = (starts // self.spec.frame_hop).long().clamp(0, valid.shape[1] - 1)  # [N]
        return valid[:, frames]

    @property
    def stretches(self) -> Stretches | None:
        """How a recording's frames are encoded once, window by window no more; None if never."""
        options = self.settings.encoder
        if self.encoder is None or options is None or options.align != "exact":
            return None
        return Stretches.of(self.encoder, self.spec.frame_hop)

    def encode_frames(self, samples: Tensor, first: int, frames: range) -> Tensor:
        """Frames of a recording [F, D] from what its `stretches` say they need of it.

        Args:
            samples: [S] of the recording.
            first: The sample they begin with, a multiple of the token hop.
            frames: Which frames.
        """
        stretches = self.stretches
        assert stretches is not None
        tokens = self.sure_encoder(self.sure_encoder.features(samples[None]))  # [1, N, D]
        own, offset = stretches.over(frames, first, tokens.shape[1])
        tokens, hop = tokens[:, own.start : own.stop], stretches.hop
        aligned = align_tokens(tokens, len(frames), "exact", hop, self.spec.frame_hop, offset)
        return aligned[0]

    def score_frames(self, waveforms: Tensor, encoded: Tensor) -> Tensor:
        """Windows [B, S] and the encoder's vectors of their frames [B, T, D] → strong [B, T, C]."""
        mels = self.scale(self.linear(waveforms, with_encoder=False))
        posteriors: Posteriors = self.crnn(mels.cnn, None, self.spec.frames, encoded)[0]
        return posteriors.strong

    def encode(self, mel: Tensor, valid: Tensor | None = None) -> Tensor:
        """The encoder's features, as `scale` gives them, and valid frames [B, T] → [B, N, D]."""
        mask = None
        if valid is not None and self.masks_padding:
            mask = self.token_mask(valid, self.sure_encoder.tokens_of(mel))
        return self.sure_encoder(mel, mask)

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
        options = self.settings.encoder
        if options is None:
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
        hop, start = self.token_grid
        encoded = align_tokens(tokens, whole, options.align, hop, self.spec.frame_hop, start)
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
