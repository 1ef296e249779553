"""What a network listens for and how finely: it travels with every network, in whatever form."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, cast

from earmark.core.errors import ConfigError
from earmark.core.timeline import SAMPLE_RATE, FrameGrid


class NetworkSpec(Protocol):
    """What a network says about itself, so that detection never guesses."""

    @property
    def labels(self) -> tuple[str, ...]:
        """Class names in the order of the score columns."""

    @property
    def sample_rate(self) -> int:
        """Samples per second the network listens at."""

    @property
    def window(self) -> int:
        """Samples per call."""

    @property
    def frame_hop(self) -> int:
        """Samples per output frame."""


@dataclass(frozen=True)
class ModelSpec:
    """The specification of Earmark's own networks.

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


def spec_of(network: object) -> NetworkSpec:
    """Returns a network's specification.

    Raises:
        ConfigError: If the network has none.
    """
    spec = getattr(network, "spec", None)
    if spec is None:
        raise ConfigError(
            "the network does not say what it listens for",
            hint="Give it a `spec` with labels, sample_rate, window and frame_hop",
        )
    return cast(NetworkSpec, spec)
