"""Folders of tensors and texts: written as one, whole or not at all, and read again."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Iterable, Mapping
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from safetensors import SafetensorError, safe_open

from earmark.core.config import load_yaml
from earmark.core.errors import BundleError
from earmark.core.files import DRAFT, flush_file
from earmark.core.files.bounds import read_bytes, refuse_special

if TYPE_CHECKING:
    from torch import Tensor

READY = ".ready"
"""Where the files of a folder stand that are complete, on their way to their places."""
ENCODER_WEIGHTS, ENCODER_CONFIG = "encoder.safetensors", "encoder.yaml"


def write_folder(
    folder: str | Path,
    weights: str,
    tensors: Mapping[str, Tensor],
    texts: Mapping[str, str],
    about: Mapping[str, str] = {},
) -> Path:
    """Write one file of tensors and some of text; files of the same names are replaced.

    Args:
        folder: Made if missing.
        weights: Name of the safetensors file.
        tensors: Its content.
        texts: Content of the other files by name.
        about: What the file of tensors says of them.

    Raises:
        BundleError: A tensor is not finite, or the folder cannot be written.
    """
    folder = Path(folder)
    refuse_non_finite(tensors, folder)
    try:
        _write(folder, weights, tensors, texts, about)
    except OSError as error:
        raise BundleError(f"cannot be written ({error.strerror})", where=folder) from None
    return folder


def _write(
    folder: Path,
    weights: str,
    tensors: Mapping[str, Tensor],
    texts: Mapping[str, str],
    about: Mapping[str, str],
) -> None:
    from safetensors.torch import save

    folder.mkdir(parents=True, exist_ok=True)
    settle(folder)
    draft = folder / f"{DRAFT}{os.getpid()}"
    shutil.rmtree(draft, ignore_errors=True)
    draft.mkdir()
    try:
        stored = {name: value.detach().cpu().contiguous() for name, value in tensors.items()}
        # The library's own file only its owner may read, and its errors are none of the system.
        content = save(stored, metadata={"format": "pt", **about})
        (draft / weights).write_bytes(_in_order(content))
        for name, text in texts.items():
            (draft / name).write_text(text, encoding="utf-8")
        for name in (weights, *texts):
            flush_file(draft / name)
        draft.replace(folder / READY)
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    settle(folder)


def _in_order(content: bytes) -> bytes:
    """A safetensors file whose metadata are sorted: the library's have any order."""
    end = 8 + int.from_bytes(content[:8], "little")
    header = json.loads(content[8:end])
    header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    text = text.ljust(-(-len(text) // 8) * 8)
    return len(text).to_bytes(8, "little") + text + content[end:]


def settle(folder: Path) -> None:
    """Give the files of a folder that were complete their places, if a run was stopped doing so.

    From the moment on that they stand together under the name `READY` they are the folder's files,
    and whoever looks next finishes what was begun; several may.
    """
    ready = folder / READY
    if ready.is_symlink() or not ready.is_dir():  # a link would lead to files of others
        return
    for path in list(ready.iterdir()):
        with suppress(FileNotFoundError):  # another process was faster
            path.replace(folder / path.name)
    with suppress(OSError):
        ready.rmdir()


def about_tensors(path: Path) -> dict[str, str]:
    """What a safetensors file says of its tensors; nothing where it cannot be read."""
    try:
        with safe_open(str(path), "numpy") as file:
            return dict(file.metadata() or {})
    except (SafetensorError, OSError):
        return {}


def read_tensors(path: Path, library: Literal["torch", "numpy"] = "torch") -> dict[str, Any]:
    """The tensors of a safetensors file, by name.

    Args:
        path: The file.
        library: Whose tensors to make.

    Raises:
        BundleError: It is missing, special, damaged, or of numbers that the library does not have.
    """
    refuse_special(path, BundleError)
    load = import_module(f"safetensors.{library}").load_file
    try:
        tensors: dict[str, Any] = load(path)
    except (SafetensorError, OSError, KeyError, AttributeError, TypeError, ValueError) as error:
        reason = " ".join(str(error).split())[:200]
        raise BundleError(f"is no safetensors file ({reason})", where=path) from None
    return tensors


def refuse_non_finite(tensors: Mapping[str, Any], where: Path) -> None:
    """Weights that are NaN or infinite score nothing, and are neither written nor read.

    Args:
        tensors: PyTorch's or NumPy's, by name.
        where: Their file, for the error.

    Raises:
        BundleError: Some are.
    """
    bad = [name for name, value in tensors.items() if not _is_finite(value)]
    if bad:
        raise BundleError(
            f"has weights that are not finite ({', '.join(bad[:3])}; "
            f"{len(bad)} of {len(tensors)} tensors)",
            where=where,
            hint="Train again with a lower train.lr, or take an earlier bundle",
        )


def _is_finite(value: Any) -> bool:
    if isinstance(value, np.ndarray):
        return value.dtype.kind != "f" or bool(np.isfinite(value).all())
    return bool(value.isfinite().all())


def missing_files(folder: str | Path, names: Iterable[str]) -> list[str]:
    """Those of the files that a folder does not have, after `settle`.

    Raises:
        BundleError: The folder was being replaced when a run was stopped, and cannot be written.
    """
    try:
        settle(Path(folder))
    except OSError as error:
        raise BundleError(
            f"was being replaced when a run was stopped, and cannot be finished ({error.strerror})",
            where=folder,
            hint="Copy the folder to where it can be written",
        ) from None
    return [name for name in names if not (Path(folder) / name).is_file()]


def is_encoder(folder: str | Path) -> bool:
    """Whether a folder holds a pretrained encoder (it may hold other things, too)."""
    return not missing_files(folder, (ENCODER_WEIGHTS, ENCODER_CONFIG))


def read_config(path: Path, kind: str, *versions: int) -> dict[str, Any]:
    """The YAML file that says what a folder holds.

    Args:
        path: The file.
        kind: ``bundle`` or ``encoder``, for errors.
        versions: The formats that are read.

    Raises:
        ConfigError: It is no YAML mapping.
        BundleError: It is of another format.
    """
    config = load_yaml(path)
    if config.get("format") not in versions:
        known = " and ".join(map(str, versions))
        raise BundleError(
            f"has {kind} format {config.get('format')!r}; this version reads {known}",
            where=path,
            hint="Use the version of earmark named in the file",
        )
    return config


def folder_fingerprint(folder: Path, names: Iterable[str]) -> str:
    """16 hexadecimal digits over the names and content of files."""
    digest = hashlib.sha256()
    for name in names:
        digest.update(name.encode() + b"\0" + read_bytes(folder / name, BundleError))
    return digest.hexdigest()[:16]
