"""A step taken in parts: what makes the mean over parts of their losses the step's own loss.

A step's batch may be dealt over several processes and over several turns of each. Every loss is a
mean, over valid frames or over clips of some kinds, and parts hold different numbers of them, so
the mean of the parts' means is not the mean of the step. It is once each part's mean is multiplied
by its own number over the average number of all parts; gradients are then those of the whole
step, for they are linear in the losses.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from earmark.data.dataset import KINDS, Batch
from earmark.method.mixup import Mix, mix_known


@dataclass(frozen=True)
class PartWeights:
    """What a part's means are multiplied by; all 1 where the part is the whole step.

    Attributes:
        frames: For means over the valid frames of the mixtures of one kind of label, by kind.
        clips: For means over the clips of one kind, by kind.
        all_frames: For means over the valid frames of all mixtures.
        all_clips: For means over all clips.
        own_frames: For means over the frames, or tokens, in which the clips themselves have
            sound, as the tap of the embedding loss has them.
        kinds: Kinds of label that the whole step holds; None for those of the batch.
        strong_labels: For means over the valid frames and known classes of strong mixtures.
        weak_labels: For means over the known classes of weak mixtures.
    """

    frames: tuple[float, ...] = (1.0,) * len(KINDS)
    clips: tuple[float, ...] = (1.0,) * len(KINDS)
    all_frames: float = 1.0
    all_clips: float = 1.0
    own_frames: float = 1.0
    kinds: tuple[str, ...] | None = None
    strong_labels: float = 1.0
    weak_labels: float = 1.0

    def frames_of(self, kind: str) -> float:
        """The weight of a mean over the frames of one kind."""
        return self.frames[KINDS.index(kind)]

    def clips_of(self, kind: str) -> float:
        """The weight of a mean over the clips of one kind."""
        return self.clips[KINDS.index(kind)]


#: The batch is the whole step.
WHOLE = PartWeights()


def mixture_valid(valid: Tensor, mix: Mix) -> Tensor:
    """Frames [B, T] in which a mixture has sound: the clip's own, and a composed partner's."""
    return valid | (valid[mix.partner] & mix.composed[:, None])


def count_part(batch: Batch, mix: Mix, own: Tensor | None = None) -> Tensor:
    """What the means of a part are over: [2K + 3] float64, for K kinds of label.

    Valid frames of the mixtures by kind, clips by kind, the clips' own valid frames, then frames
    of strong and clips of weak mixtures, each counted by the share of the classes it is known of.

    Args:
        batch: The part's clips.
        mix: Their partners.
        own: [B, N] the clips' own valid frames or tokens at the tap; by default their frames.
    """
    own = batch.valid if own is None else own
    both = mixture_valid(batch.valid, mix).sum(dim=1)  # [B]
    by_kind = [batch.of_kind(kind) for kind in KINDS]
    frames = [both[rows].sum() for rows in by_kind]
    clips = [rows.sum() for rows in by_kind]
    known = mix_known(batch.known, mix)
    share = torch.ones_like(both) if known is None else known.double().mean(dim=1)  # [B]
    strong, weak = batch.of_kind("strong"), batch.of_kind("weak")
    labels = [(both * share)[strong].sum(), share[weak].sum()]
    counts = [*frames, *clips, own.sum(), *labels]
    return torch.stack([count.double() for count in counts]).cpu()


def weigh_part(part: Tensor, average: Tensor) -> PartWeights:
    """Weights of a part.

    Args:
        part: Its counts, of `count_part`.
        average: The mean of the counts of all parts of the step.
    """
    kinds = len(KINDS)
    part = _with_totals(part, kinds)
    average = _with_totals(average, kinds)
    shares = torch.where(average > 0, part / average.clamp(min=1e-300), 1.0).tolist()
    return PartWeights(
        tuple(shares[:kinds]),
        tuple(shares[kinds : 2 * kinds]),
        own_frames=shares[2 * kinds],
        strong_labels=shares[2 * kinds + 1],
        weak_labels=shares[2 * kinds + 2],
        all_frames=shares[-2],
        all_clips=shares[-1],
        kinds=tuple(kind for kind, n in zip(KINDS, average[kinds:].tolist(), strict=False) if n),
    )


def _with_totals(counts: Tensor, kinds: int) -> Tensor:
    """The counts, then the frames and the clips of all kinds."""
    totals = torch.stack([counts[:kinds].sum(), counts[kinds : 2 * kinds].sum()])
    return torch.cat([counts, totals])
