"""Which precision ``auto`` stands for: the fastest here, as far as that was measured.

What was measured stands in docs/resources.md. PyTorch is loaded only where the answer hangs on it.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from earmark.core.config import AtstSettings, EncoderSettings
from earmark.core.errors import has_package
from earmark.model.bundle_card import read_card
from earmark.model.bundle_files import bundle_settings

FLOAT32, BFLOAT16 = "32-true", "bf16-mixed"
_WIDE = 384
"""Width of the smallest ATST-Frame whose training is faster in bfloat16 on a CPU that has it."""


class Precision(NamedTuple):
    """A choice, and why."""

    name: str
    why: str

    def __str__(self) -> str:
        return f"precision {self.name}: {self.why}"


def detection_precision(folder: Path, device: str) -> Precision:
    """What a bundle is to detect in.

    bfloat16 where device and network gain from it and the bundle's card says what it changes.

    Args:
        folder: Of the bundle; of an exported file float32 is taken.
        device: As of `load_trained`.
    """
    if not folder.is_dir():
        return Precision(FLOAT32, "an exported network computes as it was exported")
    if not isinstance(bundle_settings(folder).encoder, AtstSettings):
        return Precision(FLOAT32, "this network has no encoder that gains from bfloat16")
    if not has_package("torch"):
        return Precision(FLOAT32, "bfloat16 needs PyTorch")
    can, why = _multiplies_bfloat16(device)
    if not can:
        return Precision(FLOAT32, why)
    if not read_card(folder).bfloat16:
        return Precision(
            FLOAT32, "the bundle's card does not say what bfloat16 changes (earmark evaluate "
            "--measure-precision writes it)"
        )  # fmt: skip
    return Precision(BFLOAT16, f"{why}, and the bundle's card says what that changes")


def training_precision(encoder: EncoderSettings | None, device: str) -> Precision:
    """What a network is to be trained in.

    Args:
        encoder: Of the network; None without one.
        device: ``auto``, ``cpu``, ``cuda`` or ``mps``.
    """
    can, why = _multiplies_bfloat16(device)
    if not can:
        return Precision(FLOAT32, why)
    wide = isinstance(encoder, AtstSettings) and encoder.width >= _WIDE
    if why.startswith("cpu") and not wide:
        return Precision(FLOAT32, "on a CPU bfloat16 pays for ATST-Frame small and base only")
    return Precision(BFLOAT16, why)


def _multiplies_bfloat16(name: str) -> tuple[bool, str]:
    """Whether a device has instructions for it, and the sentence that says so."""
    import torch

    from earmark.model import packed

    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    kind = name.partition(":")[0]
    if kind not in ("cpu", "cuda") or (kind == "cuda" and not torch.cuda.is_available()):
        return False, f"{name} was not measured"
    if packed.multiplies_bfloat16(torch.device(name)):
        return True, f"{name} has instructions for bfloat16"
    return False, f"{name} has no instructions for bfloat16, which is slower then"
