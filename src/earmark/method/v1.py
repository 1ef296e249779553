"""ATST-SED v1's step (arXiv 2309.08153), where it is not that of v2 (`method.step`).

All clips of a kind of label have one λ, which may be below ½; every mixed step is one of
interpolation consistency, every other one of plain mean teacher. In the first stage the encoder's
input is not mixed, and the teacher sees what the student sees. Each difference is a switch of
`V1Settings`, for trying one at a time; the embedding loss, which v1 has not, may stand beside it.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from earmark.data.dataset import KINDS, Batch
from earmark.method import mixup
from earmark.method import step as v2
from earmark.method import views as v2_views
from earmark.method.losses import collapse_figures, strong_consistency, weak_consistency
from earmark.method.mixup import Mix
from earmark.method.networks import Teacher
from earmark.method.own import augmented, augmented_views
from earmark.method.settings import MethodSettings, MixupSettings, V1Settings
from earmark.method.teacher import ramp
from earmark.method.views import EncoderTokens, Views
from earmark.model.sed import Mels, SedNetwork, SedOutput


def draw_mix(kinds: Tensor, settings: MethodSettings, generator: torch.Generator) -> Mix:
    """Draw coefficients, partners and modes for clips of these kinds of label [B].

    With ``per: kind`` a clip that the permutation leaves in its place is mixed with itself and
    counts as its kind does.
    """
    v1, options = settings.v1 or V1Settings(), settings.mixup
    if torch.rand((), generator=generator) >= options.probability:
        return mixup.no_mix(len(kinds))
    present, number = torch.unique(kinds, return_inverse=True)
    by_kind = v1.per == "kind"
    draws = mixup.draw_beta(options.alpha, len(present) if by_kind else len(kinds), generator)
    if v1.fold:
        draws = torch.maximum(draws, 1.0 - draws)
    partner = mixup.draw_partners(kinds, generator)
    if not by_kind:
        return mixup.mix_of(draws, partner, options.tau)
    return Mix(draws[number], partner, draws[number] <= options.tau)


def training_step(
    student: nn.Module,
    teacher: Teacher,
    batch: Batch,
    step: int,
    settings: MethodSettings,
    generator: torch.Generator,
    inputs: v2.StepInputs = v2.StepInputs(),
) -> v2.StepResult:
    """The loss of one batch; arguments as those of v2's."""
    v1, weights, options = settings.v1 or V1Settings(), inputs.weights, settings.embedding
    mix = inputs.mix or draw_mix(batch.kinds.cpu(), settings, generator)
    mix = mix.to(batch.waveforms.device)
    batch = augmented(batch, settings, teacher.network.spec.frame_hop, generator)
    views = make_views(teacher, batch, mix, settings, generator, inputs.encoder)
    views = augmented_views(views, settings, generator)
    seen = v2.TeacherOutput(*teacher(views.clean)) if settings.needs_teacher else None
    output, prediction = student(views.mixed, v2.embedding_ramp(step, options))

    loss, figures = v2.supervised_loss(output, batch, views, settings, weights)
    terms = {"supervised": loss}
    if seen is not None:
        q, composed = seen.scores, torch.zeros_like(mix.composed)
        if v1.teacher_sees == "clean":
            q, composed = v2.mix_scores(q, mix, settings), mix.composed
        mean_teacher = v2.consistency_loss(output, q, views, ~composed, settings, weights)
        if v1.consistency == "kind":
            ict = consistency_by_kind(output, q, views, batch, composed, settings, weights)
        else:
            ict = v2.consistency_loss(output, q, views, composed, settings, weights)
        own, more = v2.own_consistency(output, q, views, settings, weights)
        consistency = settings.mean_teacher * mean_teacher + settings.pseudo_label * ict
        r = ramp(step + 1, settings.ramp_steps)
        loss = loss + r * (consistency + own)
        figures |= {"mean_teacher": mean_teacher.item(), "pseudo_label": ict.item(), "ramp": r}
        figures |= more
    if seen is not None and seen.vectors is not None and prediction is not None:
        w = v2.vector_weights(teacher, seen.scores.strong, views, options)
        if v1.teacher_sees == "mixture" or (options.tap == "encoder" and not v1.mix_encoder):
            w = torch.ones_like(w)  # nothing is composed for this tap
        embedding = v2.embedding_term(
            student, teacher, views, seen.vectors, prediction, w, step, options
        )
        embedding = embedding * weights.own_frames
        terms["embedding"] = options.weight * embedding
        loss = loss + terms["embedding"]
        figures |= {"embedding": embedding.item()} | collapse_figures(prediction, views.own)
    figures["loss"] = loss.item()
    return v2.StepResult(loss, figures, terms)


@torch.no_grad()
def make_views(
    teacher: Teacher,
    batch: Batch,
    mix: Mix,
    settings: MethodSettings,
    generator: torch.Generator,
    encoder: EncoderTokens | None = None,
) -> Views:
    """Front-ends, mixing, scaling and warp; arguments as those of v2's."""
    v1, network, tokens = settings.v1 or V1Settings(), teacher.network, None
    chance, keep = settings.warp_probability, settings.warp_range
    if chance:
        encoder = None
    needs_clean = settings.needs_teacher and v1.teacher_sees == "clean"
    if encoder is not None and (needs_clean or not v1.mix_encoder or not bool(mix.mixed.any())):
        tokens = encoder.clean(batch)
    make_mels = v2_views.linear_mels if v1.mix_encoder else cnn_mixed_mels
    linear, mixture = make_mels(network, batch.waveforms, mix, settings.mixup, tokens is None)
    own = teacher.valid_at_tap(batch.valid)
    energy = v2_views.tap_energy(network, batch.waveforms, linear, own.shape[1], mix, settings)
    mixture = v2_views.filtered(network, mixture, settings, generator)
    clean, mixed = v2_views.scaled_views(network, batch, mix, linear, mixture, tokens)
    mixed = v2_views.masked(network, mixed, settings, generator)
    if not v1.mix_encoder:
        mixed = mixed._replace(encoder_valid=batch.valid)
    if encoder is not None:
        changed = mix.mixed if v1.mix_encoder else torch.zeros_like(mix.mixed)
        mixed = mixed._replace(tokens=encoder.mixed(mixed, changed, tokens))
    if v1.teacher_sees == "mixture":
        clean = mixed
    if chance:
        groups = None
        if v1.warp_per == "kind":
            chance = float(torch.rand((), generator=generator) < chance)
            groups = batch.kinds
        clean = v2_views.warp_view(clean, generator, chance, keep, groups)
        mixed = v2_views.warp_view(mixed, generator, chance, keep, groups)
    return Views(clean, mixed, mix, own, energy)


def cnn_mixed_mels(
    network: SedNetwork, waveforms: Tensor, mix: Mix, settings: MixupSettings, with_encoder: bool
) -> tuple[Mels, Mels]:
    """`linear_mels` of which only the CNN's are mixed."""
    clean = network.linear(waveforms, with_encoder)
    if not bool(mix.mixed.any()):
        return clean, clean
    if settings.domain == "mel":
        return clean, clean._replace(cnn=mixup.mix_inputs(clean.cnn, mix, settings.level))
    mixed = mixup.mix_inputs(waveforms, mix, settings.level)
    return clean, clean._replace(cnn=network.linear(mixed, with_encoder=False).cnn)


def consistency_by_kind(
    output: SedOutput,
    targets: SedOutput,
    views: Views,
    batch: Batch,
    clips: Tensor,
    settings: MethodSettings,
    weights: v2.MeanWeights,
) -> Tensor:
    """`consistency_loss` as a mean over the kinds of label of the means over their clips."""
    present = {kind: (1.0, 1.0) for kind in KINDS if bool(batch.of_kind(kind).any())}
    total, by_kind = output.strong.new_zeros(()), weights.by_kind or present
    for kind in present:
        rows = batch.of_kind(kind)
        p, q = output.strong[rows], targets.strong[rows]
        strong = strong_consistency(p, q, views.mixed.valid[rows], clips[rows])
        weak = weak_consistency(output.weak[rows], targets.weak[rows], clips[rows])
        of_frames, of_clips = by_kind[kind]
        total = total + strong * of_frames + settings.weak * weak * of_clips
    return total / len(by_kind)
