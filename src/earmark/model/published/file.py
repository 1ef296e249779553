"""Other people's checkpoint files, read without running anything that stands in them.

A ``.ckpt`` is a pickle, and a pickle is a program. Only tensors and plain values are taken from it
(``torch.load(weights_only=True)``), always. The few objects that training frameworks are known to
leave beside them (a `Namespace` of settings, a path, a NumPy number, Lightning's dictionaries and
the names of its callbacks) are read as inert records: none of their own code is run or even
imported. Anything else is refused.
"""

from __future__ import annotations

import contextlib
import hashlib
import re
import zipfile
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor

from earmark.core.config import Settings, parse_settings
from earmark.core.errors import BundleError
from earmark.core.files.bounds import check_archive, refuse_special
from earmark.model.folder import read_tensors

S = TypeVar("S", bound=Settings)

_HARMLESS = re.compile(
    r"builtins\.dict|collections\.defaultdict|argparse\.Namespace"
    r"|pathlib(\._local)?\.\w*Path"
    r"|numpy\.(_?core\.multiarray\.(scalar|_reconstruct)|ndarray|dtype|dtypes\.\w+)"
    r"|(pytorch_lightning|lightning_fabric|lightning\.(pytorch|fabric))\.[\w.]+"
)
KNOWN_LAYOUTS = (
    "Known are ATST-SED stage 1 and 2, CPJKU's DCASE 2024 networks, ATST-Frame (self-supervised, "
    "fine-tuned on AudioSet, clip-to-frame distilled), ATST-Clip, PretrainedSED's ATST-F, and "
    "YAMNet"
)
_LEFT_BY_THOP = ("total_ops", "total_params")  # a profiler's counters, in older ATST-SED files


class Inert(dict[str, Any]):
    """Stands for an object of another program: its attributes, and none of its behaviour."""

    def __init__(self, *_: object, **__: object) -> None:
        super().__init__()

    def __setstate__(self, state: object) -> None:
        """Take attributes, as unpickling sets them."""
        if isinstance(state, Mapping):
            self.update({str(name): value for name, value in state.items()})

    def __hash__(self) -> int:  # type: ignore[override]
        return id(self)


@dataclass(frozen=True)
class CheckpointFile:
    """What a file holds, sorted.

    Attributes:
        path: The file.
        tensors: Its state dict: the one under ``state_dict``, or the file's own tensors.
        networks: State dicts that stand on their own at the top (``sed_teacher``, ``student``).
        settings: Its ``hyper_parameters``.
        about: Epoch, step and version, where they are told.
        ignored: What was not looked at, with how many entries.
        fingerprint: 16 hexadecimal digits of the file's content.
    """

    path: Path
    tensors: dict[str, Tensor]
    networks: dict[str, dict[str, Tensor]] = field(default_factory=dict)
    settings: dict[str, Any] = field(default_factory=dict)
    about: dict[str, Any] = field(default_factory=dict)
    ignored: dict[str, int] = field(default_factory=dict)
    fingerprint: str = ""


def stored_settings(file: CheckpointFile, name: str, kind: type[S]) -> S | None:
    """Settings that our own export noted in a file (``hyper_parameters.earmark``); None without.

    Raises:
        ConfigError: They are there, but are no settings of this kind.
    """
    ours = file.settings.get("earmark")
    if not isinstance(ours, Mapping) or name not in ours:
        return None
    return parse_settings(kind, ours[name], f"{file.path}: hyper_parameters.earmark.{name}")


def read_checkpoint(path: str | Path) -> CheckpointFile:
    """Read a ``torch.save`` file or a safetensors file.

    Raises:
        BundleError: It is missing, is neither, or holds objects that are no data.
    """
    path = Path(path)
    refuse_special(path, BundleError)
    if not path.is_file():
        what = "is a folder, not a checkpoint file" if path.is_dir() else "no such file"
        raise BundleError(what, where=path)
    content = _content(path)
    if not isinstance(content, Mapping):
        raise BundleError(
            f"holds a {type(content).__name__}, not a checkpoint", where=path, hint=KNOWN_LAYOUTS
        )
    ignored: dict[str, int] = {}
    networks = {
        str(name): tensors
        for name, value in content.items()
        if name != "state_dict" and (tensors := _state_dict(value, ignored))
    }
    own = content.get("state_dict", content)
    about = {
        name: content[name]
        for name in ("epoch", "global_step", "pytorch-lightning_version")
        if isinstance(content.get(name), int | str)
    }
    settings = content.get("hyper_parameters")
    known = {"state_dict", "hyper_parameters", *about, *networks}
    for name, value in content.items():
        size = len(value) if isinstance(value, Mapping | list) else 1
        if size and name not in known and not isinstance(value, Tensor):
            ignored[str(name)] = size
    return CheckpointFile(
        path,
        _state_dict(own, ignored),
        networks,
        {str(name): value for name, value in settings.items()}
        if isinstance(settings, Mapping)
        else {},
        about,
        ignored,
        file_fingerprint(path),
    )


def _state_dict(value: object, ignored: dict[str, int]) -> dict[str, Tensor]:
    """The tensors of a mapping under the names their modules gave them; empty if it has none."""
    if not isinstance(value, Mapping):
        return {}
    found = {}
    for key, tensor in value.items():
        if not isinstance(tensor, Tensor):
            continue
        # Wrappers for several devices and for compilation put words of their own into names.
        name = str(key).replace("_orig_mod.", "").removeprefix("module.")
        if name.endswith(_LEFT_BY_THOP):
            ignored["*.total_ops, *.total_params"] = (
                ignored.get("*.total_ops, *.total_params", 0) + 1
            )
        else:
            found[name] = tensor
    return found


def _content(path: Path) -> object:
    if path.suffix == ".safetensors":
        try:
            return read_tensors(path)
        except BundleError as error:
            raise BundleError(error.what, where=path, hint=KNOWN_LAYOUTS) from None
    try:
        check_archive(path)
    except ValueError as error:
        raise BundleError(str(error), where=path, hint=KNOWN_LAYOUTS) from None
    whole = zipfile.is_zipfile(path)
    with path.open("rb") as file:
        if not whole and file.read(4) == b"PK\x03\x04":
            raise BundleError("is cut short", where=path, hint="Fetch it again")
    with _harmless_objects(path):
        try:
            return torch.load(path, map_location="cpu", weights_only=True, mmap=whole)
        # A damaged pickle fails in many ways: EOFError, KeyError, RuntimeError, UnpicklingError, …
        except Exception as error:
            if blocked := re.search(r"GLOBAL (\S+)", str(error)):
                raise _foreign(path, [blocked[1]]) from None
            raise BundleError(
                f"cannot be read ({_reason(error)})",
                where=path,
                hint=KNOWN_LAYOUTS,
            ) from None


def _harmless_objects(path: Path) -> contextlib.AbstractContextManager[Any]:
    """Lets known objects be read as inert records; refuses a file that holds others.

    Raises:
        BundleError: Names them.
    """
    serialization: Any = torch.serialization
    if not hasattr(serialization, "get_unsafe_globals_in_checkpoint"):  # before PyTorch 2.6
        return contextlib.nullcontext()
    try:
        objects = serialization.get_unsafe_globals_in_checkpoint(path)
    except Exception:  # an old file, or none of PyTorch's: reading it will tell
        return contextlib.nullcontext()
    if foreign := sorted(name for name in objects if not _HARMLESS.fullmatch(name)):
        raise _foreign(path, foreign)
    stand_ins = [(_stand_in(name), name) for name in objects]
    context: contextlib.AbstractContextManager[Any] = serialization.safe_globals(stand_ins)
    return context


def _foreign(path: Path, objects: list[str]) -> BundleError:
    return BundleError(
        f"holds objects that only running their code could restore ({', '.join(objects[:5])})",
        where=path,
        hint="Where it was made, save its tensors alone: "
        "torch.save({'state_dict': checkpoint['state_dict']}, path)",
    )


def _stand_in(name: str) -> Any:
    """What is made where a pickle names an object."""
    if name.endswith("AttributeDict"):
        return OrderedDict
    if name == "collections.defaultdict":
        return lambda *_: OrderedDict()
    return type("Inert", (Inert,), {})  # one for each, for a class itself may be a key


def _reason(error: Exception) -> str:
    text = " ".join(re.sub(r"\x1b\[\d*m", "", str(error)).split())
    if isinstance(error, KeyError):
        text = "its content makes no sense"
    return text.partition("WeightsUnpickler error: ")[2][:160] or text[:160] or type(error).__name__


def file_fingerprint(path: Path) -> str:
    """The first 16 digits of a file's SHA-256."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:16]
