"""One training step of the method, in the order the paper tells it.

(1) a batch by kind of label, (2) λ, partner and mode per clip, (3) mixing, (4) the teacher on
clean clips, (5) the student on mixtures, (6) targets by mode, (7) the losses

    L = L_sup + r(t)·(w_mt·L_mt + w_pl·L_pl) + r_e(t)·w_e·L_emb

with L_sup = BCE(strong) + ½·BCE(weak) and every consistency loss strong + ½·weak
(arXiv 2606.29901; weights and ramps as ATST-SED, arXiv 2309.08153, where the paper is silent).
What student and teacher are given is made in `method.views`, the terms in `method.objective`.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from earmark.core.config import MethodSettings
from earmark.data.dataset import Batch
from earmark.method.frozen import needs_teacher
from earmark.method.losses import collapse_figures
from earmark.method.mixup import Mix, draw_mix
from earmark.method.networks import Student, Teacher, View
from earmark.method.objective import (
    TeacherOutput,
    consistency_loss,
    embedding_term,
    supervised_loss,
)
from earmark.method.teacher import ramp
from earmark.method.views import make_views
from earmark.train.micro_batch import WHOLE, PartWeights

__all__ = ["StepResult", "Student", "Teacher", "View", "training_step"]


class StepResult(NamedTuple):
    """The loss to minimise, and the figures worth watching."""

    loss: Tensor
    figures: dict[str, float]


def training_step(
    student: nn.Module,
    teacher: Teacher,
    batch: Batch,
    step: int,
    settings: MethodSettings,
    generator: torch.Generator,
    mix: Mix | None = None,
    weights: PartWeights = WHOLE,
    tokens: Tensor | None = None,
) -> StepResult:
    """The loss of one batch.

    Args:
        student: A `Student`, possibly wrapped for distribution.
        teacher: Its moving average.
        batch: Clips of all kinds.
        step: Optimiser steps done before this one.
        settings: Weights, ramps and mixing.
        generator: Source of λ, partners and warps, on the CPU.
        mix: λ and partners where they are drawn already.
        weights: Of the batch's means, where it is a part of the step.
        tokens: [B, N, D] of the clean clips from an encoder that student and teacher share, where
            they are known and `encodes_clean_clips`.
    """
    mix = mix or draw_mix(batch.kinds.cpu(), settings.mixup, generator)
    mix = mix.to(batch.waveforms.device)
    views = make_views(
        teacher.network, batch, mix, settings, generator, teacher.shares_encoder, tokens
    )
    taught = TeacherOutput(*teacher(views.teacher)) if needs_teacher(settings) else None
    detach = step < settings.embedding.detach_steps
    output, prediction = student(views.student, detach)

    valid = views.student.valid
    loss, figures = supervised_loss(output, batch, valid, mix, settings, weights)
    if taught is not None:
        r = ramp(step + 1, settings.ramp_steps)
        consistency, parts = consistency_loss(
            output, taught.scores, batch, valid, mix, settings, weights
        )
        loss = loss + r * consistency
        figures |= {name: value.item() for name, value in parts.items()} | {"ramp": r}
        if prediction is not None and taught.vectors is not None:
            own = teacher.valid_at_tap(batch.valid)  # [B, N]
            embedded = embedding_term(
                student, teacher, prediction, taught, views, own, mix, settings
            )
            # The centre moves after its use: all parts of a step subtract the same one.
            if settings.embedding.center and teacher.centre is not None:
                teacher.centre.update(taught.vectors, own)
            embedded = embedded * weights.own_frames
            since = step + 1 - settings.embedding.detach_steps
            r_e = 1.0 if detach else ramp(since, settings.embedding.ramp_steps)
            loss = loss + r_e * settings.embedding.weight * embedded
            figures |= {"embedding": embedded.item()} | collapse_figures(prediction, own)
    figures["loss"] = loss.item()
    return StepResult(loss, figures)
