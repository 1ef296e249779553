"""ATST-Frame's self-supervised objective: guess the teacher's tokens of another view.

(Li, Shao, Li: "Self-supervised Audio Teacher-Student Transformer for Both Clip-level and
Frame-level Tasks", arXiv 2306.04186.) Of a crop, view 1 is the clean log-mel and view 2 the same
mixed with an earlier crop and warped along frequency. Nothing moves along time, so token t is the
same instant in both. With encoder f, projector g, predictor q, student S, teacher T and one mask M
for both views of a crop:

    p_v = q(g_S(f_S(view v, tokens of M hidden)));   z_v = sg g_T(f_T(view v))
    L = ½ [ℓ(p₂, z₁) + ℓ(p₁, z₂)],   ℓ(p, z) = mean over masked tokens of 2 − 2·cos(p, z)
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from earmark.core.config import FrontendSettings
from earmark.features.augment import frequency_warp
from earmark.method.losses import collapse_figures, embedding_loss
from earmark.method.networks import FrameHead
from earmark.method.pretraining_settings import MaskSettings, PerturbationSettings, PretrainRecipe
from earmark.method.teacher import make_teacher
from earmark.model.encoders.atst import AtstFrame


def span_mask(tokens: int, settings: MaskSettings, generator: torch.Generator) -> Tensor:
    """Which of so many tokens are hidden: [tokens], at least one and in spans.

    fraction · tokens / span spans, rounded up or down at random, start at different tokens and may
    overlap (fairseq's sampler, as ATST-Frame uses it).
    """
    span, length = settings.span, settings.fraction * tokens / settings.span
    before = span - 1 if settings.edges == "clipped" else 0
    places = tokens + before if settings.edges == "clipped" else max(1, tokens - span)
    count = int(length + float(torch.rand((), generator=generator)))
    chosen = torch.randperm(places, generator=generator)[: max(1, count)] - before
    hidden = torch.zeros(before + tokens + span, dtype=torch.bool)
    hidden[(chosen[:, None] + torch.arange(span) + before).flatten()] = True
    return hidden[before : before + tokens]


def mix_log_mels(x: Tensor, z: Tensor, alpha: Tensor, sharpness: float) -> Tensor:
    """log((1 − α)·exp(k·x) + α·exp(k·z)) / k, element by element.

    Args:
        x: Scaled decibels of the clip.
        z: Of its partner, of the same shape.
        alpha: Weight of the partner in [0, 1], broadcast over both.
        sharpness: k. At 1 it is BYOL-A's log-mixup-exp as ATST-Frame applies it; at
            `energy_sharpness` exponentials are powers, which add up as sounds do.
    """
    own = torch.log1p(-alpha) + sharpness * x
    return torch.logaddexp(own, torch.log(alpha) + sharpness * z) / sharpness


def energy_sharpness(settings: FrontendSettings) -> float:
    """The k for which exp(k · scaled decibels) is proportional to power."""
    decibels_per_unit = (settings.high - settings.low) / 2.0
    return math.log(10.0) / 10.0 * decibels_per_unit


class Draw(NamedTuple):
    """What is drawn for a crop: masked tokens [N], its partner's weight and place, then a warp."""

    masked: Tensor
    alpha: float
    place: float
    generator: torch.Generator


def draw_crop(
    tokens: int, of: int, mask: MaskSettings, alpha: float, generator: torch.Generator
) -> Draw:
    """Draw the mask over ``tokens`` of ``of`` tokens, the rest being padding, and the mixture."""
    masked = torch.zeros(of, dtype=torch.bool)
    masked[:tokens] = span_mask(tokens, mask, generator)
    weight, place = torch.rand(2, generator=generator, dtype=torch.float64).tolist()
    return Draw(masked, alpha * weight, place, generator)


def perturb(
    mels: Tensor,
    draws: Sequence[Draw],
    partner_at: Callable[[float], tuple[Tensor, int] | None],
    settings: PerturbationSettings,
    frontend: FrontendSettings,
) -> Tensor:
    """View 2 of clean mels [B, F, L]: mixed with earlier crops, then warped.

    ``partner_at`` gives the mel [F, L] at a place in [0, 1) among these, and its frames of sound;
    None while there are none. Where a partner is padding the clip stays as it is.
    """
    sharpness = 1.0 if settings.mixing == "log" else energy_sharpness(frontend)
    views = []
    for mel, draw in zip(mels, draws, strict=True):
        view, partner = mel, partner_at(draw.place)
        if partner is not None and draw.alpha > 0.0:
            other, sound = partner
            weight = torch.tensor(draw.alpha, device=mel.device)
            mixed = mix_log_mels(mel[:, :sound], other[:, :sound], weight, sharpness)
            view = torch.cat([mixed, mel[:, sound:]], dim=1)
        probability, keep = settings.warp_probability, settings.warp_range
        views.append(frequency_warp(view[None], draw.generator, probability, keep)[0])
    return torch.stack(views)


@dataclass(frozen=True)
class CropViews:
    """Both views of some crops.

    Attributes:
        mels: [2B, F, L] scaled log-mels: the clean views, then the perturbed ones.
        valid: [2B, N] tokens that are no padding.
        masked: [2B, N] tokens to guess, the same for both views of a crop.
    """

    mels: Tensor
    valid: Tensor
    masked: Tensor


def crop_views(clean: Tensor, perturbed: Tensor, tokens: Tensor, masked: Tensor) -> CropViews:
    """Join the views; ``tokens`` [B] counts those of sound, ``masked`` is [B, N]."""
    places = torch.arange(masked.shape[1], device=masked.device)
    valid = places < tokens[:, None]  # [B, N]
    return CropViews(torch.cat([clean, perturbed]), valid.repeat(2, 1), masked.repeat(2, 1))


class PretrainStudent(nn.Module):
    """Encoder, projector and predictor, named as in the published checkpoints' student."""

    def __init__(self, recipe: PretrainRecipe) -> None:
        super().__init__()
        width, heads = recipe.encoder.width, recipe.heads
        self.encoder = AtstFrame(recipe.encoder)
        self.projector = FrameHead(width, heads.hidden, heads.out)
        self.predictor = FrameHead(heads.out, heads.hidden, heads.out)

    def forward(self, mels: Tensor, valid: Tensor, masked: Tensor) -> Tensor:
        """Predictions p [2B, N, d] of masked tokens, else zero; the views share statistics."""
        tokens = self.encoder(mels, valid, masked)
        return cast(Tensor, self.predictor(self.projector(tokens, masked), masked))


class PretrainTeacher(nn.Module):
    """Average of the student's encoder and projector; takes no gradient and sees no mask.

    Args:
        student: It begins as its copy.
        mode: What follows the mode it is set to, and is in training mode while training. ``eval``:
            nothing. ``batch``: the projector, which then normalises by batch statistics. ``train``:
            all, hence stochastic depth too, as published.
    """

    def __init__(self, student: PretrainStudent, mode: Literal["batch", "eval", "train"]) -> None:
        super().__init__()
        self.encoder = make_teacher(student.encoder)
        self.projector = make_teacher(student.projector)
        self.mode = mode
        self.train()

    def train(self, mode: bool = True) -> PretrainTeacher:
        """Set the mode of what is to follow it."""
        super().train(False)
        self.encoder.train(mode and self.mode == "train")
        self.projector.train(mode and self.mode != "eval")
        return self

    @torch.no_grad()
    def forward(self, mels: Tensor, valid: Tensor, masked: Tensor) -> Tensor:
        """Targets z [2B, N, d] of masked tokens, zero elsewhere."""
        return cast(Tensor, self.projector(self.encoder(mels, valid), masked))


def pretraining_loss(
    student: nn.Module, teacher: PretrainTeacher, views: CropViews
) -> tuple[Tensor, dict[str, float]]:
    """L of a batch's `crop_views`, and the figures worth watching.

    ``student`` is a `PretrainStudent`, possibly wrapped for distribution, ``teacher`` its average.
    """
    z1, z2 = teacher(views.mels, views.valid, views.masked).float().chunk(2)  # [B, N, d]
    p1, p2 = student(views.mels, views.valid, views.masked).float().chunk(2)
    masked = views.masked.chunk(2)[0]
    to_clean = embedding_loss(p2, functional.normalize(z1, dim=-1), masked)
    to_perturbed = embedding_loss(p1, functional.normalize(z2, dim=-1), masked)
    loss = 0.5 * (to_clean + to_perturbed)
    figures = {"loss": loss, "to_clean": to_clean, "to_perturbed": to_perturbed}
    result = {name: value.item() for name, value in figures.items()}
    for name, vectors in (("student", p1.detach()), ("teacher", z1)):
        spread = collapse_figures(vectors, masked)
        result[f"{name}_std"] = spread["embedding_std"]
        result[f"{name}_cosine"] = spread["embedding_cosine"]
    return loss, result
