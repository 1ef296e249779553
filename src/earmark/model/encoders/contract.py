"""What a frame encoder is: a pretrained network that says every few centiseconds what it hears.

A detector puts one beside its CNN branch, joined frame by frame. It asks nothing of the encoder but
what stands here, so that a network that others trained takes its place by an adapter of a few
lines. `earmark.testing.check_encoder` checks that an encoder keeps what it promises.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from fractions import Fraction
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

if TYPE_CHECKING:
    from torch import Tensor, nn


class FrameEncoder(Protocol):
    """A `torch.nn.Module` that turns waveforms into tokens at exact times.

    Clips of a batch never see each other, in `features` no more than in `forward`. A clip padded
    with zeros at its end has the tokens that it has alone.

    Attributes:
        width: D, numbers of a token.
        token_hop: Seconds from one token's centre to the next, exact.
        first_centre: Seconds of the first token's centre after the clip's start, exact.
        max_seconds: Longest input at once; None for any.
        licence: Of the weights, as an SPDX name.
    """

    width: int
    token_hop: Fraction
    first_centre: Fraction
    max_seconds: float | None
    licence: str

    def features(self, waveform: Tensor) -> Tensor:
        """Waveforms [B, S] at 16 kHz in [-1, 1] → the encoder's own input [B, …]."""

    def tokens_of(self, features: Tensor) -> int:
        """N, how many tokens `forward` makes of each clip's features."""

    def forward(self, features: Tensor, valid: Tensor | None = None) -> Tensor:
        """Features → tokens [B, N, D].

        Args:
            features: As `features` gives them.
            valid: [B, N] tokens that are no padding: True, then False. The others influence
                nothing, and what comes out at their places means nothing. None: all are sound.
        """

    def layers(self) -> list[list[str]]:
        """Names of all parameters, each once, in groups from the top layer to the bottom.

        Layer-wise learning rates and freezing go by these groups.
        """

    # Of `torch.nn.Module`:
    def __call__(self, features: Tensor, valid: Tensor | None = None) -> Tensor:
        """`forward`."""

    def parameters(self) -> Iterator[nn.Parameter]:
        """All parameters."""

    def named_parameters(self) -> Iterator[tuple[str, nn.Parameter]]:
        """All parameters with their names."""

    def state_dict(self) -> dict[str, Any]:
        """All weights with their names."""

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> Any:
        """Take weights."""

    def train(self, mode: bool = True) -> Any:
        """To training mode."""

    def eval(self) -> Any:
        """To evaluation mode."""


@runtime_checkable
class MelEncoder(Protocol):
    """A frame encoder whose features are a log-mel, made in two steps.

    What is between them can be mixed (``mixup.domain: mel``), and what follows them warped in
    frequency. Other encoders are mixed as waveforms and never warped.

    Attributes:
        mel_frames: Mel frames of one token.
    """

    mel_frames: int

    def linear(self, waveform: Tensor) -> Tensor:
        """Waveforms [B, S] → linear mel [B, F, L]."""

    def scale(self, mel: Tensor) -> Tensor:
        """Linear mel [B, F, L] → features of the same shape."""


@runtime_checkable
class LocalEncoder(Protocol):
    """A frame encoder that hears only so far, as a convolutional network does.

    The tokens of a long recording are then computed once, and not again in every window. A stretch
    that begins at a multiple of the token hop has the recording's own tokens, but for those whose
    reach goes beyond it. It takes input of any length, and its token hop is whole samples; others
    are run window by window all the same.

    Attributes:
        reach: Seconds before and after its centre beyond which no sound has a part in a token.
    """

    reach: Fraction


class TaggingEncoder(FrameEncoder, Protocol):
    """A frame encoder with a classifier of its own, so that it names what it hears.

    Attributes:
        classes: C, how many it names.
    """

    classes: int

    def class_scores(self, tokens: Tensor) -> Tensor:
        """Tokens [B, N, D] → probabilities [B, N, C]."""


def token_centre(encoder: FrameEncoder, token: int) -> Fraction:
    """Seconds of a token's centre after the clip's start, exact."""
    return encoder.first_centre + token * encoder.token_hop


def token_span(encoder: FrameEncoder, token: int) -> tuple[Fraction, Fraction]:
    """Start and end in seconds of the stretch of one hop around a token's centre, exact.

    The spans of all tokens touch and never overlap; the first may begin before the clip.
    """
    centre, half = token_centre(encoder, token), encoder.token_hop / 2
    return centre - half, centre + half


def nearest_token(encoder: FrameEncoder, seconds: Fraction, tokens: int) -> int:
    """The token whose centre is nearest to a time, the later one of two; below ``tokens``."""
    index = (seconds - encoder.first_centre) / encoder.token_hop + Fraction(1, 2)
    return min(max(0, index.numerator // index.denominator), tokens - 1)
