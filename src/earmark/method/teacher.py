"""The mean teacher: an exponential moving average of the student, and the ramps."""

from __future__ import annotations

import copy
import math
from typing import TypeVar

import torch
from torch import nn

M = TypeVar("M", bound=nn.Module)


def ramp(step: int, steps: int) -> float:
    """Return exp(−5(1 − min(step/steps, 1))²), the DCASE baseline's ramp; 1 when ``steps`` is 0."""
    if steps <= 0:
        return 1.0
    return math.exp(-5.0 * (1.0 - min(step / steps, 1.0)) ** 2)


def ema_decay(step: int, largest: float, horizon: float | None = None) -> float:
    """Decay of the average after optimiser step ``step`` (1, 2, …).

    With a horizon h it is min(largest, 1 − 1/(1 + h·step)): the average looks back over a
    fraction h of the steps so far, so that it never remembers an untrained student (h = 1 is the
    DCASE baseline's warm-up, up to one step).
    """
    if horizon is None:
        return largest
    return min(largest, 1.0 - 1.0 / (1.0 + horizon * step))


def make_teacher(student: M) -> M:
    """A copy of the student that takes no gradient and stays in evaluation mode."""
    teacher = copy.deepcopy(student)
    teacher.requires_grad_(False)
    return teacher.eval()


@torch.no_grad()
def update_teacher(teacher: nn.Module, student: nn.Module, decay: float) -> None:
    """θ_T ← d·θ_T + (1 − d)·θ_S over parameters *and* float buffers; integer buffers are copied.

    Averaging the buffers gives the teacher batch-norm statistics that fit its weights. What both
    have in common, as a frozen encoder, is left alone.
    """
    source = student.state_dict()
    for name, value in teacher.state_dict().items():
        if value.data_ptr() == source[name].data_ptr():
            continue
        if value.is_floating_point():
            value.lerp_(source[name].to(value.dtype), 1.0 - decay)
        else:
            value.copy_(source[name])
