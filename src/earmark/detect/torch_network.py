"""PyTorch modules as scorers of windows."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from earmark.core.errors import ConfigError
from earmark.core.parallel import available_cores
from earmark.core.spec import ModelSpec, spec_of
from earmark.model.encoders.stretches import Stretches
from earmark.model.packed import multiplies_bfloat16, pack

CPU_BATCH = 4
MOST_WINDOWS = 64
_log = logging.getLogger(__name__)


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


def find_device(name: str) -> torch.device:
    """A device by name.

    Args:
        name: ``auto`` (the first CUDA GPU, the CPU where there is none), ``cpu``, ``cuda``,
            ``cuda:1``, ``mps``.

    Raises:
        ConfigError: There is no such device.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise ConfigError(
            f"no device {name!r} here ({str(error).splitlines()[0]})",
            hint="Choose auto, cpu, cuda, cuda:N or mps",
        ) from None
    return device


def prepare(network: nn.Module, device: torch.device, precision: str, where: Path) -> None:
    """Move a network to its device and lay out its weights.

    Args:
        network: Changed in place.
        device: Where it is to compute.
        precision: ``32-true``, or ``bf16-mixed``: products of the encoder in bfloat16; residuals,
            normalisations, the front-ends and the CRNN stay float32.
        where: The network's folder, for errors.

    Raises:
        ConfigError: bfloat16 is asked for, and the network has no encoder.
    """
    network.to(device)
    if precision != "bf16-mixed":
        pack(network)
        return
    encoder = getattr(network, "encoder", None)
    if not getattr(encoder, "bfloat16_maps", False):
        found = "has none" if encoder is None else f"has a {type(encoder).__name__}"
        raise ConfigError(
            "bf16-mixed is for networks with an encoder of large products, as ATST-Frame, and "
            f"this one {found}",
            where=where,
            hint="Leave the precision out",
        )
    pack(network, torch.bfloat16)
    if not multiplies_bfloat16(device):
        _log.warning("%s has no instructions for bfloat16: 32-true is faster here", device)


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
    def spec(self) -> ModelSpec:
        """Classes, window and frames."""
        return spec_of(self.network)

    @contextmanager
    def one_thread_each(self) -> Iterator[Callable[[], object]]:
        """Calls from several threads, each on one core; PyTorch's own setting comes back after."""
        before = torch.get_num_threads()
        try:
            with evaluating(self.network):  # once for all: threads must not switch modes
                yield lambda: torch.set_num_threads(1)
        finally:
            torch.set_num_threads(before)

    @property
    def device(self) -> torch.device:
        """Where the network's parameters are."""
        return next((p.device for p in self.network.parameters()), torch.device("cpu"))

    def batch_size(self) -> int:
        """Windows per call that suit the device.

        On a CPU a few, which keeps the caches and every core busy; on a GPU what fits into half of
        the memory that is free, by the use of one window.
        """
        if self.device.type != "cuda":
            return CPU_BATCH
        one = np.zeros((1, self.spec.window), dtype=np.float32)
        torch.cuda.synchronize(self.device)
        torch.cuda.reset_peak_memory_stats(self.device)
        before = torch.cuda.memory_allocated(self.device)
        self.score_windows(one, [self.spec.window])
        used = max(1, torch.cuda.max_memory_allocated(self.device) - before)
        free = torch.cuda.mem_get_info(self.device)[0]
        return max(1, min(MOST_WINDOWS, free // 2 // used))

    def threads(self) -> int:
        """Batches at a time: one for each core; on a GPU two, so that it never waits."""
        return available_cores() if self.device.type == "cpu" else 2

    def one_pass(self) -> TorchPass | None:
        """The network in two steps, where its encoder hears only so far."""
        stretches = getattr(self.network, "stretches", None)
        return None if stretches is None else TorchPass(self.network, stretches, self.device)

    def score_windows(
        self, waveforms: NDArray[np.float32], lengths: Sequence[int]
    ) -> NDArray[np.float64]:
        """Windows [B, S], padded after ``lengths`` samples → strong scores [B, T, C]."""
        return self.score_both(waveforms, lengths)[0]

    def score_both(
        self, waveforms: NDArray[np.float32], lengths: Sequence[int]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Windows as above → strong scores [B, T, C] and weak ones [B, C].

        Weak ones are NaN where the network gives none.

        A batch for which the device has no memory is scored in halves.
        """
        try:
            return self._score_windows(waveforms, lengths)
        except torch.OutOfMemoryError:
            half = len(waveforms) // 2
            if not half:
                raise
        torch.cuda.empty_cache()
        halves = [slice(None, half), slice(half, None)]
        both = [self.score_both(waveforms[own], lengths[own]) for own in halves]
        strong, weak = zip(*both, strict=True)
        return np.concatenate(strong), np.concatenate(weak)

    def _score_windows(
        self, waveforms: NDArray[np.float32], lengths: Sequence[int]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        device = self.device
        inputs = [torch.from_numpy(waveforms).to(device)]
        if getattr(self.network, "masks_padding", False):
            covering = self.spec.grid.frames_covering
            sounding = torch.tensor([covering(length) for length in lengths])
            valid = torch.arange(self.spec.frames) < sounding[:, None]  # [B, T]
            inputs.append(valid.to(device))
        with torch.inference_mode(), evaluating(self.network):
            output = self.network(*inputs)
        strong: NDArray[np.float64] = output.strong.detach().to("cpu", torch.float64).numpy()
        weak = getattr(output, "weak", None)
        if weak is None:
            return strong, np.full((len(strong), strong.shape[2]), np.nan)
        return strong, weak.detach().to("cpu", torch.float64).numpy()


class TorchPass:
    """A PyTorch network whose encoder runs once over a recording: a `PassScorer`.

    Args:
        network: With ``encode_frames`` and ``score_frames``.
        stretches: Which audio its frames need.
        device: Where it is.
    """

    def __init__(self, network: nn.Module, stretches: Stretches, device: torch.device) -> None:
        self._network = cast(Any, network)
        self._device = device
        self.context, self.samples = stretches.context, stretches.samples

    def encode(
        self, samples: NDArray[np.float32], first: int, frames: range
    ) -> NDArray[np.float32]:
        """Samples [S] from sample ``first`` of the recording on → vectors of frames [F, D]."""
        with torch.inference_mode(), evaluating(self._network):
            given = torch.from_numpy(samples).to(self._device)
            vectors: Tensor = self._network.encode_frames(given, first, frames)
        return vectors.float().cpu().numpy()

    def score_frames(
        self, waveforms: NDArray[np.float32], encoded: NDArray[np.float32]
    ) -> NDArray[np.float64]:
        """Windows [B, S] and their frames' vectors [B, T, D] → strong scores [B, T, C]."""
        inputs = (torch.from_numpy(array).to(self._device) for array in (waveforms, encoded))
        with torch.inference_mode(), evaluating(self._network):
            strong: Tensor = self._network.score_frames(*inputs)
        return strong.to("cpu", torch.float64).numpy()
