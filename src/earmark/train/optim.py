"""Optimiser, parameter groups and the learning-rate schedule."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import nn

from earmark.core.config import TrainSettings
from earmark.core.errors import ConfigError
from earmark.method.teacher import ramp


def learning_rate(step: int, settings: TrainSettings) -> float:
    """Share of the peak rate at optimiser step ``step`` (0, 1, …): exponential ramp, then cosine.

    The ramp is exp(−5(1 − s)²) over ``warmup_steps``, evaluated at step + 1 as ATST-SED does;
    the cosine ends at ``lr_final``.
    """
    if step + 1 < settings.warmup_steps:
        return ramp(step + 1, settings.warmup_steps)
    span = max(1, settings.steps - settings.warmup_steps)
    done = min(1.0, max(0.0, (step + 1 - settings.warmup_steps) / span))
    return settings.lr_final + (1.0 - settings.lr_final) * 0.5 * (1.0 + math.cos(math.pi * done))


def make_optimizer(module: nn.Module, settings: TrainSettings) -> torch.optim.Optimizer:
    """Adam or AdamW with one group per prefix of ``lr_groups`` and one for the rest.

    The longest matching prefix of a parameter's name decides.

    Raises:
        ConfigError: A prefix matches no parameter.
    """
    prefixes = sorted(settings.lr_groups, key=len, reverse=True)
    groups: dict[str, list[nn.Parameter]] = {prefix: [] for prefix in (*prefixes, "")}
    for name, parameter in module.named_parameters():
        if parameter.requires_grad:
            groups[next((p for p in prefixes if name.startswith(p)), "")].append(parameter)
    idle = [prefix for prefix in prefixes if not groups[prefix]]
    if idle:
        raise ConfigError(f"train.lr_groups: no parameter is called {', '.join(idle)}…")
    parts: list[dict[str, Any]] = [
        {
            "params": members,
            "lr": settings.lr_groups.get(prefix, settings.lr),
            "peak": settings.lr_groups.get(prefix, settings.lr),
        }
        for prefix, members in groups.items()
        if members
    ]
    kind = torch.optim.Adam if settings.optimizer == "adam" else torch.optim.AdamW
    return kind(parts, lr=settings.lr, weight_decay=settings.weight_decay)


def set_learning_rate(optimizer: torch.optim.Optimizer, step: int, settings: TrainSettings) -> None:
    """Scale every group's peak rate for the step about to be taken."""
    share = learning_rate(step, settings)
    for group in optimizer.param_groups:
        group["lr"] = group["peak"] * share
