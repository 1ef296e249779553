"""The terms of the objective, of whole batches or of parts of one."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from earmark.core.config import MethodSettings
from earmark.data.dataset import KINDS, Batch
from earmark.method.losses import (
    compose_embeddings,
    embedding_loss,
    frame_weights,
    strong_bce,
    strong_consistency,
    weak_bce,
    weak_consistency,
)
from earmark.method.mixup import Mix, mix_known, mix_targets
from earmark.method.networks import Teacher
from earmark.method.views import Views
from earmark.model.encoders.atst import align_tokens
from earmark.model.sed import SedOutput
from earmark.train.micro_batch import WHOLE, PartWeights


class TeacherOutput(NamedTuple):
    """What the teacher says of its view: scores q, and vectors z [B, N, d] from its projector."""

    scores: SedOutput
    vectors: Tensor | None


def supervised_loss(
    output: SedOutput,
    batch: Batch,
    valid: Tensor,
    mix: Mix,
    settings: MethodSettings,
    weights: PartWeights = WHOLE,
) -> tuple[Tensor, dict[str, float]]:
    """BCE of strongly labelled clips + ½ BCE of weakly labelled ones, targets as mixed.

    Both are means over what the labels tell: classes that a clip's source is not annotated for are
    left out, neither present nor absent.
    """
    strong_rows, weak_rows = batch.of_kind("strong"), batch.of_kind("weak")
    known = mix_known(batch.known, mix)
    known_strong, known_weak = (
        None if known is None else known[rows] for rows in (strong_rows, weak_rows)
    )
    targets = mix_targets(batch.strong, mix, settings.mixup.labels)
    tags = mix_targets(batch.weak, mix, settings.mixup.labels)
    strong = strong_bce(
        output.strong[strong_rows], targets[strong_rows], valid[strong_rows], known_strong
    )
    weak = weak_bce(output.weak[weak_rows], tags[weak_rows], known_weak)
    strong, weak = strong * weights.strong_labels, weak * weights.weak_labels
    return strong + settings.weak * weak, {"strong": strong.item(), "weak": weak.item()}


def consistency_loss(
    output: SedOutput,
    scores: SedOutput,
    batch: Batch,
    valid: Tensor,
    mix: Mix,
    settings: MethodSettings,
    weights: PartWeights = WHOLE,
) -> tuple[Tensor, dict[str, Tensor]]:
    """w_mt·L_mt on plain and perturbed clips + w_pl·L_pl on composed ones; all kinds of label.

    A teacher that saw the mixtures has nothing composed for it: all of it is L_mt.
    """
    strong, weak, composed = scores.strong, scores.weak, torch.zeros_like(mix.composed)
    if settings.teacher_sees == "clean":
        composed = mix.composed
        strong = mix_targets(strong, mix, settings.mixup.labels)
        weak = mix_targets(weak, mix, settings.mixup.labels)

    def distance(clips: Tensor) -> Tensor:
        frames = strong_consistency(output.strong, strong, valid, clips) * weights.all_frames
        tags = weak_consistency(output.weak, weak, clips) * weights.all_clips
        return frames + settings.weak * tags

    def distance_by_kind(clips: Tensor) -> Tensor:
        kinds = weights.kinds or [kind for kind in KINDS if bool(batch.of_kind(kind).any())]
        total = output.strong.new_zeros(())
        for kind in kinds:
            rows = batch.of_kind(kind)
            if bool(rows.any()):
                frames = strong_consistency(
                    output.strong[rows], strong[rows], valid[rows], clips[rows]
                )
                tags = weak_consistency(output.weak[rows], weak[rows], clips[rows])
                total = total + frames * weights.frames_of(kind)
                total = total + settings.weak * tags * weights.clips_of(kind)
        return total / len(kinds)

    composed_distance = distance if settings.consistency == "clip" else distance_by_kind
    parts = {"mean_teacher": distance(~composed), "pseudo_label": composed_distance(composed)}
    total = (
        settings.mean_teacher * parts["mean_teacher"]
        + settings.pseudo_label * parts["pseudo_label"]
    )
    return total, parts


def embedding_term(
    student: nn.Module,
    teacher: Teacher,
    prediction: Tensor,
    taught: TeacherOutput,
    views: Views,
    valid: Tensor,
    mix: Mix,
    settings: MethodSettings,
) -> Tensor:
    """L_emb: composed clips against m = w ẑ_i + (1 − w) ẑ_j, the others against ẑ_i.

    ``valid`` [B, N] are the frames, or tokens, of the tap in which the clips themselves, not
    their partners, have sound.
    """
    options, z = settings.embedding, taught.vectors
    if z is None:
        raise ValueError("the teacher was made without a projector")
    if options.center and teacher.centre is not None:
        prediction, z = teacher.centre(prediction), teacher.centre(z)
    weights = target_weights(teacher, taught, views, valid, mix, settings)
    target = compose_embeddings(z, mix.partner, weights)
    loss = embedding_loss(prediction, target, valid, options.gain)
    if not options.symmetric:
        return loss
    # The other direction: the student's vectors of the teacher's view, composed alike, against
    # the teacher's vectors of the student's (ATST-Frame's second term, carried over to
    # compositions; our choice).
    _, swapped = student(views.teacher, False)
    _, mixed = teacher(views.student)
    if options.center and teacher.centre is not None:
        swapped, mixed = teacher.centre(swapped), teacher.centre(mixed)
    composed = compose_embeddings(swapped, mix.partner, weights)
    other = embedding_loss(composed, functional.normalize(mixed, dim=-1), valid)
    return 0.5 * (loss + other)


def target_weights(
    teacher: Teacher,
    taught: TeacherOutput,
    views: Views,
    valid: Tensor,
    mix: Mix,
    settings: MethodSettings,
) -> Tensor:
    """The clip's own share w [B, N] of its target; 1 where nothing is composed for the tap.

    That is so where the teacher saw the mixture, and for tokens of clips whose encoder input is
    not mixed.
    """
    options = settings.embedding
    unmixed_tap = options.tap == "encoder" and not settings.mixup.encoder
    if settings.teacher_sees == "mixture" or unmixed_tap:
        return valid.new_ones(valid.shape, dtype=mix.coefficient.dtype)
    activity = activity_at_tap(teacher, taught.scores.strong, valid.shape[1])
    energy = activity if views.energy is None else views.energy
    weights = frame_weights(options.weights, mix.coefficient, mix.partner, activity, energy)
    weights = torch.where(mix.composed[:, None], weights, 1.0)
    # A padded frame of the partner has no vector: there the clip's own is the whole target.
    return torch.where(valid[mix.partner], weights, 1.0)


def activity_at_tap(teacher: Teacher, scores: Tensor, count: int) -> Tensor:
    """The largest class score of every frame, or token, of the tap: [B, T, C] → [B, count].

    A token takes the mean of its frames, weighted by their overlap with it.
    """
    activity = scores.amax(dim=-1)
    encoder = teacher.network.settings.encoder
    if teacher.tap != "encoder" or encoder is None:
        return activity
    frame_hop, token_hop = teacher.network.spec.frame_hop, encoder.token_hop
    return align_tokens(activity.unsqueeze(-1), count, "exact", frame_hop, token_hop).squeeze(-1)
