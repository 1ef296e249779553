"""Seconds, samples, frames and windows: the only place that rounds.

Every position on a recording is a whole number of samples or of frames. Seconds are computed
from them by one multiplication and one division, never added up, so nothing drifts however long
the recording is.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from earmark.core.errors import ConfigError, ScoreError

SAMPLE_RATE = 16_000
"""Samples per second the networks listen at."""

_EDGE = 1e-6
"""A time within this part of a frame from a frame's edge lies on the edge."""


def seconds_to_samples(seconds: float, sample_rate: int = SAMPLE_RATE) -> int:
    """The sample nearest to a time.

    Args:
        seconds: A finite time in seconds.
        sample_rate: Samples per second.
    """
    return round(seconds * sample_rate)


def samples_to_seconds(samples: int, sample_rate: int = SAMPLE_RATE) -> float:
    """The time of a sample in seconds, or the duration of so many samples."""
    return samples / sample_rate


def resampled_length(samples: int, rate_in: int, rate_out: int) -> int:
    """How many samples a recording has at another rate.

    Args:
        samples: Its samples at ``rate_in``.
        rate_in: Samples per second it has.
        rate_out: Samples per second it shall have.

    Returns:
        ``samples · rate_out / rate_in`` rounded to the nearest whole number, halves upwards, in
        whole numbers throughout; at least 1 for a recording that is not empty.
    """
    nearest = (2 * samples * rate_out + rate_in) // (2 * rate_in)
    return max(1, nearest) if samples else 0


@dataclass(frozen=True)
class FrameGrid:
    """The output frames of a network: frame f holds the samples [f · hop, (f + 1) · hop).

    Attributes:
        hop: Samples per frame.
        sample_rate: Samples per second.

    Raises:
        ConfigError: If the hop or the rate is not positive.
    """

    hop: int
    sample_rate: int = SAMPLE_RATE

    def __post_init__(self) -> None:
        if self.hop < 1 or self.sample_rate < 1:
            raise ConfigError(
                f"frames of {self.hop} samples at {self.sample_rate} samples per second",
                hint="Both must be 1 or more",
            )

    @property
    def seconds(self) -> float:
        """Duration of a frame in seconds."""
        return self.hop / self.sample_rate

    def frames_in(self, samples: int) -> int:
        """Whole frames that fit into so many samples."""
        return samples // self.hop

    def frames_covering(self, samples: int) -> int:
        """Frames needed to cover so many samples, the last one possibly in part."""
        return -(-samples // self.hop)

    def onset_frame(self, seconds: float) -> int:
        """First frame of an event that starts at a time: ⌊time / frame⌋.

        This and `offset_frame` are the label encoder of the DCASE task 4 baselines, but an event
        at a frame's edge stays there whatever the last bit of its time says.

        Args:
            seconds: A finite time in seconds.
        """
        position, edge = self._position(seconds)
        return math.floor(position) if edge is None else edge

    def offset_frame(self, seconds: float) -> int:
        """Frame after the last one of an event that ends at a time: ⌈time / frame⌉.

        Args:
            seconds: A finite time in seconds.
        """
        position, edge = self._position(seconds)
        return math.ceil(position) if edge is None else edge

    def _position(self, seconds: float) -> tuple[float, int | None]:
        """A time in frames, and the edge it lies on, if on any."""
        position = seconds * self.sample_rate / self.hop
        nearest = round(position)
        # Beyond some 10^9 frames the noise of doubles is larger than the tolerance.
        tolerance = max(_EDGE, 4 * math.ulp(position))
        return position, nearest if abs(position - nearest) <= tolerance else None

    def time(self, frame: int) -> float:
        """Start of a frame in seconds, correctly rounded."""
        return frame * self.hop / self.sample_rate

    def boundaries(self, frames: int, duration: float | None = None) -> NDArray[np.float64]:
        """Edges of consecutive frames from the start of a recording.

        Args:
            frames: Number of frames T.
            duration: Duration of the recording in seconds; where the last frame reaches beyond
                it, the frame ends there.

        Returns:
            [T + 1] strictly increasing times in seconds.

        Raises:
            ScoreError: If the recording ends before the last frame starts.
        """
        edges = np.arange(frames + 1, dtype=np.int64) * self.hop / self.sample_rate
        if duration is None or frames == 0:
            return edges
        if not duration > edges[-2]:
            raise ScoreError(
                f"a recording of {duration:g} s has no frame {frames - 1}, "
                f"which would start at {edges[-2]:g} s",
                hint="The duration and the scores must be of one recording",
            )
        edges[-1] = min(edges[-1], duration)
        return edges


@dataclass(frozen=True)
class WindowPlan:
    """Overlapping windows over a recording, each starting on the frame grid.

    Attributes:
        grid: The frames.
        window: Samples per window; it reports the whole frames in it.
        hop_frames: Frames from one window's start to the next.
        lookahead_frames: Of a window only its last so many frames count, but for the first one:
            no score then depends on sound that comes more than these later. All count when None.

    Raises:
        ConfigError: If a window holds no frame, or the windows leave gaps.
    """

    grid: FrameGrid
    window: int
    hop_frames: int
    lookahead_frames: int | None = None

    def __post_init__(self) -> None:
        if not 1 <= self.hop_frames <= self.window_frames:
            raise ConfigError(
                f"windows of {self.window_frames} frames cannot start every "
                f"{self.hop_frames} frames",
                hint="The hop must be at least one frame and at most one window",
            )
        if not self.hop_frames <= self.tail_frames <= self.window_frames:
            raise ConfigError(
                f"windows every {self.hop_frames} frames of which {self.tail_frames} count",
                hint="The look-ahead must be at least one hop and at most one window",
            )

    @property
    def tail_frames(self) -> int:
        """Frames at a window's end that count."""
        return self.window_frames if self.lookahead_frames is None else self.lookahead_frames

    @property
    def window_frames(self) -> int:
        """Whole frames of a window."""
        return self.grid.frames_in(self.window)

    def starts(self, samples: int) -> list[int]:
        """First frame of each window over a recording.

        The windows start at multiples of ``hop_frames``; only the last one is moved back so that
        it ends with the recording's last frame and holds sound instead of padding. A recording
        shorter than a window has one window. There are no more windows than are needed.

        Args:
            samples: Samples of the recording.

        Returns:
            Increasing frame indices, the first 0; empty for an empty recording.
        """
        frames = self.grid.frames_covering(samples)
        if frames == 0:
            return []
        last = max(0, frames - self.window_frames)
        return [*range(0, last, self.hop_frames), last]

    def weights(self, kind: str = "hann") -> NDArray[np.float64]:
        """How much each frame of a window counts where windows overlap.

        Args:
            kind: ``hann`` (sin²), ``triangle`` or ``flat``, taken at the frames' centres.

        Returns:
            [tail_frames] positive, symmetric, largest at the centre: of the frames that count.

        Raises:
            ConfigError: If the kind is none of these.
        """
        place = (np.arange(self.tail_frames) + 0.5) / self.tail_frames  # in (0, 1)
        place = np.minimum(place, place[::-1])  # symmetric to the last bit
        if kind == "hann":
            return np.asarray(np.sin(np.pi * place) ** 2)
        if kind == "triangle":
            return 2.0 * place
        if kind == "flat":
            return np.ones(self.tail_frames)
        raise ConfigError(
            f"no window weights are called {kind!r}", hint="Use hann, triangle or flat"
        )
