"""A pretrained encoder in a folder: what pretraining and imports leave and stage 1 starts from.

``encoder.safetensors`` has the tensors under their published names (``encoder.blocks.0.…``, and,
where self-supervised training left them, ``projector.0.weight`` …, ``predictor.0.weight`` …),
``encoder.yaml`` the format's version, the encoder's settings, its log-mel among them, and where it
is from, ``README.md`` the card. An encoder has no classes and detects nothing by itself.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn

from earmark._version import __version__
from earmark.core.config import (
    AnyEncoderSettings,
    EncoderSettings,
    Settings,
    dump_yaml,
    parse_settings,
)
from earmark.core.errors import BundleError
from earmark.model.encoders.contract import FrameEncoder
from earmark.model.encoders.registry import make_encoder
from earmark.model.folder import (
    ENCODER_CONFIG,
    ENCODER_WEIGHTS,
    folder_fingerprint,
    missing_files,
    read_config,
    read_tensors,
    refuse_non_finite,
    write_folder,
)

FORMAT = 1
ENCODER_FILES = (ENCODER_WEIGHTS, ENCODER_CONFIG, "README.md")
MODULES = ("encoder", "projector", "predictor")


@dataclass(frozen=True)
class Encoder:
    """A pretrained encoder's weights and how its input was made.

    Attributes:
        settings: Sizes and log-mel; how a network uses it (``align``, ``merge``, ``mask_padding``
            and the like) is that network's affair and has its default.
        weights: State dict of the module, in single precision once it is read.
        projector: ``0.weight``, ``1.weight``, … of Linear, batch norm, ReLU, Linear: the state
            dict of `FrameHead.layers`; None where there is none.
        predictor: Likewise.
        source: Where it is from, as plain values.
    """

    settings: EncoderSettings
    weights: Mapping[str, Tensor]
    projector: Mapping[str, Tensor] | None = None
    predictor: Mapping[str, Tensor] | None = None
    source: Mapping[str, Any] = field(default_factory=dict)

    @property
    def parameters(self) -> int:
        """Numbers in the encoder itself."""
        return sum(value.numel() for value in self.weights.values())

    def build(self) -> FrameEncoder:
        """The encoder as a module in evaluation mode.

        Raises:
            BundleError: The weights are not those of these settings.
        """
        with torch.device("meta"):
            module = cast(nn.Module, make_encoder(self.settings))
        try:
            module.load_state_dict(dict(self.weights), strict=True, assign=True)
        except RuntimeError as error:
            reason = " ".join(str(error).split())[:300]
            raise BundleError(f"the encoder's weights do not fit its settings ({reason})") from None
        return cast(FrameEncoder, module.eval())


class _Content(Settings):
    encoder: AnyEncoderSettings


def save_encoder(folder: str | Path, encoder: Encoder, card: str) -> Path:
    """Write an encoder's folder; each file appears whole or not at all.

    Args:
        folder: Made if missing; files of an earlier encoder are replaced.
        encoder: What to keep of it.
        card: Content of ``README.md``.

    Raises:
        BundleError: The weights are not those of the settings.
    """
    encoder.build()
    settings = encoder.settings
    modules = (encoder.weights, encoder.projector, encoder.predictor)
    tensors = {
        f"{module}.{name}": value
        for module, values in zip(MODULES, modules, strict=True)
        for name, value in (values or {}).items()
    }
    config = {
        "format": FORMAT,
        "earmark": __version__,
        "encoder": settings.model_dump(mode="json", exclude=set(settings.weights_ignore)),
        "source": dict(encoder.source),
    }
    return write_folder(
        folder, ENCODER_WEIGHTS, tensors, {ENCODER_CONFIG: dump_yaml(config), "README.md": card}
    )


def load_encoder(folder: str | Path) -> Encoder:
    """Read an encoder's folder.

    Raises:
        BundleError: A file is missing, of another format, or does not fit the other.
    """
    folder = Path(folder)
    if missing := missing_files(folder, (ENCODER_WEIGHTS, ENCODER_CONFIG)):
        raise BundleError(
            f"is no encoder: {', '.join(missing)} missing",
            where=folder,
            hint="An encoder is what `earmark pretrain` and `earmark import` leave",
        )
    config = read_config(folder / ENCODER_CONFIG, "encoder", FORMAT)
    content = {"encoder": config.get("encoder") or {}}
    settings = parse_settings(_Content, content, folder / ENCODER_CONFIG).encoder
    tensors = read_tensors(folder / ENCODER_WEIGHTS)
    refuse_non_finite(tensors, folder / ENCODER_WEIGHTS)
    found: dict[str, dict[str, Tensor]] = {module: {} for module in MODULES}
    for name, value in tensors.items():
        module, _, rest = name.partition(".")
        if module not in found:
            raise BundleError(f"has an unknown tensor {name}", where=folder / ENCODER_WEIGHTS)
        found[module][rest] = value.float() if value.is_floating_point() else value
    weights, projector, predictor = found.values()
    source = config.get("source") or {}
    encoder = Encoder(settings, weights, projector or None, predictor or None, source)
    try:
        encoder.build()
    except BundleError as error:
        raise BundleError(error.what, where=folder) from None
    return encoder


def encoder_fingerprint(folder: str | Path) -> str:
    """16 hexadecimal digits over weights and settings."""
    return folder_fingerprint(Path(folder), (ENCODER_WEIGHTS, ENCODER_CONFIG))
