"""Encoder folders: a pretrained ATST-Frame and the heads it was pretrained with.

``model.safetensors`` holds ``encoder.*``, ``projector.*`` and ``predictor.*`` under the published
checkpoints' names (heads may be missing), ``config.yaml`` the format version, ``kind: encoder`` and
the encoder's settings, ``README.md`` the model card. Nothing in it is ever unpickled.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from earmark import __version__
from earmark.core.config import EncoderSettings, dump_yaml, load_yaml, parse_settings
from earmark.core.errors import BundleError
from earmark.model.atst import AtstFrame

FORMAT = 1
KIND = "encoder"
FILES = ("model.safetensors", "config.yaml", "README.md")
HEADS = ("projector", "predictor")


@dataclass(frozen=True)
class EncoderFolder:
    """A loaded encoder folder.

    Attributes:
        encoder: In evaluation mode.
        heads: Tensors by published name, as ``projector.0.weight``; empty without heads.
        path: The folder.
    """

    encoder: AtstFrame
    heads: dict[str, Tensor]
    path: Path


def save_encoder(
    folder: str | Path, encoder: AtstFrame, heads: Mapping[str, Tensor], card: str
) -> Path:
    """Write an encoder folder; each file appears whole or not at all.

    Args:
        folder: Made if missing; files of an earlier one are replaced.
        encoder: Its weights and settings are stored.
        heads: Tensors by published name (`head_names`), or nothing.
        card: Content of ``README.md``.

    Raises:
        ValueError: A head's name is not of a projector or predictor.
    """
    strangers = [name for name in heads if name.split(".")[0] not in HEADS]
    if strangers:
        raise ValueError(f"no names of heads: {', '.join(strangers)}")
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    config = {
        "format": FORMAT,
        "kind": KIND,
        "earmark": __version__,
        "encoder": encoder.settings.model_dump(mode="json"),
    }
    weights = {f"encoder.{name}": value for name, value in encoder.state_dict().items()}
    weights |= dict(heads)
    with tempfile.TemporaryDirectory(dir=folder) as temporary:
        draft = Path(temporary)
        plain = {name: value.detach().cpu().contiguous() for name, value in weights.items()}
        save_file(plain, draft / "model.safetensors", metadata={"format": "pt"})
        (draft / "config.yaml").write_text(dump_yaml(config), encoding="utf-8")
        (draft / "README.md").write_text(card, encoding="utf-8")
        mode = (draft / "config.yaml").stat().st_mode
        for name in FILES:
            (draft / name).chmod(mode)  # safetensors writes files only their owner may read
            (draft / name).replace(folder / name)
    return folder


def is_encoder_folder(folder: str | Path) -> bool:
    """Whether a folder is an encoder's, and not a bundle or something else."""
    path = Path(folder) / "config.yaml"
    return path.is_file() and load_yaml(path).get("kind") == KIND


def load_encoder(folder: str | Path) -> EncoderFolder:
    """Load an encoder folder.

    Raises:
        BundleError: It is none, of another format, or its files do not fit each other.
    """
    folder = Path(folder)
    missing = [name for name in FILES[:2] if not (folder / name).is_file()]
    if missing or not is_encoder_folder(folder):
        raise BundleError(
            f"is no encoder folder: {', '.join(missing) or 'config.yaml is not of one'}"
            f"{' missing' if missing else ''}",
            where=folder,
            mend="An encoder folder is what `earmark pretrain` and `earmark import` leave",
        )
    config = load_yaml(folder / "config.yaml")
    if config.get("format") != FORMAT:
        raise BundleError(
            f"has encoder format {config.get('format')!r}; this version reads {FORMAT}",
            where=folder / "config.yaml",
            mend="Use the version of earmark named in the file",
        )
    settings = parse_settings(EncoderSettings, config.get("encoder") or {}, folder / "config.yaml")
    encoder, path = AtstFrame(settings), folder / "model.safetensors"
    try:
        weights = load_file(path)
        heads = {name: weights.pop(name) for name in list(weights) if name.split(".")[0] in HEADS}
        named = {name.removeprefix("encoder."): value for name, value in weights.items()}
        encoder.load_state_dict(named)
    except (SafetensorError, RuntimeError) as error:
        reason = " ".join(str(error).split())[:300]
        raise BundleError(f"weights do not fit config.yaml ({reason})", where=path) from None
    return EncoderFolder(encoder.eval(), heads, folder)


def head_names(head: str, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A `FrameHead`'s state dict under published names: ``layers.0.weight`` → ``HEAD.0.weight``.

    Args:
        head: ``projector`` or ``predictor``.
        state: Of the `earmark.method.heads.FrameHead`.
    """
    return {f"{head}.{name.removeprefix('layers.')}": value for name, value in state.items()}


def head_state(head: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The other way: published names of all heads → one `FrameHead`'s state dict."""
    start = f"{head}."
    return {
        f"layers.{name.removeprefix(start)}": value
        for name, value in tensors.items()
        if name.startswith(start)
    }
