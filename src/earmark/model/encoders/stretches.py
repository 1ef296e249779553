"""Which audio a stretch of a recording's frames needs, for encoders that hear only so far.

The tokens of a recording that is encoded at once can be had stretch by stretch: a stretch begins
at a multiple of the token hop, so that its tokens lie on the recording's, and reaches beyond the
frames that are wanted by what the encoder hears around a token's centre.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction

from earmark.core.timeline import SAMPLE_RATE
from earmark.model.encoders.contract import FrameEncoder, LocalEncoder


@dataclass(frozen=True)
class Stretches:
    """Frames of a recording, the tokens over them, and the audio of these; all in samples.

    Attributes:
        frame_hop: Of the detector's frames.
        hop: From token to token.
        centre: Of the first token.
        reach: What a token depends on lies within so many samples of its centre.
    """

    frame_hop: int
    hop: int
    centre: Fraction
    reach: Fraction

    @classmethod
    def of(cls, encoder: FrameEncoder, frame_hop: int) -> Stretches | None:
        """Those of an encoder; None if it does not say how far it hears, or takes no stretches."""
        hop = encoder.token_hop * SAMPLE_RATE
        if not isinstance(encoder, LocalEncoder):
            return None
        if encoder.max_seconds is not None or hop.denominator != 1:
            return None
        centre, reach = encoder.first_centre * SAMPLE_RATE, encoder.reach * SAMPLE_RATE
        return cls(frame_hop, int(hop), centre, reach)

    @property
    def context(self) -> int:
        """Samples after a frame's end that it may depend on."""
        return math.ceil(self.reach + Fraction(self.hop, 2))

    def tokens(self, frames: range) -> range:
        """Tokens whose stretch of a hop around their centre meets the frames."""
        start = self.centre - Fraction(self.hop, 2)
        first = math.floor((frames.start * self.frame_hop - start) / self.hop)
        last = math.ceil((frames.stop * self.frame_hop - start) / self.hop)
        return range(max(0, first), max(1, first + 1, last))

    def nearest(self, frame: int) -> int:
        """The token whose centre is nearest to a frame's middle, the later one of two."""
        middle = Fraction((2 * frame + 1) * self.frame_hop, 2)
        return max(0, math.floor((middle - self.centre) / self.hop + Fraction(1, 2)))

    def over(self, frames: range, first: int, tokens: int) -> tuple[range, float]:
        """Which tokens of a stretch meet the frames, and where the first of these begins.

        Args:
            frames: Of the recording.
            first: The sample that the stretch begins with, a multiple of the token hop.
            tokens: How many the stretch has.

        Returns:
            The tokens, counted from the stretch's first, and the samples from the first frame's
            start to the first token's.
        """
        wanted, begin = self.tokens(frames), first // self.hop
        start = min(wanted.start - begin, tokens - 1)
        stop = min(max(start + 1, wanted.stop - begin), tokens)
        offset = self.centre - Fraction(self.hop, 2) + (start + begin) * self.hop
        return range(start, stop), float(offset - frames.start * self.frame_hop)

    def samples(self, frames: range) -> range:
        """Samples of the recording that the frames need; a recording may end before their end."""
        tokens = self.tokens(frames)
        first = math.floor((self.centre + tokens.start * self.hop - self.reach) / self.hop)
        last = self.centre + (tokens.stop - 1) * self.hop + self.reach
        return range(max(0, first) * self.hop, math.ceil(last))
