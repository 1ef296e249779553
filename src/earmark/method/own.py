"""Losses and augmentations that installed packages add to a step (`earmark.core.hooks`)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from earmark.core.hooks import AugmentationHook, LossHook
from earmark.data.dataset import Batch
from earmark.method.losses import masked_mean
from earmark.method.settings import MethodSettings
from earmark.method.views import Views


def own_losses(
    hooks: Sequence[LossHook],
    scores: Tensor,
    targets: Tensor,
    counted: Tensor,
    elements: float,
    clips: float,
) -> tuple[Tensor, dict[str, float]]:
    """Σ weight · loss, and each loss.

    Args:
        hooks: The losses.
        scores: [B, T, C] or [B, C].
        targets: Of the same shape.
        counted: Which elements count; of the same shape.
        elements: What a mean over these is multiplied by (`MeanWeights`).
        clips: What a mean over the clips is multiplied by.

    Raises:
        ConfigError: A loss failed, or gave no loss.
    """
    total, figures = scores.new_zeros(()), {}
    for hook in hooks:
        loss = scores.new_zeros(())
        if len(scores):
            with torch.autocast(scores.device.type, enabled=False):
                found = hook.call(scores.float(), targets.float(), counted)
            whole = isinstance(found, Tensor) and found.shape == scores.shape
            if not whole and not (isinstance(found, Tensor) and found.shape == scores.shape[:1]):
                raise hook.refuse(
                    found, f"a tensor {list(scores.shape)}, or one loss a clip: [{len(scores)}]"
                )
            loss = masked_mean(found, counted) * elements if whole else found.mean() * clips
        total = total + hook.weight * loss
        figures[hook.figure] = loss.item()
    return total, figures


@torch.no_grad()
def augmented(
    batch: Batch, settings: MethodSettings, frame_hop: int, generator: torch.Generator
) -> Batch:
    """The clips after the augmentations of waveforms; what is padding stays silent.

    Raises:
        ConfigError: An augmentation failed, or gave something else than clips.
    """
    waveforms = batch.waveforms
    hooks = [hook for hook in settings.augmentations if hook.domain == "waveform"]
    for hook in hooks:
        waveforms = _checked(hook.call(waveforms, generator), waveforms, hook)
    if not hooks:
        return batch
    samples, whole = waveforms.shape[1], batch.valid.all(dim=1)
    ends = torch.where(whole, samples, batch.valid.sum(dim=1) * frame_hop)
    sound = torch.arange(samples, device=waveforms.device) < ends[:, None]
    return replace(batch, waveforms=waveforms * sound)


@torch.no_grad()
def augmented_views(views: Views, settings: MethodSettings, generator: torch.Generator) -> Views:
    """The views after the augmentations of log-mels, which only the student's CNN gets.

    Raises:
        ConfigError: An augmentation failed, or gave something else than log-mels.
    """
    hooks = [hook for hook in settings.augmentations if hook.domain == "mel"]
    if not hooks:
        return views
    mel = views.mixed.mels.cnn
    for hook in hooks:
        mel = _checked(hook.call(mel, generator), mel, hook)
    mixed = views.mixed._replace(mels=views.mixed.mels._replace(cnn=mel))
    return views._replace(mixed=mixed)


def _checked(found: Any, before: Tensor, hook: AugmentationHook) -> Tensor:
    if (
        not isinstance(found, Tensor)
        or (found.shape, found.dtype) != (before.shape, before.dtype)
        or not bool(found.isfinite().all())
    ):
        raise hook.refuse(found, f"finite numbers {list(before.shape)} of {before.dtype}")
    return found
