"""A detector without training: the classes that a published encoder names itself, laid in time.

An encoder with a classifier says of each token what sounds in it. A frame takes the scores of the
token whose centre is nearest to its own, so that nothing is blurred further than the encoder does;
frames before the first centre take the first token, those after a clip's last one the last.
"""

from __future__ import annotations

import sys
from fractions import Fraction
from pathlib import Path
from typing import cast

import torch
from torch import Tensor, nn

from earmark.core.errors import BundleError, ConfigError
from earmark.core.spec import ModelSpec
from earmark.core.timeline import SAMPLE_RATE
from earmark.model.bundle_files import TaggerSettings, weights_file
from earmark.model.crnn import Posteriors
from earmark.model.encoders.contract import TaggingEncoder, nearest_token
from earmark.model.encoders.encoder_file import load_encoder
from earmark.model.encoders.registry import make_tagging_encoder
from earmark.model.encoders.stretches import Stretches


class Tagger(nn.Module):
    """Waveforms [B, S] at 16 kHz → `Posteriors`: strong [B, ⌊S / frame_hop⌋, C], weak [B, C].

    Args:
        encoder: With its classifier.
        spec: Classes in the order of the classifier, frames and window.

    Raises:
        ConfigError: The classifier has another number of classes.
    """

    masks_padding = True
    """Which frames are told to be padding decides which token is a clip's last."""
    last: Tensor

    def __init__(self, encoder: TaggingEncoder, spec: ModelSpec) -> None:
        super().__init__()
        self.encoder, self.spec = encoder, spec
        if len(spec.labels) != encoder.classes:
            raise ConfigError(
                f"{len(spec.labels)} classes, but the encoder's classifier has {encoder.classes}"
            )
        # [T] the last token of a clip of t + 1 frames
        last = [self.tokens_in(frames + 1) - 1 for frames in range(spec.frames)]
        self.register_buffer("last", torch.tensor(last), False)

    def tokens_in(self, frames: int) -> int:
        """Tokens that the encoder makes of a clip of so many frames."""
        with torch.no_grad():
            device = next(self.parameters()).device
            silence = torch.zeros(1, frames * self.spec.frame_hop, device=device)
            return self.encoder.tokens_of(self.encoder.features(silence))

    def token_of(self, frame: int) -> int:
        """The token that a frame takes its scores from, if a clip has as many."""
        middle = Fraction((2 * frame + 1) * self.spec.frame_hop, 2 * SAMPLE_RATE)
        return nearest_token(self.encoder, middle, sys.maxsize)

    @property
    def stretches(self) -> Stretches | None:
        """How a recording's frames are scored once, window by window no more; None if never."""
        return Stretches.of(self.encoder, self.spec.frame_hop)

    def encode_frames(self, samples: Tensor, first: int, frames: range) -> Tensor:
        """Scores of a recording's frames [F, C] from what its `stretches` say they need of it.

        Args:
            samples: [S] of the recording.
            first: The sample they begin with, a multiple of the token hop.
            frames: Which frames.
        """
        stretches = self.stretches
        assert stretches is not None
        tokens = self.encoder(self.encoder.features(samples[None]))
        begin = first // stretches.hop
        most = tokens.shape[1] - 1
        place = [min(max(0, stretches.nearest(frame) - begin), most) for frame in frames]
        return self.encoder.class_scores(tokens)[0, place]

    def score_frames(self, waveforms: Tensor, encoded: Tensor) -> Tensor:
        """The scores themselves: nothing here has a longer memory."""
        return encoded

    def forward(self, waveforms: Tensor, valid: Tensor | None = None) -> Posteriors:
        """Waveforms [B, S] and optionally valid frames [B, T] of clips padded at the end.

        S is at most a window; weak scores are the mean of the strong ones over the valid frames.
        """
        frames = self.spec.grid.frames_in(waveforms.shape[1])
        if valid is None:
            valid = waveforms.new_ones(len(waveforms), frames, dtype=torch.bool)
        last = self.last[valid.sum(dim=1).clamp(min=1) - 1].unsqueeze(1)  # [B, 1]
        features = self.encoder.features(waveforms)
        tokens = torch.arange(self.encoder.tokens_of(features), device=last.device)
        scores = self.encoder.class_scores(self.encoder(features, tokens <= last))  # [B, N, C]
        wanted = [self.token_of(frame) for frame in range(frames)]
        place = torch.minimum(torch.tensor(wanted, device=last.device), last)  # [B, T]
        strong = torch.gather(scores, 1, place.unsqueeze(2).expand(-1, -1, scores.shape[2]))
        weight = valid[:, :frames].unsqueeze(2).to(strong)
        return Posteriors(strong, (strong * weight).sum(dim=1) / weight.sum(dim=1).clamp(min=1.0))


def load_tagger(settings: TaggerSettings, spec: ModelSpec, folder: Path) -> Tagger:
    """The network that a bundle describes, with the weights of an encoder it shares with others.

    Args:
        settings: Of the bundle.
        spec: Of the bundle.
        folder: The bundle.

    Raises:
        BundleError: The weights are missing, others than the bundle was made with, or do not fit.
        ConfigError: The encoder names no classes, or another number of them.
    """
    weights = load_encoder(weights_file(folder, settings).parent).weights
    try:
        with torch.device("meta"):  # nothing is asked for that the weights do not have
            shape = cast(nn.Module, make_tagging_encoder(settings.encoder))
            shape.load_state_dict(dict(weights), assign=True)
        encoder = make_tagging_encoder(settings.encoder)
        cast(nn.Module, encoder).load_state_dict(dict(weights))
    except RuntimeError as error:
        reason = " ".join(str(error).split())[:300]
        raise BundleError(
            f"the weights of {settings.weights} do not fit it ({reason})",
            where=folder / "config.yaml",
        ) from None
    try:
        return Tagger(encoder, spec).eval()
    except ConfigError as error:
        raise BundleError(error.what, where=folder / "labels.txt") from None
