"""PyTorch modules as scorers of windows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from earmark.core.spec import NetworkSpec
from earmark.core.timeline import FrameGrid
from earmark.detect.network import spec_of


@contextmanager
def evaluating(network: nn.Module) -> Iterator[None]:
    """The network in evaluation mode; every part is left in the mode it was in."""
    modes = [(module, module.training) for module in network.modules()]
    network.train(False)
    try:
        yield
    finally:
        for module, mode in modes:
            module.training = mode


class TorchScorer:
    """A PyTorch network as detection asks for it: on its own device, in evaluation mode.

    A network with an encoder is told which frames are padding, as in training: the encoder leaves
    them aside. To the scores of any other network it makes no difference.

    Args:
        network: With a ``spec``; it says ``masks_padding`` if it takes valid frames [B, T] beside
            waveforms.
    """

    def __init__(self, network: nn.Module) -> None:
        self.network = network

    @property
    def spec(self) -> NetworkSpec:
        """Classes, window and frames."""
        return spec_of(self.network)

    def score_windows(
        self, waveforms: NDArray[np.float32], lengths: Sequence[int]
    ) -> NDArray[np.float64]:
        """Windows [B, S], padded after ``lengths`` samples → strong scores [B, T, C]."""
        device = next((p.device for p in self.network.parameters()), torch.device("cpu"))
        inputs = [torch.from_numpy(waveforms).to(device)]
        if getattr(self.network, "masks_padding", False):
            grid = FrameGrid(hop=self.spec.frame_hop, sample_rate=self.spec.sample_rate)
            sounding = torch.tensor([grid.frames_covering(length) for length in lengths])
            valid = torch.arange(grid.frames_in(self.spec.window)) < sounding[:, None]  # [B, T]
            inputs.append(valid.to(device))
        with torch.inference_mode(), evaluating(self.network):
            output = self.network(*inputs)
        scores: NDArray[np.float64] = output.strong.detach().to("cpu", torch.float64).numpy()
        return scores
