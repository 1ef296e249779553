"""What scores windows, whatever it runs on: the one thing detection asks of a network.

Nothing here needs PyTorch; a network that is a PyTorch module gets its adapter, and loads PyTorch,
when it is first asked for.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Protocol, cast

import numpy as np
from numpy.typing import NDArray

from earmark.core.parallel import available_cores
from earmark.core.spec import ModelSpec

if TYPE_CHECKING:
    from torch import nn


class WindowScorer(Protocol):
    """Scores windows of audio: NumPy in, NumPy out. Several threads may call it at once.

    Further methods are optional: ``one_thread_each()``, for one whose runtime would use several
    cores for a call, ``batch_size()`` and ``threads()``; see the functions below.
    """

    @property
    def spec(self) -> ModelSpec:
        """Classes, window and frames: a `ModelSpec`, or anything that has its attributes."""

    def score_windows(
        self, waveforms: NDArray[np.float32], lengths: Sequence[int]
    ) -> NDArray[np.floating]:
        """Strong scores of windows padded with zeros at the end.

        Args:
            waveforms: [B, window] samples.
            lengths: B numbers of samples before the padding.

        Returns:
            [B, T, C] probabilities.
        """


BATCH_SIZE = 4
"""Windows per call of scorers that do not say what suits them."""

if TYPE_CHECKING:
    Network = nn.Module | WindowScorer
    """Anything detection can work with."""


def as_scorer(network: Network) -> WindowScorer:
    """Returns a network in the form detection works with.

    Args:
        network: A `WindowScorer`, or a PyTorch module with a ``spec`` that takes waveforms
            [B, S] and gives an output with ``strong`` [B, T, C].
    """
    if hasattr(network, "score_windows"):
        return cast(WindowScorer, network)
    from earmark.detect.torch_network import TorchScorer

    return TorchScorer(cast("nn.Module", network))


def one_thread_each(scorer: WindowScorer) -> AbstractContextManager[Callable[[], object]]:
    """What a scorer needs to be called by several threads, each call on a single core.

    Threads that share a call spend much of their time waiting for one another, all of it where
    the machine has other work; and the last bits of scores depend on their number. So windows are
    shared among threads, not calls.

    Returns:
        A context to hold meanwhile; it gives what each of the threads is to call first.
    """
    own = getattr(scorer, "one_thread_each", None)
    if own is None:
        return nullcontext(lambda: None)
    return cast("AbstractContextManager[Callable[[], object]]", own())


def suitable_batch(scorer: WindowScorer) -> int:
    """Windows per call that suit what a scorer runs on: what its ``batch_size()`` says, if any."""
    own = getattr(scorer, "batch_size", None)
    return BATCH_SIZE if own is None else int(own())


def suitable_threads(scorer: WindowScorer) -> int:
    """Batches at a time that suit what a scorer runs on: its ``threads()``, or every core."""
    own = getattr(scorer, "threads", None)
    return available_cores() if own is None else int(own())
