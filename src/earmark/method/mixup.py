"""Conditional mixup: one coefficient mixes two clips and decides what the mixture teaches.

x̃ = λ·x_i + (1 − λ)·g·x_j with λ in [0.5, 1]. λ ≤ τ is a *composition*: both clips are targets.
λ > τ is a *perturbation*: the weaker clip is noise, the target is the dominant clip's alone
(arXiv 2606.29901; the distribution of λ, τ and the mixing domain are our choices).
λ = 1 is no mixing, so one path serves mixed and plain clips.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from earmark.method.settings import MixupSettings


@dataclass(frozen=True)
class Mix:
    """One draw for a batch.

    Attributes:
        coefficient: λ, [B] in [0.5, 1]; ATST-SED v1's is in [0, 1].
        partner: π, [B] row of the partner, within the same kind of label.
        composed: [B] True where the mixture is a composition. λ = 1 of a clip's own never is.
    """

    coefficient: Tensor
    partner: Tensor
    composed: Tensor

    @property
    def mixed(self) -> Tensor:
        """[B] True where the mixture differs from the clip."""
        itself = self.partner == torch.arange(len(self.partner), device=self.partner.device)
        return (self.coefficient < 1.0) & ~itself

    def figures(self) -> dict[str, float]:
        """Mean λ, and the fractions of clips that are compositions and perturbations."""
        composed = self.composed & self.mixed
        return {
            "lambda": self.coefficient.mean().item(),
            "composed": composed.float().mean().item(),
            "perturbed": (self.mixed & ~composed).float().mean().item(),
        }

    def to(self, device: torch.device) -> Mix:
        """The same draw on a device."""
        return Mix(self.coefficient.to(device), self.partner.to(device), self.composed.to(device))


def draw_mix(kinds: Tensor, settings: MixupSettings, generator: torch.Generator) -> Mix:
    """Draw coefficients, partners and modes for a batch.

    A clip that the permutation of its kind leaves in its place has λ = 1 and is plain.

    Args:
        kinds: [B] number of each clip's kind of label; partners stay within a kind.
        settings: Distribution, threshold and probability of mixing the batch.
        generator: Source of every draw, on the CPU.
    """
    if torch.rand((), generator=generator) >= settings.probability:
        return no_mix(len(kinds))
    draws = draw_beta(settings.alpha, len(kinds), generator)
    partner = draw_partners(kinds, generator)
    return mix_of(torch.maximum(draws, 1.0 - draws), partner, settings.tau)


def no_mix(batch: int) -> Mix:
    """Plain clips."""
    return Mix(torch.ones(batch), torch.arange(batch), torch.zeros(batch, dtype=torch.bool))


def mix_of(coefficient: Tensor, partner: Tensor, tau: float) -> Mix:
    """Compositions and perturbations by τ; a clip that is its own partner is plain."""
    alone = partner == torch.arange(len(partner))
    coefficient = torch.where(alone, torch.ones(()), coefficient)
    return Mix(coefficient, partner, (coefficient <= tau) & (coefficient < 1.0))


def draw_beta(alpha: float, count: int, generator: torch.Generator) -> Tensor:
    """[count] draws of Beta(α, α); PyTorch's own distribution takes no generator."""
    seed = int(torch.randint(2**62, (), generator=generator))
    return torch.from_numpy(np.random.default_rng(seed).beta(alpha, alpha, count)).float()


def draw_partners(kinds: Tensor, generator: torch.Generator) -> Tensor:
    """[B] rows of the partners: a permutation within each kind."""
    partner = torch.arange(len(kinds))
    for kind in torch.unique(kinds):
        rows = torch.nonzero(kinds == kind).squeeze(1)
        partner[rows] = rows[torch.randperm(len(rows), generator=generator)]
    return partner


def _column(values: Tensor, like: Tensor) -> Tensor:
    """[B] shaped to broadcast over the other axes of ``like``."""
    return values.to(like.dtype).reshape(-1, *([1] * (like.dim() - 1)))


def partner_gain(x: Tensor, mix: Mix, level: Literal["none", "rms"]) -> Tensor:
    """G [B] of the partners of waveforms [B, S] or linear mels [B, F, T].

    ``rms`` chooses it so that the partner has the clip's root mean square; it is 1 for a silent
    clip or partner, and for ``none``.
    """
    own = x.square().flatten(1).mean(dim=1).sqrt()  # [B]
    theirs = own[mix.partner]
    if level == "none":
        return torch.ones_like(own)
    return torch.where((own > 1e-8) & (theirs > 1e-8), own / theirs.clamp(min=1e-8), 1.0)


def mix_inputs(x: Tensor, mix: Mix, level: Literal["none", "rms"] = "none") -> Tensor:
    """λ·x_i + (1 − λ)·g·x_j for waveforms [B, S] or linear mels [B, F, T].

    g is that of `partner_gain`.
    """
    other = x[mix.partner]
    if level == "rms":
        other = other * _column(partner_gain(x, mix, level), x)
    coefficient = _column(mix.coefficient, x)
    return coefficient * x + (1.0 - coefficient) * other


def mix_targets(targets: Tensor, mix: Mix, how: Literal["soft", "max"] = "soft") -> Tensor:
    """Targets of the mixtures, for labels and teacher scores alike: [B, …] → [B, …].

    Composition: λ·y_i + (1 − λ)·y_j (``soft``) or their maximum (``max``). Perturbation: y_i.
    """
    other = targets[mix.partner]
    if how == "max":
        joined = torch.maximum(targets, other)
    else:
        coefficient = _column(mix.coefficient, targets)
        joined = coefficient * targets + (1.0 - coefficient) * other
    composed = mix.composed.reshape(-1, *([1] * (targets.dim() - 1)))
    return torch.where(composed, joined, targets)


def mixture_valid(valid: Tensor, mix: Mix) -> Tensor:
    """Frames [B, T] in which a mixture has sound: the clip's own, and a composed partner's."""
    return valid | (valid[mix.partner] & mix.composed[:, None])


def mix_known(known: Tensor | None, mix: Mix) -> Tensor | None:
    """Classes [B, C] that the mixtures' targets know; None stands for all of them, in and out.

    A composition's target is made of both clips' labels, so both must know the class; one clip's
    alone would call the other's sounds absent. A perturbation's target is the clip's own. The rule
    is ours: the paper has no partially labelled clips. (With ``labels: max`` a class that one clip
    has is in the mixture whatever the other's labels say; it is left out all the same, for such
    classes would be learnt from presence alone.)
    """
    if known is None:
        return None
    return torch.where(mix.composed[:, None], known & known[mix.partner], known)
