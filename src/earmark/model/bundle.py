"""Bundles: what training leaves and detection loads. A folder, readable without this program.

``model.safetensors`` (weights), ``config.yaml`` (format version and network settings),
``labels.txt`` (one class a line), ``postprocess.yaml`` (medians and thresholds by class),
``README.md`` (the model card). Nothing in it is ever unpickled.

A bundle of format 2 has no weights of its own: its ``config.yaml`` names an encoder that comes with
Earmark, whose classifier gives the scores (`earmark.model.tagger`), and the digest of its weights.
``classes.csv`` beside it has the identifiers of the classes.
"""

from __future__ import annotations

import csv
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file

from earmark._version import __version__
from earmark.core.config import NetworkSettings, dump_yaml, load_yaml, parse_settings
from earmark.core.errors import BundleError
from earmark.core.files import write_text
from earmark.core.folders import shipped_folder
from earmark.core.spec import ModelSpec
from earmark.model.encoders.encoder_file import is_encoder
from earmark.model.folder import folder_fingerprint, missing_files, read_config, write_folder
from earmark.model.sed import SedNetwork
from earmark.model.tagger import Tagger, TaggerSettings, load_tagger

FORMAT, TAGGER_FORMAT = 1, 2
FILES = ("model.safetensors", "config.yaml", "labels.txt", "postprocess.yaml", "README.md")
NEEDED = FILES[:4]
CLASS_IDS = "classes.csv"
EXTRAS = (CLASS_IDS, "NOTICE", "LICENSE")
"""Files that some bundles have, too."""


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


def needed_files(folder: str | Path) -> tuple[str, ...]:
    """Names of the files that a bundle needs: weights only where it has its own."""
    config = Path(folder) / "config.yaml"
    own = not config.is_file() or load_yaml(config).get("format") != TAGGER_FORMAT
    return NEEDED if own else NEEDED[1:]


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
    return not missing_files(folder, needed_files(folder))


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
    if missing := missing_files(folder, needed_files(folder)):
        raise BundleError(f"is no bundle: {', '.join(missing)} missing", where=folder)
    path = Path(folder) / "postprocess.yaml"
    try:
        write_text(path, dump_yaml(postprocess))
    except OSError as error:
        raise BundleError(f"cannot be written ({error.strerror})", where=path) from None
    return path


def shipped_bundles() -> tuple[str, ...]:
    """Names of the bundles inside the package."""
    return tuple(
        sorted(path.parent.name for path in shipped_folder("bundles").glob("*/config.yaml"))
    )


def find_bundle(name: str | Path) -> Path:
    """The folder of a bundle: a path, the name of a shipped one, or a Hub id ``owner/name``.

    Raises:
        BundleError: Nothing of that name is here or can be fetched.
    """
    path = Path(name)
    if path.is_dir():
        return path
    if str(name) in shipped_bundles():
        return shipped_folder("bundles") / name
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
        return Path(snapshot_download(name, allow_patterns=[*FILES, *EXTRAS]))
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
    missing = missing_files(folder, needed_files(folder))
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
    config = read_config(folder / "config.yaml", "bundle", FORMAT, TAGGER_FORMAT)
    text = (folder / "labels.txt").read_text(encoding="utf-8")
    labels = tuple(label for label in text.split("\n") if label)
    network: SedNetwork | Tagger
    if config["format"] == TAGGER_FORMAT:
        where = folder / "config.yaml"
        settings = parse_settings(TaggerSettings, config.get("tagger") or {}, where)
        network = load_tagger(settings, labels, class_ids(folder, labels), where)
    else:
        network = _load_network(folder, config, labels)
    return Bundle(network.eval(), load_yaml(folder / "postprocess.yaml"), folder)


def _load_network(folder: Path, config: Mapping[str, Any], labels: tuple[str, ...]) -> SedNetwork:
    """The network of a bundle that has weights of its own."""
    settings = parse_settings(NetworkSettings, config.get("network") or {}, folder / "config.yaml")
    network = SedNetwork(settings, labels)
    weights = folder / "model.safetensors"
    try:
        network.load_state_dict(load_file(weights))
    except (SafetensorError, RuntimeError) as error:
        reason = " ".join(str(error).split())[:300]
        raise BundleError(
            f"weights do not fit config.yaml and labels.txt ({reason})", where=weights
        ) from None
    return network


def class_ids(folder: Path, labels: tuple[str, ...]) -> tuple[str, ...]:
    """Identifiers of a bundle's classes, as its ``classes.csv`` has them; empty without the file.

    Raises:
        BundleError: It is no such table, or not of these classes.
    """
    path = folder / CLASS_IDS
    if not path.is_file():
        return ()
    with path.open(encoding="utf-8", newline="") as file:
        rows = [row[1:3] for row in csv.reader(file) if row][1:]
    if [row[-1] for row in rows] != list(labels) or any(len(row) != 2 for row in rows):
        raise BundleError(
            "has other classes than labels.txt",
            where=path,
            hint="It has the columns index, mid and display_name, a row for each class in order",
        )
    return tuple(mid for mid, _ in rows)
