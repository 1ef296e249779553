"""Some of a network's classes: the others are neither kept nor decided."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from earmark.core.class_names import find_classes
from earmark.core.spec import ModelSpec, spec_of
from earmark.detect.network import AroundScorer
from earmark.detect.one_pass import PassScorer, one_pass_of

if TYPE_CHECKING:
    from earmark.detect.network import Network


def choose_classes(network: Network, asked: Iterable[str]) -> ChosenClasses:
    """A network with those of its classes that are asked for.

    Args:
        network: What scores windows.
        asked: Classes by name, number or identifier, as `find_classes` takes them.

    Raises:
        LabelError: A class is unknown or ambiguous.
    """
    spec = spec_of(network)
    return ChosenClasses(network, find_classes(asked, spec.labels, spec.ids))


class ChosenClasses(AroundScorer):
    """A scorer of windows that gives the scores of some classes.

    Args:
        network: What scores windows.
        columns: Numbers of the classes.
    """

    def __init__(self, network: Network, columns: Sequence[int]) -> None:
        whole = spec_of(network)
        super().__init__(network)
        self._columns = list(columns)
        self.spec: ModelSpec = replace(
            whole,
            labels=tuple(whole.labels[column] for column in self._columns),
            ids=tuple(whole.ids[column] for column in self._columns) if whole.ids else (),
        )

    def score_windows(
        self, waveforms: NDArray[np.float32], lengths: Sequence[int]
    ) -> NDArray[np.floating]:
        """Windows [B, S], padded after ``lengths`` samples → strong scores [B, T, C]."""
        return self._scorer.score_windows(waveforms, lengths)[:, :, self._columns]

    def one_pass(self) -> ChosenPass | None:
        """The scorer in two steps, if it has them."""
        whole = one_pass_of(self._scorer)
        return None if whole is None else ChosenPass(whole, self._columns)


class ChosenPass:
    """Some classes of a scorer in two steps.

    Args:
        whole: Of all classes.
        columns: Numbers of the classes.
    """

    def __init__(self, whole: PassScorer, columns: list[int]) -> None:
        self._whole, self._columns = whole, columns
        self.context, self.samples, self.encode = whole.context, whole.samples, whole.encode

    def score_frames(
        self, waveforms: NDArray[np.float32], encoded: NDArray[np.float32]
    ) -> NDArray[np.floating]:
        """Windows [B, S] and their frames' vectors [B, T, D] → strong scores [B, T, C]."""
        return self._whole.score_frames(waveforms, encoded)[:, :, self._columns]
