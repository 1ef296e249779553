"""One training step of the method, in the order the paper tells it.

(1) a batch by kind of label, (2) λ, partner and mode per clip, (3) the teacher on clean clips,
(4) mixing, (5) the student on mixtures, (6) targets by mode, (7) the losses

    L = L_sup + r(t)·(w_mt·L_mt + w_pl·L_pl) + r_e(t)·w_e·L_emb

with L_sup = BCE(strong) + ½·BCE(weak) and every consistency loss strong + ½·weak
(arXiv 2606.29901; weights and ramps as ATST-SED, arXiv 2309.08153, where the paper is silent).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from earmark.core.config import EmbeddingSettings, MethodSettings, MixupSettings
from earmark.data.dataset import Batch
from earmark.features.augment import frequency_warp
from earmark.features.frontend import LogMel
from earmark.method.heads import FrameHead, RunningCentre, StudentHeads
from earmark.method.losses import (
    collapse_figures,
    compose_embeddings,
    embedding_loss,
    frame_energy,
    frame_weights,
    strong_bce,
    strong_consistency,
    weak_bce,
    weak_consistency,
)
from earmark.method.mixup import Mix, draw_mix, mix_inputs, mix_targets
from earmark.method.parts import WHOLE, PartWeights, mixture_valid
from earmark.method.teacher import make_teacher, ramp, update_teacher
from earmark.model.sed import Mels, SedNetwork, SedOutput


class Student(nn.Module):
    """The network that learns, with the heads of the embedding loss while it trains."""

    def __init__(self, network: SedNetwork, settings: EmbeddingSettings) -> None:
        super().__init__()
        self.network = network
        self.tap = settings.tap
        width = network.tap_widths[settings.tap]
        self.heads = StudentHeads(width, settings) if settings.weight > 0 else None

    def forward(
        self, mel: Tensor, valid: Tensor, detach_tap: bool = False
    ) -> tuple[SedOutput, Tensor | None]:
        """Scaled log-mel and valid frames [B, T] → output and u [B, T, d]."""
        output = self.network.from_mel(Mels(mel), valid, valid.shape[1])
        if self.heads is None:
            return output, None
        tap = output.embeddings[self.tap]
        return output, self.heads(tap.detach() if detach_tap else tap, valid)


class Teacher(nn.Module):
    """Moving average of the student's network and projector; never trained."""

    def __init__(self, student: Student) -> None:
        super().__init__()
        self.network: SedNetwork = make_teacher(student.network)
        self.tap = student.tap
        self.projector: FrameHead | None = None
        self.centre: RunningCentre | None = None
        if student.heads is not None:
            self.projector = make_teacher(student.heads.projector)
            self.centre = RunningCentre(student.heads.projector.outputs)

    def train(self, mode: bool = True) -> Teacher:
        """A teacher stays in evaluation mode."""
        return super().train(False)

    @torch.no_grad()
    def forward(self, mel: Tensor, valid: Tensor) -> tuple[SedOutput, Tensor | None]:
        """Scaled log-mel of clean clips → scores q and vectors z [B, T, d]."""
        output = self.network.from_mel(Mels(mel), valid, valid.shape[1])
        if self.projector is None:
            return output, None
        return output, self.projector(output.embeddings[self.tap], valid)

    def follow(self, student: Student, decay: float) -> None:
        """One step of the moving average."""
        update_teacher(self.network, student.network, decay)
        if self.projector is not None and student.heads is not None:
            update_teacher(self.projector, student.heads.projector, decay)


@dataclass(frozen=True)
class Views:
    """Scaled log-mels of a step: the teacher's clean one, the student's mixture, and energies."""

    clean: Tensor
    mixed: Tensor
    valid: Tensor
    energy: Tensor


class Taught(NamedTuple):
    """What the teacher says of clean clips: scores q, and vectors z [B, T, d] if asked for."""

    scores: SedOutput
    vectors: Tensor | None


class StepResult(NamedTuple):
    """The loss to minimise, and the figures worth watching."""

    loss: Tensor
    figures: dict[str, float]


def make_views(
    frontend: LogMel, batch: Batch, mix: Mix, settings: MixupSettings, with_energy: bool
) -> Views:
    """Mix in the chosen domain, before (waveform) or inside (mel) the front-end."""
    frames = batch.valid.shape[1]
    clean = frontend.linear(batch.waveforms)
    if settings.domain == "waveform":
        source = batch.waveforms
        mixed = clean
        if bool((mix.coefficient < 1).any()):
            mixed = frontend.linear(mix_inputs(source, mix, settings.level))
    else:
        source = clean
        mixed = mix_inputs(clean, mix, settings.level)
    energy = frame_energy(source, frames) if with_energy else torch.ones_like(batch.valid).float()
    both = mixture_valid(batch.valid, mix)
    return Views(frontend.scale(clean), frontend.scale(mixed), both, energy)


def training_step(
    student: nn.Module,
    teacher: Teacher,
    batch: Batch,
    step: int,
    settings: MethodSettings,
    generator: torch.Generator,
    mix: Mix | None = None,
    weights: PartWeights = WHOLE,
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
    """
    mix = mix or draw_mix(batch.kinds.cpu(), settings.mixup, generator)
    mix = mix.to(batch.waveforms.device)
    by_energy = settings.embedding.weights in ("energy", "hard")
    with torch.no_grad():
        views = make_views(teacher.network.frontend, batch, mix, settings.mixup, by_energy)
    warp = settings.warp_probability
    taught = _teach(teacher, views, batch, settings, generator)
    mel = frequency_warp(views.mixed, generator, warp, settings.warp_range) if warp else views.mixed
    detach = step < settings.embedding.detach_steps
    output, prediction = student(mel, views.valid, detach)

    loss, figures = supervised_loss(output, batch, views.valid, mix, settings, weights)
    if taught is not None:
        consistency, parts = consistency_loss(
            output, taught.scores, views.valid, mix, settings, weights
        )
        r = ramp(step, settings.ramp_steps)
        loss = loss + r * consistency
        figures |= {name: value.item() for name, value in parts.items()} | {"ramp": r}
        if prediction is not None:
            embedded = embedding_term(
                student, teacher, prediction, taught, views, batch.valid, mix, settings.embedding
            )
            # The centre moves after its use: all parts of a step subtract the same one.
            centre = teacher.centre if settings.embedding.center else None
            if centre is not None and taught.vectors is not None:
                centre.update(taught.vectors, batch.valid)
            embedded = embedded * weights.own_frames
            r_e = ramp(step - settings.embedding.detach_steps, settings.embedding.ramp_steps)
            r_e = 1.0 if detach else r_e
            loss = loss + r_e * settings.embedding.weight * embedded
            figures |= {"embedding": embedded.item()} | collapse_figures(prediction, views.valid)
    figures["loss"] = loss.item()
    return StepResult(loss, figures)


def _teach(
    teacher: Teacher,
    views: Views,
    batch: Batch,
    settings: MethodSettings,
    generator: torch.Generator,
) -> Taught | None:
    """The teacher on clean clips; None where no loss asks for it."""
    if not (settings.mean_teacher or settings.pseudo_label or settings.embedding.weight):
        return None
    warp = settings.warp_probability
    clean = frequency_warp(views.clean, generator, warp, settings.warp_range) if warp else None
    return Taught(*teacher(views.clean if clean is None else clean, batch.valid))


def supervised_loss(
    output: SedOutput,
    batch: Batch,
    valid: Tensor,
    mix: Mix,
    settings: MethodSettings,
    weights: PartWeights = WHOLE,
) -> tuple[Tensor, dict[str, float]]:
    """BCE of strongly labelled clips + ½ BCE of weakly labelled ones, targets as mixed."""
    strong_rows, weak_rows = batch.of_kind("strong"), batch.of_kind("weak")
    targets = mix_targets(batch.strong, mix, settings.mixup.labels)
    tags = mix_targets(batch.weak, mix, settings.mixup.labels)
    strong = strong_bce(output.strong[strong_rows], targets[strong_rows], valid[strong_rows])
    weak = weak_bce(output.weak[weak_rows], tags[weak_rows])
    strong, weak = strong * weights.frames_of("strong"), weak * weights.clips_of("weak")
    return strong + settings.weak * weak, {"strong": strong.item(), "weak": weak.item()}


def consistency_loss(
    output: SedOutput,
    scores: SedOutput,
    valid: Tensor,
    mix: Mix,
    settings: MethodSettings,
    weights: PartWeights = WHOLE,
) -> tuple[Tensor, dict[str, Tensor]]:
    """w_mt·L_mt on plain and perturbed clips + w_pl·L_pl on composed ones; all kinds of label."""
    strong = mix_targets(scores.strong, mix, settings.mixup.labels)
    weak = mix_targets(scores.weak, mix, settings.mixup.labels)

    def distance(clips: Tensor) -> Tensor:
        frames = strong_consistency(output.strong, strong, valid, clips) * weights.all_frames
        tags = weak_consistency(output.weak, weak, clips) * weights.all_clips
        return frames + settings.weak * tags

    parts = {"mean_teacher": distance(~mix.composed), "pseudo_label": distance(mix.composed)}
    total = (
        settings.mean_teacher * parts["mean_teacher"]
        + settings.pseudo_label * parts["pseudo_label"]
    )
    return total, parts


def embedding_term(
    student: nn.Module,
    teacher: Teacher,
    prediction: Tensor,
    taught: Taught,
    views: Views,
    valid: Tensor,
    mix: Mix,
    options: EmbeddingSettings,
) -> Tensor:
    """L_emb: composed clips against m = w ẑ_i + (1 − w) ẑ_j, the others against ẑ_i.

    ``valid`` [B, T] are the frames in which the clips themselves, not their partners, have sound.
    """
    z = taught.vectors
    if z is None:
        raise ValueError("the teacher was made without a projector")
    if options.center and teacher.centre is not None:
        prediction, z = teacher.centre(prediction), teacher.centre(z)
    activity = taught.scores.strong.amax(dim=-1)  # [B, T]
    weights = frame_weights(options.weights, mix.coefficient, mix.partner, activity, views.energy)
    weights = torch.where(mix.composed[:, None], weights, 1.0)
    # A padded frame of the partner has no vector: there the clip's own is the whole target.
    weights = torch.where(valid[mix.partner], weights, 1.0)
    target = compose_embeddings(z, mix.partner, weights)
    loss = embedding_loss(prediction, target, valid, options.gain)
    if not options.symmetric:
        return loss
    # The other direction: the student's clean vectors, composed alike, against the teacher's
    # view of the mixture (ATST-Frame's second term, carried over to compositions; our choice).
    _, clean = student(views.clean, valid, False)
    _, mixed = teacher(views.mixed, views.valid)
    if options.center and teacher.centre is not None:
        clean, mixed = teacher.centre(clean), teacher.centre(mixed)
    composed = compose_embeddings(clean, mix.partner, weights)
    other = embedding_loss(composed, functional.normalize(mixed, dim=-1), valid)
    return 0.5 * (loss + other)
