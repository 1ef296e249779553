"""Which step a recipe takes: that of v2 (`method.step`), or of v1 where ``method.v1`` is set."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from earmark.method import mixup, step, v1
from earmark.method.settings import MethodSettings


def draw_mix(kinds: Tensor, settings: MethodSettings, generator: torch.Generator) -> mixup.Mix:
    """λ, partners and modes for clips of these kinds of label [B]."""
    if settings.v1 is not None:
        return v1.draw_mix(kinds, settings, generator)
    return mixup.draw_mix(kinds, settings.mixup, generator)


def step_of(settings: MethodSettings) -> Callable[..., step.StepResult]:
    """`earmark.method.step.training_step`, or v1's."""
    return step.training_step if settings.v1 is None else v1.training_step
