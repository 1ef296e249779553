"""What a supplier of sounds offers to the maker of soundscapes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

#: Sound [S] at 16 kHz.
Samples = NDArray[np.float32]
Split = Literal["synthetic", "real", "validation", "test"]

#: Splits whose sounds never meet: clean strong training data, weak and unlabelled training data,
#: validation and test.
SPLITS: tuple[Split, ...] = ("synthetic", "real", "validation", "test")

#: Shortest and longest event a supplier hands out, in seconds.
SHORTEST_EVENT = 0.15
LONGEST_EVENT = 10.0


@runtime_checkable
class Supplier(Protocol):
    """A source of isolated sound events and of backgrounds, all mono at 16 kHz.

    Everything a supplier draws comes from the generator it is given, so that equal generators
    give equal sounds whatever was asked for before. No source recording and no random stream
    serves two splits. A supplier can be pickled, to work in several processes.

    Attributes:
        labels: Names of the classes it can supply, sorted.
    """

    labels: tuple[str, ...]

    def event(self, label: str, split: str, rng: np.random.Generator) -> Samples:
        """Draw one isolated event.

        Args:
            label: One of ``labels``.
            split: One of ``SPLITS``.
            rng: Source of all randomness.

        Returns:
            Samples [S] at 16 kHz, peak at most 1, without leading or trailing silence, at least
            ``SHORTEST_EVENT`` and at most ``LONGEST_EVENT`` long.
        """
        ...

    def background(self, split: str, samples: int, rng: np.random.Generator) -> Samples:
        """Draw a stretch of background, of just so many samples and never silent."""
        ...


@dataclass(frozen=True)
class SoundOrigin:
    """Where a sound was taken from.

    Attributes:
        source: Name of the recording; empty where there is none.
        seconds: Where in it the sound begins.
    """

    source: str = ""
    seconds: float = 0.0


@runtime_checkable
class TracingSupplier(Supplier, Protocol):
    """A supplier that also says where its sounds are from; they are those of the plain calls."""

    def traced_event(
        self, label: str, split: str, rng: np.random.Generator
    ) -> tuple[Samples, SoundOrigin]:
        """As ``event``."""
        ...

    def traced_background(
        self, split: str, samples: int, rng: np.random.Generator
    ) -> tuple[Samples, SoundOrigin]:
        """As ``background``."""
        ...

    def event(self, label: str, split: str, rng: np.random.Generator) -> Samples:
        """Draw one isolated event; see `Supplier.event`."""
        return self.traced_event(label, split, rng)[0]

    def background(self, split: str, samples: int, rng: np.random.Generator) -> Samples:
        """Draw a stretch of background; see `Supplier.background`."""
        return self.traced_background(split, samples, rng)[0]


def traced_event(
    supplier: Supplier, label: str, split: str, rng: np.random.Generator
) -> tuple[Samples, SoundOrigin]:
    """An event of any supplier, with its origin as far as that is known."""
    if isinstance(supplier, TracingSupplier):
        return supplier.traced_event(label, split, rng)
    return supplier.event(label, split, rng), SoundOrigin()


def traced_background(
    supplier: Supplier, split: str, samples: int, rng: np.random.Generator
) -> tuple[Samples, SoundOrigin]:
    """A background of any supplier, with its origin as far as that is known."""
    if isinstance(supplier, TracingSupplier):
        return supplier.traced_background(split, samples, rng)
    return supplier.background(split, samples, rng), SoundOrigin()
