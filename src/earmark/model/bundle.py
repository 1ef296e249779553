"""Bundles as PyTorch networks: what training leaves, and loads again to go on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from earmark._version import __version__
from earmark.core.config import NetworkSettings, dump_yaml, load_yaml
from earmark.core.errors import BundleError
from earmark.core.spec import ModelSpec
from earmark.model.bundle_files import (
    CLASSES,
    FILES,
    FORMAT,
    TaggerSettings,
    bundle_settings,
    bundle_spec,
    checked_bundle,
    classes_digest,
    needed_files,
    weights_file,
)
from earmark.model.folder import (
    folder_fingerprint,
    read_tensors,
    refuse_non_finite,
    write_folder,
)
from earmark.model.sed import SedNetwork
from earmark.model.tagger import Tagger, load_tagger


@dataclass(frozen=True)
class Bundle:
    """A loaded bundle: the network in evaluation mode and how to read its scores."""

    network: SedNetwork | Tagger
    postprocess: dict[str, Any]
    path: Path

    @property
    def spec(self) -> ModelSpec:
        """Labels and time line of the network."""
        return self.network.spec

    @property
    def fingerprint(self) -> str:
        """16 hexadecimal digits over weights, settings, labels and post-processing."""
        return folder_fingerprint(self.path, needed_files(self.path))

    @property
    def trained(self) -> SedNetwork:
        """The network, which training or other programs can go on with.

        Raises:
            BundleError: It is an encoder's own classifier.
        """
        if isinstance(self.network, SedNetwork):
            return self.network
        raise BundleError(
            "is an encoder's own classifier, no trained detector",
            where=self.path,
            hint="Begin with the encoder itself: --init yamnet",
        )


def save_bundle(
    folder: str | Path, network: SedNetwork, postprocess: Mapping[str, Any], card: str
) -> Path:
    """Write a bundle; each file appears whole or not at all.

    Args:
        folder: Made if missing; files of an earlier bundle are replaced.
        network: Its weights and settings are stored; training heads are no part of it.
        postprocess: Content of ``postprocess.yaml``.
        card: Content of ``README.md``.
    """
    config = {
        "format": FORMAT,
        "earmark": __version__,
        "network": network.settings.model_dump(mode="json"),
    }
    texts = {
        "config.yaml": dump_yaml(config),
        "labels.txt": "\n".join(network.spec.labels) + "\n",
        "postprocess.yaml": dump_yaml(postprocess),
        "README.md": card,
    }
    about = {CLASSES: classes_digest(network.spec.labels)}
    return write_folder(folder, FILES[0], network.state_dict(), texts, about)


def load_bundle(name: str | Path) -> Bundle:
    """Load a bundle by folder, shipped name or Hub id.

    Raises:
        BundleError: A file is missing, of another format, or does not fit the others.
    """
    folder = checked_bundle(name)
    settings = bundle_settings(folder)
    spec = bundle_spec(folder, settings)
    network: SedNetwork | Tagger
    if isinstance(settings, TaggerSettings):
        network = load_tagger(settings, spec, folder)
    else:
        network = _load_network(folder, settings, spec.labels)
    return Bundle(network.eval(), load_yaml(folder / "postprocess.yaml"), folder)


def _load_network(folder: Path, settings: NetworkSettings, labels: tuple[str, ...]) -> SedNetwork:
    """The network of a bundle that has weights of its own."""
    weights = weights_file(folder, settings)
    tensors = read_tensors(weights)
    try:
        with torch.device("meta"):  # nothing is asked for that the weights do not have
            SedNetwork(settings, labels).load_state_dict(tensors, assign=True)
        network = SedNetwork(settings, labels)
        network.load_state_dict(tensors)
    except RuntimeError as error:
        reason = " ".join(str(error).split())[:300]
        raise BundleError(
            f"weights do not fit config.yaml and labels.txt ({reason})", where=weights
        ) from None
    refuse_non_finite(tensors, weights)
    return network
