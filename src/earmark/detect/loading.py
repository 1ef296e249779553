"""A trained network by name, with the way its scores are read: what every command begins with."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from earmark.core.errors import BundleError, ConfigError
from earmark.detect.postprocess import PostProcess

if TYPE_CHECKING:
    from earmark.detect.network import Network


@dataclass(frozen=True)
class Trained:
    """A network and its post-processing.

    Attributes:
        network: A PyTorch network in evaluation mode, or what runs an exported one.
        postprocess: How its scores become events.
        path: The bundle's folder.
        fingerprint: Identifies the content.
    """

    network: Network
    postprocess: PostProcess
    path: Path
    fingerprint: str


def load_trained(name: str | Path, device: str = "auto") -> Trained:
    """Loads a network to detect with.

    Args:
        name: A bundle that comes with Earmark (``"mini"``), a bundle's folder, or the name of a
            repository on the Hugging Face Hub.
        device: ``auto`` (a CUDA GPU, the CPU where there is none), ``cpu``, ``cuda:1`` …

    Raises:
        BundleError: If there is no such bundle, it is not complete, or PyTorch is missing.
        ConfigError: If the bundle's post-processing is not usable, or there is no such device.
    """
    try:
        from earmark.detect.torch_network import find_device
        from earmark.model.bundle import load_bundle
        from earmark.model.packed import pack
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in ("torch", "safetensors"):
            raise
        raise BundleError(
            f"a bundle needs PyTorch, and {error.name} is not installed",
            where=name,
            mend="Install it with: pip install torch safetensors",
        ) from None
    place = find_device(device)
    bundle = load_bundle(name)
    bundle.network.to(place)
    pack(bundle.network)
    try:
        postprocess = PostProcess.from_dict(bundle.postprocess)
    except ConfigError as error:
        where = bundle.path / "postprocess.yaml"
        raise ConfigError(error.what, where=where, mend=error.mend) from None
    return Trained(bundle.network, postprocess, bundle.path, bundle.fingerprint)
