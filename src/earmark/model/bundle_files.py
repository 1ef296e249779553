"""The files of a bundle: a folder, readable without this program, and without PyTorch.

``model.safetensors`` (weights), ``config.yaml`` (format version and network settings),
``labels.txt`` (one class a line), ``postprocess.yaml`` (medians and thresholds by class),
``README.md`` (the model card). Nothing in it is ever unpickled. A bundle may have its network as
ONNX, too (`earmark.model.onnx_form`).

A bundle of format 2 has no weights of its own: its ``config.yaml`` names an encoder that comes with
Earmark, whose classifier gives the scores (`earmark.model.tagger`), and the digest of its weights.
``classes.csv`` beside it has the identifiers of the classes.
"""

from __future__ import annotations

import csv
import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from earmark.core.config import (
    AnyEncoderSettings,
    NetworkSettings,
    Positive,
    Settings,
    dump_yaml,
    load_yaml,
    parse_settings,
)
from earmark.core.errors import BundleError
from earmark.core.files import split_lines, write_text
from earmark.core.files.bounds import read_bytes, stays_inside
from earmark.core.folders import shipped_folder
from earmark.core.spec import ModelSpec
from earmark.model.folder import (
    ENCODER_WEIGHTS,
    about_tensors,
    is_encoder,
    missing_files,
    read_config,
)

FORMAT, TAGGER_FORMAT = 1, 2
FILES = ("model.safetensors", "config.yaml", "labels.txt", "postprocess.yaml", "README.md")
NEEDED = FILES[:4]
CLASSES = "classes"
"""Where the file of weights has the digest of its classes."""
CLASS_IDS = "classes.csv"
ONNX_FORM = "onnx.json"
ONNX_GRAPHS = {"windows": "windows.onnx", "encode": "encode.onnx", "frames": "frames.onnx"}
EXTRAS = (CLASS_IDS, "NOTICE", "LICENSE", ONNX_FORM, *ONNX_GRAPHS.values())
"""Files that some bundles have, too."""


class TaggerSettings(Settings):
    """What a bundle without weights of its own says instead of a network.

    Attributes:
        encoder: Kind and settings of the encoder, whose classifier names the classes.
        weights: Name of the encoder's folder that comes with Earmark.
        sha256: Of that folder's weights: others would give other scores.
        frame_hop: Samples of a frame.
        window: Samples that are scored in one call.
    """

    encoder: AnyEncoderSettings
    weights: str
    sha256: str
    frame_hop: Positive
    window: Positive


def needed_files(folder: str | Path) -> tuple[str, ...]:
    """Names of the files that a bundle needs: weights only where it has its own."""
    config = Path(folder) / "config.yaml"
    own = not config.is_file() or load_yaml(config).get("format") != TAGGER_FORMAT
    return NEEDED if own else NEEDED[1:]


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


def checked_bundle(name: str | Path) -> Path:
    """The folder of a bundle that has all its files.

    Raises:
        BundleError: There is no such bundle, or it lacks a file.
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
    return folder


def bundle_settings(folder: Path) -> NetworkSettings | TaggerSettings:
    """What a bundle's ``config.yaml`` says of its network.

    Raises:
        BundleError: It is of another format.
        ConfigError: It is not valid.
    """
    path = folder / "config.yaml"
    config = read_config(path, "bundle", FORMAT, TAGGER_FORMAT)
    if config["format"] == TAGGER_FORMAT:
        return parse_settings(TaggerSettings, config.get("tagger") or {}, path)
    return parse_settings(NetworkSettings, config.get("network") or {}, path)


def bundle_spec(folder: Path, settings: NetworkSettings | TaggerSettings) -> ModelSpec:
    """Classes and time line of a bundle's network.

    Raises:
        BundleError: The identifiers are not of these classes.
    """
    labels = tuple(label for label in _text(folder / "labels.txt").split("\n") if label)
    if not labels or len(set(labels)) < len(labels):
        what = "names a class twice" if labels else "names no class"
        raise BundleError(what, where=folder / "labels.txt", hint="One class a line, each once")
    if not isinstance(settings, TaggerSettings):
        digest = about_tensors(folder / FILES[0]).get(CLASSES, "")
        if digest not in ("", classes_digest(labels)):  # bundles of version 0.1 have none
            raise BundleError(
                "has other classes than the weights were trained for, or another order",
                where=folder / "labels.txt",
                hint="Take labels.txt and model.safetensors of one bundle",
            )
    ids = class_ids(folder, labels) if isinstance(settings, TaggerSettings) else ()
    return ModelSpec(labels, settings.frame_hop, settings.window, ids=ids)


def classes_digest(labels: Sequence[str]) -> str:
    """What the file of weights says of the classes, so that no other names are put to them."""
    return hashlib.sha256("\n".join(labels).encode()).hexdigest()[:16]


def weights_file(folder: Path, settings: NetworkSettings | TaggerSettings) -> Path:
    """The file with the weights of a bundle: its own, or that of an encoder it shares with others.

    Raises:
        BundleError: The encoder is not there, or has other weights than the bundle was made with.
    """
    if not isinstance(settings, TaggerSettings):
        return folder / FILES[0]
    path = shipped_folder("bundles") / settings.weights / ENCODER_WEIGHTS
    where = folder / "config.yaml"
    if not stays_inside(settings.weights):
        raise BundleError("weights must name an encoder that comes with Earmark", where=where)
    try:
        with path.open("rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError:
        raise BundleError(
            f"needs the encoder {settings.weights}, which this version does not have", where=where
        ) from None
    if found != settings.sha256:
        raise BundleError(
            f"was made with other weights of {settings.weights} (sha256 {settings.sha256[:12]}…, "
            f"here {found[:12]}…)",
            where=where,
            hint="Use the version of earmark named in the file, or install this one again",
        )
    return path


def class_ids(folder: Path, labels: tuple[str, ...]) -> tuple[str, ...]:
    """Identifiers of a bundle's classes, as its ``classes.csv`` has them; empty without the file.

    Raises:
        BundleError: It is no such table, or not of these classes.
    """
    path = folder / CLASS_IDS
    if not path.is_file():
        return ()
    try:
        rows = [row[1:3] for row in csv.reader(split_lines(_text(path))) if row][1:]
    except csv.Error as error:
        raise BundleError(f"is no table ({error})", where=path) from None
    if any(len(row) != 2 for row in rows) or [row[1] for row in rows] != list(labels):
        raise BundleError(
            "has other classes than labels.txt",
            where=path,
            hint="It has the columns index, mid and display_name, a row for each class in order",
        )
    return tuple(mid for mid, _ in rows)


def _text(path: Path) -> str:
    try:
        return read_bytes(path, BundleError).decode()
    except UnicodeDecodeError as error:
        raise BundleError(f"is no text in UTF-8 ({error.reason})", where=path) from None
