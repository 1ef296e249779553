"""What a supplier of sounds offers to the maker of soundscapes."""

from __future__ import annotations

from typing import Literal, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

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

    def event(self, label: str, split: str, rng: np.random.Generator) -> NDArray[np.float32]:
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

    def background(self, split: str, samples: int, rng: np.random.Generator) -> NDArray[np.float32]:
        """Draw a stretch of background, of just so many samples and never silent."""
        ...
