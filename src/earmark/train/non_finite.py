"""Numbers that are none: found at their step, with the terms and the clips they come from."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn

from earmark.core.errors import NumberError
from earmark.train.distributed import agree, gather, reduce_mean

MOST_IN_A_ROW = 10
"""So many steps one after the other are skipped; then something else is wrong than a clip."""
_SHOWN = 3


@dataclass(frozen=True)
class BadLoss:
    """What is wrong with the loss of a micro-batch.

    Attributes:
        terms: Figures that are not finite.
        clips: Those whose scores alone are not; all of the micro-batch if that says nothing.
    """

    terms: tuple[str, ...]
    clips: tuple[str, ...]

    def __str__(self) -> str:
        more = len(self.clips) - _SHOWN
        clips = ", ".join(self.clips[:_SHOWN]) + (f" and {more} more" if more > 0 else "")
        return f"{', '.join(self.terms)} not finite, of {clips}"


def non_finite(figures: Mapping[str, float]) -> tuple[str, ...]:
    """Names of the figures that are NaN or infinite."""
    return tuple(name for name, value in figures.items() if not math.isfinite(value))


def all_finite(values: Iterable[Tensor]) -> bool:
    """Whether no number in any of the tensors is NaN or infinite."""
    largest = [
        torch.linalg.vector_norm(value.detach(), math.inf).float()
        for value in values
        if value.is_floating_point() and value.numel()
    ]
    return not largest or bool(torch.stack(largest).isfinite().all())


@torch.no_grad()
def suspects(
    scores: Callable[[Tensor], Tensor], waveforms: Tensor, clips: Sequence[str]
) -> tuple[str, ...]:
    """Clips that alone make numbers that are not finite; all of them if none or every one does.

    Args:
        scores: [B, S] → [B, …], each row of one clip.
        waveforms: [B, S].
        clips: Names of the B clips.
    """
    found = scores(waveforms).float().flatten(1).isfinite().all(dim=1).tolist()
    bad = tuple(name for name, finite in zip(clips, found, strict=True) if not finite)
    return bad or tuple(clips)


def is_finite_everywhere(fabric: Fabric, finite: bool) -> bool:
    """Whether the step is, on all processes."""
    return reduce_mean(fabric, torch.tensor(float(finite))).item() == 1.0


def refuse_step(fabric: Fabric, step: int, found: Sequence[BadLoss], again: int) -> None:
    """Stop at a step whose loss or gradient is not finite, on all processes.

    Args:
        fabric: Of the run.
        step: Its number, the first being 1.
        found: What is wrong with losses of this process; empty if it is the gradient alone.
        again: Steps skipped just before it.

    Raises:
        NumberError: Always, where the fault is; `ElsewhereError` on the other processes.
    """
    before = f", after {again} skipped ones" if again else ""
    hint = (
        "Look at these clips with earmark doctor, lower train.lr, or leave such steps out with "
        "--resume --set train.non_finite=skip"
    )
    if again:
        hint = "Lower train.lr, or look at the data with earmark doctor"

    def tell() -> None:
        if found:
            what = "; ".join(map(str, found))
            raise NumberError(f"step {step}{before}: {what}", hint=hint)

    def tell_of_gradient() -> None:
        raise NumberError(f"step {step}{before}: the gradient is not finite", hint=hint)

    gather(fabric, tell)
    agree(fabric, tell_of_gradient)


def refuse_weights(fabric: Fabric, step: int, network: nn.Module) -> None:
    """Stop after a step that left weights that are not finite, on all processes.

    Raises:
        NumberError: It did.
    """
    named = [(name, value) for name, value in network.named_parameters() if value.requires_grad]
    if all_finite(value for _, value in named):
        return
    bad = [name for name, value in named if not all_finite([value])]
    more = f" and {len(bad) - _SHOWN} more" if len(bad) > _SHOWN else ""

    def tell() -> None:
        raise NumberError(
            f"step {step}: its update makes weights that are not finite "
            f"({', '.join(bad[:_SHOWN])}{more})",
            hint="Lower train.lr",
        )

    agree(fabric, tell)
