"""One step of the method: from a batch to its loss, in the order of the paper.

    L = L_sup + r(t)·(w_mt·L_mt + w_pl·L_pl) + w_e·L_emb

of whose last term the trunk gets r_e(t) of the gradient
(arXiv 2606.29901; weights and ramps as ATST-SED, arXiv 2309.08153, where the paper is silent.)
`training_step` reads from top to bottom; the terms of the loss follow it in the same order.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from earmark.data.dataset import Batch
from earmark.method.losses import (
    collapse_figures,
    compose_embeddings,
    embedding_loss,
    frame_weights,
    strong_bce,
    strong_consistency,
    weak_bce,
    weak_consistency,
)
from earmark.method.mixup import Mix, draw_mix, mix_known, mix_targets
from earmark.method.networks import Teacher
from earmark.method.own import augmented, augmented_views, own_losses
from earmark.method.settings import EmbeddingSettings, MethodSettings
from earmark.method.teacher import ramp
from earmark.method.views import EncoderTokens, TapEnergy, Views, make_views
from earmark.model.encoders.alignment import align_tokens
from earmark.model.sed import SedOutput


class StepResult(NamedTuple):
    """The loss to minimise, and the figures worth watching.

    Attributes:
        loss: Of the batch.
        figures: By name.
        terms: L_sup as ``supervised`` and w_e·L_emb as ``embedding``, whose gradients the loss has.
    """

    loss: Tensor
    figures: dict[str, float]
    terms: Mapping[str, Tensor] = {}


class TeacherOutput(NamedTuple):
    """Scores q, and vectors z [B, N, d] of the projector."""

    scores: SedOutput
    vectors: Tensor | None


@dataclass(frozen=True)
class MeanWeights:
    """What the means of a batch are multiplied by; all 1 where the batch is the whole step.

    Attributes:
        strong: Means over the valid frames and known classes of strong mixtures.
        weak: Means over the known classes of weak mixtures.
        frames: Means over the valid frames of all mixtures.
        clips: Means over all clips.
        own_frames: Means over the clips' own frames, or tokens, of the embedding loss's tap.
        by_kind: Means over the valid frames, and over the clips, of one kind of label, for the
            kinds that the whole step holds; empty for 1 and those of the batch.
    """

    strong: float = 1.0
    weak: float = 1.0
    frames: float = 1.0
    clips: float = 1.0
    own_frames: float = 1.0
    by_kind: Mapping[str, tuple[float, float]] = field(default_factory=dict)

    def clips_of(self, kind: str) -> float:
        """What means over the clips of one kind of label are multiplied by."""
        return self.by_kind.get(kind, (1.0, 1.0))[1]


@dataclass(frozen=True)
class StepInputs:
    """What a loop has prepared for a step; nothing is needed.

    Attributes:
        mix: λ, partners and modes, where they are drawn already.
        weights: Of the means, where the batch is one of several that make the step.
        encoder: The frozen encoder of both networks, which then runs once per distinct input.
    """

    mix: Mix | None = None
    weights: MeanWeights = MeanWeights()
    encoder: EncoderTokens | None = None


def training_step(
    student: nn.Module,
    teacher: Teacher,
    batch: Batch,
    step: int,
    settings: MethodSettings,
    generator: torch.Generator,
    inputs: StepInputs = StepInputs(),
) -> StepResult:
    """The loss of one batch.

    Args:
        student: A `Student`, possibly wrapped for distribution.
        teacher: Its moving average.
        batch: Clips of all kinds of label.
        step: Optimiser steps done before this one.
        settings: Weights, ramps and mixing, without ``v1`` (`earmark.method.v1`).
        generator: Source of λ, partners and warps, on the CPU.
        inputs: What is there already.
    """
    if settings.v1 is not None:
        raise ValueError("settings of ATST-SED v1 are for earmark.method.v1")
    weights, options = inputs.weights, settings.embedding
    # λ, partner and mode (composition or perturbation) of every clip.
    mix = inputs.mix or draw_mix(batch.kinds.cpu(), settings.mixup, generator)
    mix = mix.to(batch.waveforms.device)
    batch = augmented(batch, settings, teacher.network.spec.frame_hop, generator)
    # The clean clips for the teacher, their mixtures for the student, each with its own warp.
    views = make_views(teacher, batch, mix, settings, generator, inputs.encoder)
    views = augmented_views(views, settings, generator)
    # Scores q and vectors z of the clean clips, without a gradient.
    clean = TeacherOutput(*teacher(views.clean)) if settings.needs_teacher else None
    # Scores p of the mixtures, and predictions u of the vectors.
    output, prediction = student(views.mixed, embedding_ramp(step, options))

    loss, figures = supervised_loss(output, batch, views, settings, weights)
    terms = {"supervised": loss}
    if clean is not None:
        # Targets composed as the labels are, so that one distance serves both modes.
        q = mix_scores(clean.scores, mix, settings)
        mean_teacher = consistency_loss(output, q, views, ~mix.composed, settings, weights)
        pseudo_label = consistency_loss(output, q, views, mix.composed, settings, weights)
        r = ramp(step + 1, settings.ramp_steps)
        own, more = own_consistency(output, q, views, settings, weights)
        consistency = settings.mean_teacher * mean_teacher + settings.pseudo_label * pseudo_label
        loss = loss + r * (consistency + own)
        figures |= {"mean_teacher": mean_teacher.item(), "pseudo_label": pseudo_label.item()} | more
        figures["ramp"] = r
    if clean is not None and clean.vectors is not None and prediction is not None:
        w = vector_weights(teacher, clean.scores.strong, views, options)
        embedding = embedding_term(
            student, teacher, views, clean.vectors, prediction, w, step, options
        )
        embedding = embedding * weights.own_frames
        terms["embedding"] = options.weight * embedding
        loss = loss + terms["embedding"]
        figures |= {"embedding": embedding.item()} | collapse_figures(prediction, views.own)
    figures["loss"] = loss.item()
    return StepResult(loss, figures, terms)


def supervised_loss(
    output: SedOutput, batch: Batch, views: Views, settings: MethodSettings, weights: MeanWeights
) -> tuple[Tensor, dict[str, float]]:
    """L_sup: BCE of strongly labelled clips + ½ BCE of weakly labelled ones, targets as mixed.

    Classes that a clip's source is not annotated for are left out, neither present nor absent.
    Losses of installed packages are added, or stand in place of these.
    """
    mix, how = views.mix, settings.mixup.labels
    frames, tags = mix_targets(batch.strong, mix, how), mix_targets(batch.weak, mix, how)
    known, valid = mix_known(batch.known, mix), views.mixed.valid
    s, w = batch.of_kind("strong"), batch.of_kind("weak")
    known_s, known_w = (None, None) if known is None else (known[s], known[w])
    strong = strong_bce(output.strong[s], frames[s], valid[s], known_s) * weights.strong
    weak = weak_bce(output.weak[w], tags[w], known_w) * weights.weak
    figures = {"strong": strong.item(), "weak": weak.item()}
    on_strong, on_weak = settings.losses_against("strong"), settings.losses_against("weak")
    terms = [
        *([] if any(own.instead for own in on_strong) else [strong]),
        *([] if any(own.instead for own in on_weak) else [settings.weak * weak]),
    ]
    for own, scores, targets, rows, counted, mean in (
        (on_strong, output.strong, frames, s, valid[:, :, None], weights.strong),
        (on_weak, output.weak, tags, w, valid.new_ones(len(valid), 1), weights.weak),
    ):
        if own:
            if known is not None:
                counted = counted & (known[:, None, :] if counted.dim() == 3 else known)
            counted = counted.expand_as(scores)[rows]
            clips = weights.clips_of(own[0].against)
            loss, more = own_losses(own, scores[rows], targets[rows], counted, mean, clips)
            terms, figures = [*terms, loss], figures | more
    return sum(terms, start=output.strong.new_zeros(())), figures


def own_consistency(
    output: SedOutput,
    targets: SedOutput,
    views: Views,
    settings: MethodSettings,
    weights: MeanWeights,
) -> tuple[Tensor, dict[str, float]]:
    """Losses of installed packages against the teacher's strong scores, on all clips."""
    counted = views.mixed.valid[:, :, None].expand_as(output.strong)
    return own_losses(
        settings.losses_against("teacher"), output.strong, targets.strong, counted,
        weights.frames, weights.clips,
    )  # fmt: skip


def mix_scores(scores: SedOutput, mix: Mix, settings: MethodSettings) -> SedOutput:
    """Scores q of clean clips → targets of their mixtures, by the labels' rule."""
    how = settings.mixup.labels
    strong, weak = mix_targets(scores.strong, mix, how), mix_targets(scores.weak, mix, how)
    return scores._replace(strong=strong, weak=weak)


def consistency_loss(
    output: SedOutput,
    targets: SedOutput,
    views: Views,
    clips: Tensor,
    settings: MethodSettings,
    weights: MeanWeights,
) -> Tensor:
    """L_mt or L_pl: mean squared error of strong scores + ½ of weak ones, on chosen clips [B]."""
    strong = strong_consistency(output.strong, targets.strong, views.mixed.valid, clips)
    weak = weak_consistency(output.weak, targets.weak, clips)
    return strong * weights.frames + settings.weak * (weak * weights.clips)


def vector_weights(
    teacher: Teacher, scores: Tensor, views: Views, options: EmbeddingSettings
) -> Tensor:
    """The clip's own weight w [B, N] in its target m; 1 where nothing is composed."""
    mix = views.mix
    activity = activity_at_tap(teacher, scores, views.own.shape[1])
    energy = views.energy or TapEnergy(activity, torch.ones_like(mix.coefficient), 1)
    weights = frame_weights(
        options.weights, mix.coefficient, mix.partner, activity, energy.frames,
        power=energy.power, gain=energy.gain,
    )  # fmt: skip
    weights = torch.where(mix.composed[:, None], weights, 1.0)
    # A padded frame of the partner has no vector: there the clip's own is the whole target.
    return torch.where(views.own[mix.partner], weights, 1.0)


def activity_at_tap(teacher: Teacher, scores: Tensor, count: int) -> Tensor:
    """The largest class score of every frame, or token, of the tap: [B, T, C] → [B, count].

    A token takes the mean of its frames, weighted by their overlap with it.
    """
    activity = scores.amax(dim=-1)
    if teacher.tap != "encoder":
        return activity
    hop, start = teacher.network.token_grid
    frame_hop = teacher.network.spec.frame_hop
    aligned = align_tokens(activity.unsqueeze(-1), count, "exact", frame_hop, hop, -start)
    return aligned.squeeze(-1)


def embedding_term(
    student: nn.Module,
    teacher: Teacher,
    views: Views,
    z: Tensor,
    prediction: Tensor,
    weights: Tensor,
    step: int,
    options: EmbeddingSettings,
) -> Tensor:
    """L_emb: composed clips against m = w ẑ_i + (1 − w) ẑ_j, the others against ẑ_i."""
    partner = views.mix.partner
    target = compose_embeddings(teacher.centred(z), partner, weights)
    loss = embedding_loss(teacher.centred(prediction), target, views.own, options.gain)
    if options.symmetric:
        # The student's vectors of the clean clips, composed alike, against the teacher's of the
        # mixtures: ATST-Frame's second term, carried over to compositions (our choice).
        swapped = student(views.clean, embedding_ramp(step, options))[1]
        mixed = teacher(views.mixed)[1]
        composed = compose_embeddings(teacher.centred(swapped), partner, weights)
        unit = functional.normalize(teacher.centred(mixed), dim=-1)
        loss = 0.5 * (loss + embedding_loss(composed, unit, views.own))
    # The centre moves after its use: all batches of a step subtract the same one.
    teacher.move_centre(z, views.own)
    return loss


def embedding_ramp(step: int, options: EmbeddingSettings) -> float:
    """r_e: how much of the loss's gradient the trunk gets.

    The heads get all of it: 0 while they are warmed up alone, then a ramp. (Ramping the loss
    itself would stall the heads just when the trunk begins to move.)
    """
    since = step + 1 - options.detach_steps
    return 0.0 if since <= 0 else ramp(since, options.ramp_steps)
