"""A step taken in micro-batches: what makes the mean of their losses the step's own loss.

A step's batch may be split over several processes and over several micro-batches of each. Every
loss is a mean, over valid frames or over clips of some kinds, and micro-batches hold different
numbers of them, so the mean of their means is not the mean of the step. It is, once each mean is
multiplied by its own number over the average number of all micro-batches; gradients are then those
of the whole step, for they are linear in the losses.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from lightning_fabric import Fabric
from torch import Tensor

from earmark.data.dataset import KINDS, Batch
from earmark.method.mixup import Mix, mix_known, mixture_valid
from earmark.method.settings import MethodSettings
from earmark.method.step import MeanWeights
from earmark.method.versions import draw_mix
from earmark.train.distributed import reduce_mean
from earmark.train.loop import MicroStep


@dataclass(frozen=True)
class MicroBatch(MicroStep):
    """Clips of a step that this process takes at once.

    Attributes:
        batch: The clips.
        mix: Their λ and partners.
        generator: Of what is drawn after them.
        weights: Of its means in the step.
    """

    batch: Batch
    mix: Mix
    generator: torch.Generator
    weights: MeanWeights


def read_micro_batches(
    fabric: Fabric,
    batches: Iterator[Batch],
    accumulate: int,
    generator_of: Callable[[int], torch.Generator],
    settings: MethodSettings,
    valid_at_tap: Callable[[Tensor], Tensor] = lambda valid: valid,
) -> list[MicroBatch]:
    """Read this process's micro-batches of the next step, draw their mixtures, and weigh them.

    Args:
        fabric: Of the run.
        batches: Of `step_loader`.
        accumulate: Micro-batches of every process.
        generator_of: The generator of a micro-batch, by its number within the step.
        settings: How mixtures are drawn.
        valid_at_tap: Of a batch's valid frames, those of the embedding loss's tap.
    """
    drawn, counts = [], []
    for index in range(accumulate):
        batch = next(batches)
        generator = generator_of(index * fabric.world_size + fabric.global_rank)
        seed = int(torch.randint(2**62, (), generator=generator))
        mix = draw_mix(batch.kinds, settings, generator)
        drawn.append((seed, batch, mix, generator))
        counts.append(count_means(batch, mix, valid_at_tap(batch.valid)))
    average = reduce_mean(fabric, torch.stack(counts).mean(dim=0))
    weights = [mean_weights(count, average) for count in counts]
    total = accumulate * fabric.world_size
    return [
        MicroBatch(seed, 1.0, of.clips / total, batch, mix, generator, of)
        for (seed, batch, mix, generator), of in zip(drawn, weights, strict=True)
    ]


def count_means(batch: Batch, mix: Mix, own: Tensor) -> Tensor:
    """What the means of a micro-batch are over: [2K + 3] float64, for K kinds of label.

    Valid frames of the mixtures by kind, clips by kind, the clips' own valid frames or tokens
    (``own`` [B, N]) at the tap, then frames of strong and clips of weak mixtures, each counted by
    the fraction of the classes it is known of.
    """
    both = mixture_valid(batch.valid, mix).sum(dim=1)  # [B]
    by_kind = [batch.of_kind(kind) for kind in KINDS]
    frames = [both[rows].sum() for rows in by_kind]
    clips = [rows.sum() for rows in by_kind]
    known = mix_known(batch.known, mix)
    fraction = torch.ones_like(both) if known is None else known.double().mean(dim=1)  # [B]
    strong, weak = batch.of_kind("strong"), batch.of_kind("weak")
    labels = [(both * fraction)[strong].sum(), fraction[weak].sum()]
    counts = [*frames, *clips, own.sum(), *labels]
    return torch.stack([count.double() for count in counts]).cpu()


def mean_weights(counts: Tensor, average: Tensor) -> MeanWeights:
    """Weights of a micro-batch from its counts, and the mean of the counts of all of the step."""
    kinds = len(KINDS)
    counts, average = (_with_totals(found, kinds) for found in (counts, average))
    ratios = torch.where(average > 0, counts / average.clamp(min=1e-300), 1.0).tolist()
    present = [n for n in range(kinds) if average[kinds + n] > 0]
    own, strong, weak, frames, clips = ratios[2 * kinds :]
    by_kind = {KINDS[n]: (ratios[n], ratios[kinds + n]) for n in present}
    return MeanWeights(strong, weak, frames, clips, own, by_kind)


def _with_totals(counts: Tensor, kinds: int) -> Tensor:
    """The counts, then the frames and the clips of all kinds."""
    totals = torch.stack([counts[:kinds].sum(), counts[kinds : 2 * kinds].sum()])
    return torch.cat([counts, totals])
