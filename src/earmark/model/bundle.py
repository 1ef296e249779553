"""Bundles: what training leaves and detection loads. A folder, readable without this program.

``model.safetensors`` (weights), ``config.yaml`` (format version and network settings),
``labels.txt`` (one class a line), ``postprocess.yaml`` (medians and thresholds by class),
``README.md`` (the model card). Nothing in it is ever unpickled.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file

from earmark._version import __version__
from earmark.core.config import NetworkSettings, dump_yaml, load_yaml, parse_settings
from earmark.core.errors import BundleError
from earmark.core.spec import ModelSpec
from earmark.model.encoders.encoder_file import is_encoder
from earmark.model.folder import folder_fingerprint, write_folder
from earmark.model.sed import SedNetwork

FORMAT = 1
FILES = ("model.safetensors", "config.yaml", "labels.txt", "postprocess.yaml", "README.md")


@dataclass(frozen=True)
class Bundle:
    """A loaded bundle: the network in evaluation mode and how to read its scores."""

    network: SedNetwork
    postprocess: dict[str, Any]
    path: Path

    @property
    def spec(self) -> ModelSpec:
        """Labels and time line of the network."""
        return self.network.spec

    @property
    def fingerprint(self) -> str:
        """16 hexadecimal digits over weights, settings, labels and post-processing."""
        return folder_fingerprint(self.path, FILES[:4])


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
    return write_folder(folder, FILES[0], network.state_dict(), texts)


def is_bundle(folder: str | Path) -> bool:
    """Whether a folder holds all that a bundle needs (its card may be missing)."""
    return all((Path(folder) / name).is_file() for name in FILES[:4])


def save_postprocess(folder: str | Path, postprocess: Mapping[str, Any]) -> Path:
    """Give a bundle another ``postprocess.yaml``, whole or not at all; its fingerprint changes.

    Args:
        folder: A bundle's folder.
        postprocess: Content of the file.

    Returns:
        The file.

    Raises:
        BundleError: The folder is no bundle or the file cannot be written.
    """
    folder = Path(folder)
    missing = [name for name in FILES[:4] if not (folder / name).is_file()]
    if missing:
        raise BundleError(f"is no bundle: {', '.join(missing)} missing", where=folder)
    path = folder / "postprocess.yaml"
    try:
        with tempfile.TemporaryDirectory(dir=folder) as temporary:
            draft = Path(temporary) / path.name
            draft.write_text(dump_yaml(postprocess), encoding="utf-8")
            draft.replace(path)
    except OSError as error:
        raise BundleError(f"cannot be written ({error.strerror})", where=path) from None
    return path


def shipped_bundles() -> tuple[str, ...]:
    """Names of the bundles inside the package."""
    folder = Path(str(resources.files("earmark"))) / "bundles"
    return tuple(sorted(path.parent.name for path in folder.glob("*/config.yaml")))


def find_bundle(name: str | Path) -> Path:
    """The folder of a bundle: a path, the name of a shipped one, or a Hub id ``owner/name``.

    Raises:
        BundleError: Nothing of that name is here or can be fetched.
    """
    path = Path(name)
    if path.is_dir():
        return path
    shipped = Path(str(resources.files("earmark"))) / "bundles" / str(name)
    if str(name) in shipped_bundles():
        return shipped
    if str(name).count("/") == 1 and not path.is_absolute() and not str(name).startswith("."):
        return _from_hub(str(name))
    known = ", ".join(shipped_bundles()) or "none"
    raise BundleError(
        "no such bundle",
        where=name,
        hint=f"Give a folder that training left, or a shipped name ({known})",
    )


def _from_hub(name: str) -> Path:
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(name, allow_patterns=list(FILES)))
    # The hub's client raises many kinds of error, from HTTP to validation; all mean the same here.
    except Exception as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise BundleError(
            f"is no local folder, and the Hub gave nothing ({reason})",
            where=name,
            hint="Check the name and the connection, or give a local folder",
        ) from None


def load_bundle(name: str | Path) -> Bundle:
    """Load a bundle by folder, shipped name or Hub id.

    Raises:
        BundleError: A file is missing, of another format, or does not fit the others.
    """
    folder = find_bundle(name)
    missing = [file for file in FILES[:4] if not (folder / file).is_file()]
    if missing and is_encoder(folder):
        raise BundleError(
            "is an encoder, not a detector",
            where=folder,
            hint="Train one that begins with it: earmark train RECIPE --init FOLDER",
        )
    if missing:
        raise BundleError(
            f"is no bundle: {', '.join(missing)} missing",
            where=folder,
            hint="A bundle is what `earmark train` leaves in its run folder",
        )
    config = load_yaml(folder / "config.yaml")
    if config.get("format") != FORMAT:
        raise BundleError(
            f"has bundle format {config.get('format')!r}; this version reads {FORMAT}",
            where=folder / "config.yaml",
            hint="Use the version of earmark named in the file",
        )
    settings = parse_settings(NetworkSettings, config.get("network") or {}, folder / "config.yaml")
    labels = tuple((folder / "labels.txt").read_text(encoding="utf-8").split("\n"))
    network = SedNetwork(settings, tuple(label for label in labels if label))
    _load_weights(network, folder / "model.safetensors")
    return Bundle(network.eval(), load_yaml(folder / "postprocess.yaml"), folder)


def _load_weights(network: SedNetwork, path: Path) -> None:
    try:
        network.load_state_dict(load_file(path))
    except (SafetensorError, RuntimeError) as error:
        reason = " ".join(str(error).split())[:300]
        raise BundleError(
            f"weights do not fit config.yaml and labels.txt ({reason})", where=path
        ) from None
