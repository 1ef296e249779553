"""A trained network by name, with the way its scores are read: what every command begins with."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from earmark.core.errors import BundleError, ConfigError
from earmark.core.spec import spec_of
from earmark.detect.postprocess_spec import POSTPROCESS_FILE, PostProcess, postprocess_of
from earmark.model.onnx_network import SUFFIX, OnnxNetwork

if TYPE_CHECKING:
    from earmark.detect.network import Network

PRECISIONS = ("32-true", "bf16-mixed")


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


def load_trained(name: str | Path, device: str = "auto", precision: str = PRECISIONS[0]) -> Trained:
    """Loads a network to detect with.

    Args:
        name: A bundle that comes with Earmark (``"mini"``), a bundle's folder, or the name of a
            repository on the Hugging Face Hub; or a file of `earmark export` (``.onnx``), for
            which PyTorch is not loaded.
        device: ``auto`` (a CUDA GPU, the CPU where there is none), ``cpu``, ``cuda:1`` …
        precision: ``32-true``, or ``bf16-mixed``: the encoder's products in bfloat16.

    Raises:
        BundleError: If there is no such bundle, it is not complete, or PyTorch is missing.
        ConfigError: If the bundle's post-processing is not usable, there is no such device or
            precision, the network cannot have that one, or ONNX Runtime is missing.
    """
    if precision not in PRECISIONS:
        raise ConfigError(
            f"no precision {precision!r} to detect with", hint=f"Choose {' or '.join(PRECISIONS)}"
        )
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
    try:
        from earmark.detect.torch_network import find_device, prepare
        from earmark.model.bundle import load_bundle
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in ("torch", "safetensors"):
            raise
        raise BundleError(
            f"a bundle needs PyTorch, and {error.name} is not installed",
            where=name,
            hint="Install it with: pip install torch safetensors, or export the bundle where "
            "PyTorch is: earmark export BUNDLE --out model.onnx",
        ) from None
    place = find_device(device)
    bundle = load_bundle(name)
    prepare(bundle.network, place, precision, bundle.path)
    postprocess = postprocess_of(bundle.postprocess, bundle.path / POSTPROCESS_FILE)
    own = "" if precision == PRECISIONS[0] else f"-{precision}"
    return Trained(bundle.network, postprocess, bundle.path, bundle.fingerprint + own)
