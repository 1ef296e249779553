"""What scores windows, whatever it runs on: all that detection asks of a network; and one by name.

Nothing here needs PyTorch; a network that is a PyTorch module gets its adapter, and loads PyTorch,
when it is first asked for. A bundle runs by its ONNX form where it has one.
"""

from __future__ import annotations

import ctypes
import logging
import sys
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, cast

import numpy as np
from numpy.typing import NDArray

from earmark.core.config import load_yaml
from earmark.core.errors import NEEDS_TORCH, BundleError, ConfigError, has_package
from earmark.core.parallel import available_cores
from earmark.core.spec import ModelSpec, spec_of
from earmark.detect.postprocess_spec import POSTPROCESS_FILE, PostProcess, postprocess_of
from earmark.model.bundle_files import ONNX_FORM, checked_bundle, needed_files
from earmark.model.folder import folder_fingerprint
from earmark.model.onnx_form import OnnxForm, form_fault
from earmark.model.onnx_network import SUFFIX, OnnxNetwork
from earmark.model.precision import FLOAT32, Precision, detection_precision

if TYPE_CHECKING:
    from torch import nn


class WindowScorer(Protocol):
    """Scores windows of audio: NumPy in, NumPy out. Several threads may call it at once.

    Further methods are optional: ``one_thread_each()``, for one whose runtime would use several
    cores for a call, ``batch_size()`` and ``threads()``; see the functions below; and
    ``one_pass()``, for one that computes a part of its work once over a recording: see
    `earmark.detect.one_pass`.
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


class AroundScorer:
    """What changes the scores of another scorer, and runs as that one does.

    Args:
        network: What scores windows.
    """

    def __init__(self, network: Network) -> None:
        self._scorer = as_scorer(network)

    def one_thread_each(self) -> AbstractContextManager[Callable[[], object]]:
        """What threads that call it need."""
        return one_thread_each(self._scorer)

    def batch_size(self) -> int:
        """Windows per call that suit what it runs on."""
        return suitable_batch(self._scorer)

    def threads(self) -> int:
        """Batches at a time that suit what it runs on."""
        return suitable_threads(self._scorer)


PRECISIONS = ("32-true", "bf16-mixed", "auto")
RUNTIMES = ("auto", "onnx", "torch")
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Trained:
    """A network and its post-processing.

    Attributes:
        network: A PyTorch network in evaluation mode, or what runs an exported one.
        postprocess: How its scores become events.
        path: The bundle's folder, or the exported file.
        fingerprint: Identifies the content, and the precision if it is not float32.
    """

    network: Network
    postprocess: PostProcess
    path: Path
    fingerprint: str

    @property
    def labels(self) -> tuple[str, ...]:
        """Class names in the order of the score columns."""
        return spec_of(self.network).labels


def load_trained(
    name: str | Path,
    device: str = "auto",
    precision: str = PRECISIONS[0],
    runtime: str = RUNTIMES[0],
) -> Trained:
    """Loads a network to detect with.

    Args:
        name: A bundle that comes with Earmark (``"mini"``), a bundle's folder, or the name of a
            repository on the Hugging Face Hub; or a file of `earmark export` (``.onnx``).
        device: ``auto`` (a CUDA GPU, the CPU where there is none), ``cpu``, ``cuda:1`` …
        precision: ``32-true``; ``bf16-mixed``: the encoder's products in bfloat16; or ``auto``, of
            these what `choose_precision` gives.
        runtime: Of a bundle. ``auto`` takes ONNX Runtime, which starts faster, on the CPU and
            where PyTorch is not installed, and PyTorch on another device, in another precision and
            for a bundle without a usable ONNX form; ``onnx`` and ``torch`` leave no choice.

    Raises:
        BundleError: If there is no such bundle, it is not complete, or PyTorch is missing and it
            has no ONNX form of its present weights.
        ConfigError: If the bundle's post-processing is not usable, there is no such device,
            precision or runtime, the network cannot have that one, or a runtime is missing.
    """
    for kind, given, known in (
        ("precision", precision, PRECISIONS), ("runtime", runtime, RUNTIMES)
    ):  # fmt: skip
        if given not in known:
            raise ConfigError(
                f"no {kind} {given!r} to detect with", hint=f"Choose {' or '.join(known)}"
            )
    if precision == "auto":
        precision = choose_precision(name, device, runtime).name
    if str(name).endswith(SUFFIX):
        if precision != PRECISIONS[0]:
            raise ConfigError(
                "an exported network computes as it was exported",
                where=name,
                hint=f"Leave out precision {precision}, or detect with the bundle itself",
            )
        exported = OnnxNetwork(name, device=device)
        postprocess = postprocess_of(exported.postprocess, exported.path)
        return Trained(exported, postprocess, exported.path, exported.fingerprint)
    folder = checked_bundle(name)
    fingerprint = folder_fingerprint(folder, needed_files(folder))
    if _takes_onnx(folder, device, precision, runtime):
        path = folder / POSTPROCESS_FILE
        postprocess = postprocess_of(load_yaml(path), path)
        return Trained(OnnxForm(folder, device=device), postprocess, folder, fingerprint)
    from earmark.detect.torch_network import find_device, prepare
    from earmark.model.bundle import load_bundle

    place = find_device(device)
    bundle = load_bundle(folder)
    prepare(bundle.network, place, precision, bundle.path)
    postprocess = postprocess_of(bundle.postprocess, bundle.path / POSTPROCESS_FILE)
    own = "" if precision == PRECISIONS[0] else f"-{precision}"
    return Trained(bundle.network, postprocess, bundle.path, fingerprint + own)


def choose_precision(name: str | Path, device: str = "auto", runtime: str = "auto") -> Precision:
    """What ``auto`` stands for, and why: bfloat16 where it is faster and the card says its cost.

    Args:
        name: As of `load_trained`.
        device: …
        runtime: …

    Raises:
        BundleError: If there is no such bundle, or it is not complete.
    """
    if runtime == "onnx":
        return Precision(FLOAT32, "ONNX Runtime computes in it")
    return detection_precision(
        Path(name) if str(name).endswith(SUFFIX) else checked_bundle(name), device
    )


def _takes_onnx(folder: Path, device: str, precision: str, runtime: str) -> bool:
    """Whether a bundle runs by its ONNX form.

    Raises:
        BundleError: It has none that is usable, and one is needed.
        ConfigError: The precision needs PyTorch, which is not installed or not to be taken.
    """
    torch_there = has_package("torch")
    if runtime == "torch":
        if not torch_there:
            raise ConfigError("this runtime needs PyTorch", hint=NEEDS_TORCH)
        return False
    if precision != PRECISIONS[0]:
        if runtime == "onnx" or not torch_there:
            raise ConfigError(f"precision {precision} needs PyTorch", hint=NEEDS_TORCH)
        return False
    if runtime == "auto" and torch_there and not _on_cpu(device):
        return False
    fault = form_fault(folder)
    if fault is None:
        return True
    if runtime == "onnx":
        raise BundleError(
            fault, where=folder, hint="Make it with: earmark export BUNDLE --into-bundle"
        )
    if not torch_there:
        raise BundleError(
            f"{fault}, and without it needs PyTorch",
            where=folder,
            hint=f"{NEEDS_TORCH}; or, where PyTorch is: earmark export BUNDLE --into-bundle",
        )
    if (folder / ONNX_FORM).is_file():
        _log.warning("%s %s: PyTorch is used; earmark export BUNDLE --into-bundle", folder, fault)
    return False


def _on_cpu(device: str) -> bool:
    """Whether a device means the CPU, without loading PyTorch: ``auto`` asks for CUDA's driver."""
    if device != "auto":
        return device == "cpu"
    try:
        ctypes.CDLL("nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1")
    except OSError:
        return True
    return False
