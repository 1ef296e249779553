"""The losses, each a function of tensors: masked BCE, consistency, embedding-level loss."""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

WeightKind = Literal["lambda", "activity", "energy", "hard"]


def masked_mean(values: Tensor, valid: Tensor) -> Tensor:
    """Mean of values [B, T, …] over valid frames [B, T] or elements; zero when none is valid."""
    mask = valid.to(values.dtype).reshape(*valid.shape, *([1] * (values.dim() - valid.dim())))
    count = mask.expand_as(values).sum()
    return (values * mask).sum() / count.clamp(min=1.0)


def _bce(scores: Tensor, targets: Tensor) -> Tensor:
    """Binary cross-entropy in float32; CUDA's autocast refuses that of probabilities."""
    with torch.autocast(scores.device.type, enabled=False):
        return F.binary_cross_entropy(scores.float(), targets.float(), reduction="none")


def strong_bce(
    scores: Tensor, targets: Tensor, valid: Tensor, known: Tensor | None = None
) -> Tensor:
    """Binary cross-entropy of frame probabilities [B, T, C]: mean over valid frames, known classes.

    Args:
        scores: Probabilities.
        targets: In [0, 1]; of classes that are not known they mean nothing.
        valid: [B, T] frames that are no padding.
        known: [B, C] classes of a clip whose presence and absence its labels give; None for all.
    """
    chosen = valid if known is None else valid[:, :, None] & known[:, None, :]
    return masked_mean(_bce(scores, targets), chosen)


def weak_bce(scores: Tensor, targets: Tensor, known: Tensor | None = None) -> Tensor:
    """Binary cross-entropy of clip probabilities [B, C]; zero where no class of a clip is known."""
    if scores.numel() == 0:
        return scores.sum()
    if known is None:
        return _bce(scores, targets).mean()
    return masked_mean(_bce(scores, targets), known)


def strong_consistency(scores: Tensor, targets: Tensor, valid: Tensor, clips: Tensor) -> Tensor:
    """Mean squared error to the teacher on chosen clips, as a mean over the *whole* batch.

    Args:
        scores: Student's [B, T, C].
        targets: Teacher's [B, T, C], already mixed as the clips are.
        valid: [B, T] frames that are no padding.
        clips: [B] True for clips that count. Dividing by the whole batch keeps a mode's weight
            proportional to how often it is drawn (our choice).
    """
    squared = (scores - targets).square() * clips.to(scores.dtype)[:, None, None]
    return masked_mean(squared, valid)


def weak_consistency(scores: Tensor, targets: Tensor, clips: Tensor) -> Tensor:
    """The same for clip probabilities [B, C]."""
    return ((scores - targets).square() * clips.to(scores.dtype)[:, None]).mean()


def frame_weights(
    kind: WeightKind,
    coefficient: Tensor,
    partner: Tensor,
    activity: Tensor,
    energy: Tensor,
    smallest: float = 0.1,
    power: int = 1,
    gain: Tensor | None = None,
) -> Tensor:
    """Weight w of the clip in the composed embedding target, per frame.

    ``lambda``: λ. ``activity``: λ(ε + a_i) / [λ(ε + a_i) + (1 − λ)(ε + a_j)], a the teacher's
    largest class score. ``energy``: the same with energies *in the mixture* and no ε: of waveforms,
    whose mixture has the energies λ²E_i and (1 − λ)²g²E_j, and of power mels, which have λE_i and
    (1 − λ)gE_j. ``hard``: 1 where the clip has more than half of that energy.

    Args:
        kind: Which of the four.
        coefficient: λ, [B].
        partner: [B] rows of the partners.
        activity: [B, T] largest teacher score of each clean frame.
        energy: [B, T] energy of each clean frame in the mixing domain.
        smallest: ε.
        power: By which λ and g enter the energies: 2 for waveforms, 1 for mels.
        gain: [B] g of the partners; 1 by default.

    Returns:
        [B, T] in [0, 1].
    """
    own = coefficient[:, None].expand_as(activity)
    if kind == "lambda":
        return own
    if kind == "activity":
        first, second = own * (activity + smallest), (1.0 - own) * (activity[partner] + smallest)
    else:
        theirs = (1.0 - own) if gain is None else (1.0 - own) * gain[:, None]
        first, second = own**power * energy + 1e-12, theirs**power * energy[partner] + 1e-12
    weights = first / (first + second)
    return (weights > 0.5).to(weights.dtype) if kind == "hard" else weights


def compose_embeddings(z: Tensor, partner: Tensor, weights: Tensor) -> Tensor:
    """Targets m = w·ẑ_i + (1 − w)·ẑ_j of z [B, T, d], weights [B, T]; hats are unit."""
    unit = F.normalize(z, dim=-1)
    w = weights.unsqueeze(-1)
    return w * unit + (1.0 - w) * unit[partner]


def embedding_loss(
    prediction: Tensor,
    target: Tensor,
    valid: Tensor,
    gain: Literal["resultant", "unit"] = "resultant",
) -> Tensor:
    """Mean over valid frames of gain·(2 − 2·cos(u, m)), the BYOL-type loss of ATST-Frame.

    With gain R = ‖m‖ it has the gradient of w(2 − 2û·ẑ_i) + (1 − w)(2 − 2û·ẑ_j) without that
    form's floor 2(1 − R); with a unit target it is ATST-Frame's loss (arXiv 2306.04186).

    Args:
        prediction: Student's head output u [B, T, d].
        target: m [B, T, d], of length at most 1.
        valid: [B, T] frames that are no padding; one without a target counts as 0.
        gain: ``resultant`` weighs a frame by R, ``unit`` by 1.
    """
    length = target.norm(dim=-1)  # [B, T]
    cosine = (F.normalize(prediction, dim=-1) * target).sum(dim=-1) / length.clamp(min=1e-6)
    loss = 2.0 - 2.0 * cosine
    if gain == "resultant":
        loss = loss * length.detach()
    return masked_mean(loss * (length.detach() > 1e-6), valid)


def frame_energy(x: Tensor, hop: int, frames: int) -> Tensor:
    """Mean energy of each frame of waveforms [B, S] or linear mels [B, F, L]: [B, frames].

    Args:
        x: Amplitudes, or mels whose bands are summed.
        hop: Samples, or mel frames, of one frame.
        frames: How many; beyond the end of ``x`` there is silence.
    """
    power = x.square() if x.dim() == 2 else x.sum(dim=1)
    power = F.pad(power, (0, max(0, hop * frames - power.shape[1])))[:, : hop * frames]
    return power.reshape(len(power), frames, hop).mean(dim=2)


@torch.no_grad()
def collapse_figures(prediction: Tensor, valid: Tensor) -> dict[str, float]:
    """What to watch for collapse: per-dimension std of û, and mean cosine between clips.

    Uniform on the sphere gives a std of 1/√d and a cosine near 0.
    """
    unit = F.normalize(prediction.float(), dim=-1)
    rows = unit[valid]
    if len(rows) < 2:
        return {"embedding_std": float("nan"), "embedding_cosine": float("nan")}
    mask = valid.to(unit.dtype)
    means = (unit * mask.unsqueeze(-1)).sum(dim=1) / mask.sum(dim=1, keepdim=True).clamp(min=1)
    clips = len(means)
    # The mean over ordered pairs of frames of different clips of û·û' is what the sums give.
    pairs = (means.sum(dim=0).square().sum() - means.square().sum()) / max(1, clips * (clips - 1))
    return {"embedding_std": rows.std(dim=0).mean().item(), "embedding_cosine": pairs.item()}
