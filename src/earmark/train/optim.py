"""Optimiser, parameter groups and the learning-rate schedule.

Names of parameters are the network's (``encoder.blocks.0.…``, ``crnn.cnn.…``, ``crnn.rnn.…``); the
heads of the embedding loss, which stand beside the network, are ``heads.…``.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, cast

import torch
from torch import Tensor, nn

from earmark.core.errors import ConfigError
from earmark.method.settings import TrainSettings
from earmark.method.teacher import ramp
from earmark.model.encoders.contract import FrameEncoder


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


def own_name(name: str) -> str:
    """The name that settings use of a parameter or module of a `Student`."""
    return name.removeprefix("network.")


def freeze(module: nn.Module, prefixes: Iterable[str]) -> None:
    """Freeze the parameters whose names begin with one of the prefixes.

    Raises:
        ConfigError: A prefix matches no parameter.
    """
    named = [(own_name(name), parameter) for name, parameter in module.named_parameters()]
    for prefix in prefixes:
        chosen = [parameter for name, parameter in named if name.startswith(prefix)]
        if not chosen:
            raise ConfigError(
                f"train.frozen: no parameter is called {prefix}…",
                hint=f"The network has {', '.join(_parts(name for name, _ in named))}",
            )
        for parameter in chosen:
            parameter.requires_grad_(False)


def train_mode(module: nn.Module, frozen: Iterable[str]) -> None:
    """Training mode for all but the frozen modules, whose batch norms and dropouts stand still."""
    prefixes = tuple(frozen)
    module.train()
    for name, inner in module.named_modules():
        if name and prefixes and f"{own_name(name)}.".startswith(prefixes):
            inner.eval()


def encoder_layers(module: nn.Module) -> dict[str, int]:
    """How many layers below its top each parameter of the encoder lies, by its own name."""
    for name, inner in module.named_modules():
        if own_name(name) == "encoder":
            layers = cast(FrameEncoder, inner).layers()
            return {f"encoder.{n}": depth for depth, group in enumerate(layers) for n in group}
    return {}


def make_optimizer(module: nn.Module, settings: TrainSettings) -> torch.optim.Optimizer:
    """Adam or AdamW over what learns, in groups of one peak rate each.

    The longest prefix of ``lr_groups`` that a name begins with decides; where there is none, the
    layers of the encoder have ``encoder_lr · encoder_lr_decay^k`` (`encoder_layers`) and all else
    ``lr``.

    Raises:
        ConfigError: A prefix matches nothing that learns, there is an ``encoder_lr`` but no
            encoder, or nothing learns at all.
    """
    named = [(own_name(name), parameter) for name, parameter in module.named_parameters()]
    prefixes = sorted(settings.lr_groups, key=len, reverse=True)
    layers = encoder_layers(module)
    if settings.encoder_lr is not None and not layers:
        raise ConfigError("train.encoder_lr: the network has no encoder")
    top = settings.lr if settings.encoder_lr is None else settings.encoder_lr
    groups: dict[str, dict[str, Any]] = {
        prefix: {"params": [], "peak": settings.lr_groups[prefix]} for prefix in prefixes
    }
    for name, parameter in named:
        if not parameter.requires_grad:
            continue
        layer = layers.get(name)
        group, peak = next(((p, 0.0) for p in prefixes if name.startswith(p)), ("", settings.lr))
        if not group and layer is not None:
            group, peak = f"encoder layer {layer}", top * settings.encoder_lr_decay**layer
        groups.setdefault(group, {"params": [], "peak": peak})["params"].append(parameter)
    if idle := [prefix for prefix in prefixes if not groups[prefix]["params"]]:
        raise ConfigError(
            f"train.lr_groups: no parameter that learns is called {', '.join(idle)}…",
            hint=f"The network has {', '.join(_parts(name for name, _ in named))}",
        )
    if not groups:
        raise ConfigError("train.frozen: nothing is left to learn")
    learning = [group | {"lr": group["peak"], "name": name} for name, group in groups.items()]
    kind = torch.optim.Adam if settings.optimizer == "adam" else torch.optim.AdamW
    return kind(learning, lr=settings.lr, weight_decay=settings.weight_decay)


def set_learning_rate(optimizer: torch.optim.Optimizer, step: int, settings: TrainSettings) -> None:
    """Scale every group's peak rate for the step about to be taken."""
    fraction = learning_rate(step, settings)
    for group in optimizer.param_groups:
        group["lr"] = group["peak"] * fraction


def _parts(names: Iterable[str]) -> list[str]:
    """Prefixes worth proposing: the first two words of names, one of the encoder's."""
    words = [name.split(".") for name in names]
    short = [word[:1] if word[0] == "encoder" else word[:2] for word in words]
    return list(dict.fromkeys(".".join(word) + "." for word in short))


def gradient_ratio(first: Tensor, second: Tensor, parameters: Sequence[nn.Parameter]) -> float:
    """‖∇ first‖ / ‖∇ second‖ of two losses over parameters; their graph stays.

    0 where the first does not reach them, infinite where only the second does not.
    """
    norms = []
    for loss in (first, second):
        found = torch.autograd.grad(loss, parameters, retain_graph=True, allow_unused=True)
        squares = [one.float().square().sum() for one in found if one is not None]
        norms.append(math.sqrt(float(torch.stack(squares).sum())) if squares else 0.0)
    if not norms[0]:
        return 0.0
    return norms[0] / norms[1] if norms[1] else math.inf


@contextmanager
def kept_as_they_are(device: torch.device, *modules: nn.Module) -> Iterator[None]:
    """Afterwards the modules' buffers and the global random generators are as before."""
    before = [(value, value.clone()) for one in modules for value in one.buffers()]
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        try:
            yield
        finally:
            for value, old in before:
                value.copy_(old)
