"""What a network listens for and how finely: it travels with every network, in whatever form."""

from __future__ import annotations

from dataclasses import dataclass

from earmark.core.errors import ConfigError
from earmark.core.timeline import SAMPLE_RATE, FrameGrid


@dataclass(frozen=True)
class ModelSpec:
    """What a network says about itself, so that detection never guesses.

    Attributes:
        labels: Class names in the order of the scores' last axis.
        frame_hop: Samples of one output frame.
        window: Samples of one call.
        sample_rate: Samples per second the network listens at.
        ids: Identifiers of the classes in their publisher's list, in the same order; empty where
            they have none.
    """

    labels: tuple[str, ...]
    frame_hop: int
    window: int = 10 * SAMPLE_RATE
    sample_rate: int = SAMPLE_RATE
    ids: tuple[str, ...] = ()

    @property
    def grid(self) -> FrameGrid:
        """The output frames on the time line."""
        return FrameGrid(self.frame_hop, self.sample_rate)

    @property
    def frames(self) -> int:
        """Output frames of one window."""
        return self.grid.frames_in(self.window)


def spec_of(network: object) -> ModelSpec:
    """A network's specification.

    Args:
        network: With a ``spec``: a `ModelSpec`, or anything that has its attributes.

    Raises:
        ConfigError: If the network has none.
    """
    spec = getattr(network, "spec", None)
    if spec is None:
        raise ConfigError(
            "the network has no specification",
            hint="Give it a `spec` with labels, sample_rate, window and frame_hop",
        )
    if isinstance(spec, ModelSpec):
        return spec
    ids = tuple(getattr(spec, "ids", ()))
    return ModelSpec(tuple(spec.labels), spec.frame_hop, spec.window, spec.sample_rate, ids)
