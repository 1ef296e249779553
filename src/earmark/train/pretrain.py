"""Self-supervised pretraining on Lightning Fabric: the loop, its schedules, what a run leaves.

As in `train.engine` every draw comes from (seed, number of the crop), a step's batch is dealt into
P = processes · accumulate parts and its gradients are those of the mean over all its masked tokens
(`train.distributed`), and a resumed run takes the steps of an uninterrupted one. Partners of the
mixtures are earlier crops of the same part: each part has a bank of its own, as every reading
process of the published code has.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import torch
from lightning_fabric import Fabric
from lightning_fabric.wrappers import _FabricModule
from torch import Tensor

from earmark.core.config import dump_yaml
from earmark.core.pretraining import PretrainRecipe, PretrainTrainSettings
from earmark.data.crops import CropStream, Survey, write_faults
from earmark.features.frontend import LogMel
from earmark.method.pretraining import (
    CropViews,
    Draw,
    PretrainStudent,
    PretrainTeacher,
    crop_views,
    draw_crop,
    perturb,
    pretraining_loss,
)
from earmark.method.teacher import update_teacher
from earmark.model.encoders.encoder_file import Encoder, save_encoder
from earmark.train.card import encoder_card
from earmark.train.checkpoint import open_run, part_generator, save_state
from earmark.train.crop_batches import CropBatch, CropSampler, MixBank, read_crops
from earmark.train.distributed import (
    StepBuffers,
    agree,
    gather,
    make_fabric,
    mean_figures,
    reduce_mean,
    refuse_different_processes,
    start,
)
from earmark.train.engine import Reporter, mean_over_steps
from earmark.train.journal import Journal

_log = logging.getLogger(__name__)
_CROP_DRAWS = 1_008  # beyond the parts of any step: draws of a crop are no draws of a part
UNREADABLE = "unreadable.tsv"


def learning_rate(step: int, settings: PretrainTrainSettings) -> float:
    """Of optimiser step ``step`` (0, 1, …): linear from 0 to the peak, then a cosine."""
    if step < settings.warmup_steps:
        return settings.peak * step / settings.warmup_steps
    done = (step - settings.warmup_steps) / max(1, settings.steps - settings.warmup_steps)
    return _cosine(settings.peak, settings.lr_final, done)


def weight_decay(step: int, settings: PretrainTrainSettings) -> float:
    """Of optimiser step ``step`` on tensors of two and more dimensions."""
    return _cosine(*settings.weight_decay, step / settings.steps)


def teacher_decay(step: int, settings: PretrainTrainSettings) -> float:
    """m(s) = 1 − (1 − m₀)(1 + cos πs/S)/2 of the average after optimiser step ``step``."""
    return _cosine(settings.ema, 1.0, step / settings.steps)


def _cosine(first: float, last: float, done: float) -> float:
    return last + (first - last) * 0.5 * (1.0 + math.cos(math.pi * min(1.0, done)))


def make_optimizer(
    student: PretrainStudent, settings: PretrainTrainSettings
) -> torch.optim.Optimizer:
    """AdamW; only tensors of two and more dimensions decay, positions and mask vector too."""
    learning = [parameter for parameter in student.parameters() if parameter.requires_grad]
    groups = [
        {"params": [p for p in learning if p.dim() >= 2], "decays": True},
        {"params": [p for p in learning if p.dim() < 2], "decays": False, "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=settings.peak)


def set_schedules(
    optimizer: torch.optim.Optimizer, step: int, settings: PretrainTrainSettings
) -> None:
    """Rate and decay of the step about to be taken."""
    for group in optimizer.param_groups:
        group["lr"] = learning_rate(step, settings)
        group["weight_decay"] = weight_decay(step, settings) if group["decays"] else 0.0


@dataclass
class PretrainRun:
    """What changes while pretraining; ``banks`` has one for each turn of this process."""

    student: PretrainStudent
    teacher: PretrainTeacher
    optimizer: torch.optim.Optimizer
    banks: list[MixBank]
    faults: dict[Path, str]
    step: int = 0
    epoch: int = 0

    def state(self, recipe: PretrainRecipe, fingerprint: str) -> dict[str, Any]:
        """Everything needed to go on, but for the banks, which are read again."""
        return {
            "student": self.student.state_dict(),
            "teacher": self.teacher.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "faults": {str(path): reason for path, reason in self.faults.items()},
            "step": self.step,
            "epoch": self.epoch,
            "recipe": recipe.model_dump(mode="json"),
            "data": fingerprint,
        }

    def load(self, state: dict[str, Any]) -> None:
        """Go back to a saved state."""
        self.student.load_state_dict(state["student"])
        self.teacher.load_state_dict(state["teacher"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.faults |= {Path(name): reason for name, reason in state["faults"].items()}
        self.step, self.epoch = state["step"], state["epoch"]


@dataclass(frozen=True)
class PretrainLoop:
    """What stays the same while pretraining; ``student`` is the module as Fabric wrapped it."""

    recipe: PretrainRecipe
    recordings: Survey
    stream: CropStream
    frontend: LogMel
    out: Path
    fabric: Fabric
    student: _FabricModule
    reporter: Reporter | None
    command: str

    def sampler(self, first: int, last: int) -> CropSampler:
        """Crops of this process in steps [first, last)."""
        train, fabric = self.recipe.train, self.fabric
        return CropSampler(
            train.batch, first, last, fabric.global_rank, fabric.world_size, train.accumulate
        )


def pretrain(
    recipe: PretrainRecipe,
    recordings: Survey,
    out: str | Path,
    *,
    resume: bool = False,
    reporter: Reporter | None = None,
    fabric: Fabric | None = None,
    command: str = "",
    stop_after_epochs: int | None = None,
) -> PretrainRun:
    """Pretrain an encoder on recordings; the run folder becomes an encoder's folder.

    Args:
        recipe: Encoder, objective and loop.
        recordings: Of `earmark.data.crops.survey`.
        out: Run folder: the teacher's encoder and heads, journal, checkpoint, unreadable files.
        resume: Go on from the folder's checkpoint if there is one.
        reporter: Told of steps and epochs.
        fabric: Device, precision and processes; by default one process on the best device.
        command: Noted on the model card.
        stop_after_epochs: Stop early after so many epochs of this call, as if interrupted.

    Raises:
        ConfigError: The folder holds another run, or resuming with other settings or recordings.
        DataError: Many recordings in a row cannot be read.
    """
    settings, out = recipe.train, Path(out)
    fabric = fabric or make_fabric(precision=settings.precision)
    start(fabric)
    fingerprint = recordings.fingerprint
    state = agree(fabric, lambda: open_run(out, recipe, fingerprint, resume, "recordings"))
    torch.manual_seed(settings.seed)
    student = PretrainStudent(recipe)
    parts = settings.accumulate * fabric.world_size
    room = -(-recipe.perturbation.bank // parts)
    run = PretrainRun(
        student,
        PretrainTeacher(student, settings.teacher),
        make_optimizer(student, settings),
        [MixBank(room) for _ in range(settings.accumulate)],
        dict(recordings.faults),
    )
    both = torch.nn.ModuleList([run.student, run.teacher])
    refuse_different_processes(fabric, dump_yaml(recipe), fingerprint, both)
    run.teacher.to(fabric.device)
    wrapped, run.optimizer = fabric.setup(student, run.optimizer)
    if state is not None:
        run.load(state)
    stream = CropStream(recordings, recipe.window, settings.seed)
    frontend = LogMel(recipe.encoder.frontend).to(fabric.device)
    loop = PretrainLoop(
        recipe, recordings, stream, frontend, out, fabric, wrapped, reporter, command
    )
    stop = settings.epochs
    if stop_after_epochs is not None:
        stop = min(stop, run.epoch + stop_after_epochs)
    if run.epoch < stop:
        refill_banks(loop, run)
    run_epochs(loop, run, stop)
    return run


def refill_banks(loop: PretrainLoop, run: PretrainRun) -> None:
    """Read again what the banks held before the run's step: earlier crops are known by number."""
    sampler = loop.sampler(0, run.step)
    for turn, bank in enumerate(run.banks):
        first, last = sampler.spans[turn]
        steps = -(-bank.capacity // (last - first))
        numbers = [
            sampler.numbers(step, turn) for step in range(max(0, run.step - steps), run.step)
        ]
        for batch in read_crops(loop.stream, numbers, loop.recipe.train.workers if numbers else 0):
            mels = loop.frontend(batch.waveforms.to(loop.fabric.device))
            bank.push(mels, _mel_frames(loop, batch))


def _tokens(loop: PretrainLoop, batch: CropBatch) -> Tensor:
    """[B] whole tokens of sound."""
    return (batch.samples // loop.recipe.encoder.token_hop).clamp(max=loop.recipe.tokens)


def _mel_frames(loop: PretrainLoop, batch: CropBatch) -> list[int]:
    """Mel frames of sound of each crop."""
    return cast(list[int], (_tokens(loop, batch) * loop.recipe.encoder.patch_frames).tolist())


def run_epochs(loop: PretrainLoop, run: PretrainRun, stop: int) -> None:
    """Epochs up to ``stop``, each with its encoder, its line in the journal and its checkpoint."""
    settings, main = loop.recipe.train, loop.fabric.is_global_zero
    journal = Journal(loop.out, keep_epochs=run.epoch) if main else None
    while run.epoch < stop:
        began = time.monotonic()
        figures = mean_figures(loop.fabric, run_epoch(loop, run))
        for faults in gather(loop.fabric, lambda: run.faults):
            run.faults |= faults
        run.epoch += 1
        record: dict[str, Any] = {
            "epoch": run.epoch,
            "step": run.step,
            "lr": learning_rate(run.step - 1, settings),
            "weight_decay": weight_decay(run.step - 1, settings),
            "ema": teacher_decay(run.step - 1, settings),
            "losses": figures,
            "unreadable": len(run.faults),
            "seconds": round(time.monotonic() - began, 3),
        }
        if journal is not None:
            warn_of_collapse(figures, loop.recipe.heads.out)
            write_faults(run.faults, loop.out / UNREADABLE)
            keep_encoder(loop, run, figures)
            journal.write(record)
            save_state(run.state(loop.recipe, loop.recordings.fingerprint), loop.out)
        loop.fabric.barrier()
        if loop.reporter is not None:
            loop.reporter.on_epoch(record)
    if journal is not None:
        journal.close()


def keep_encoder(loop: PretrainLoop, run: PretrainRun, figures: dict[str, float]) -> None:
    """Write the teacher's encoder and projector, the student's predictor, and their card."""
    recipe, recordings = loop.recipe, loop.recordings
    source = {
        "recipe": recipe.name,
        "size": recipe.size,
        "step": run.step,
        "steps": recipe.train.steps,
        "data": recordings.fingerprint,
        "command": loop.command,
    }
    encoder = Encoder(
        recipe.encoder,
        run.teacher.encoder.state_dict(),
        run.teacher.projector.layers.state_dict(),
        run.student.predictor.layers.state_dict(),
        source,
    )
    card = encoder_card(recipe, recordings, run.epoch, figures, len(run.faults), loop.command)
    save_encoder(loop.out, encoder, card)


def run_epoch(loop: PretrainLoop, run: PretrainRun) -> dict[str, float]:
    """One epoch of optimiser steps; returns the mean of each figure."""
    settings = loop.recipe.train
    sampler = loop.sampler(run.step, run.step + settings.steps_per_epoch)
    batches = read_crops(loop.stream, sampler, settings.workers)
    loop.student.train()
    run.teacher.train()

    def step() -> tuple[int, dict[str, float]]:
        figures = optimizer_step(loop, run, batches)
        return run.step, figures

    return mean_over_steps(step, settings.steps_per_epoch, settings.steps, loop.reporter)


@dataclass(frozen=True)
class CropPart:
    """A part of a step that this process does.

    Attributes:
        batch: Its crops.
        draws: What was drawn for each of them.
        weight: Its masked tokens over those of the mean part.
        seed: Of stochastic depth.
    """

    batch: CropBatch
    draws: list[Draw]
    weight: float
    seed: int
    masked: Tensor = field(repr=False)


def deal_crops(
    loop: PretrainLoop, run: PretrainRun, batches: Iterator[CropBatch]
) -> list[CropPart]:
    """Read this process's parts of the next step, draw for every crop, and weigh them."""
    recipe, fabric = loop.recipe, loop.fabric
    seed, read = recipe.train.seed, []
    for turn in range(recipe.train.accumulate):
        batch = next(batches)
        run.faults |= batch.faults
        draws = [
            draw_crop(
                tokens,
                recipe.tokens,
                recipe.mask,
                recipe.perturbation.alpha,
                part_generator(seed, number, _CROP_DRAWS),
            )
            for number, tokens in zip(batch.numbers, _tokens(loop, batch).tolist(), strict=True)
        ]
        generator = part_generator(seed, run.step, turn * fabric.world_size + fabric.global_rank)
        depth = int(torch.randint(2**62, (), generator=generator))
        read.append((batch, draws, depth, torch.stack([draw.masked for draw in draws])))
    counts = torch.tensor([float(masked.sum()) for *_, masked in read], dtype=torch.float64)
    average = float(reduce_mean(fabric, counts.mean()))
    return [
        CropPart(batch, draws, float(count) / average, depth, masked)
        for (batch, draws, depth, masked), count in zip(read, counts, strict=True)
    ]


@torch.no_grad()
def make_views(loop: PretrainLoop, part: CropPart, bank: MixBank) -> CropViews:
    """Both views of a part; its clean ones go into the bank for later steps."""
    recipe, device = loop.recipe, loop.fabric.device
    clean = loop.frontend(part.batch.waveforms.to(device))  # [B, F, L]
    options, frontend = recipe.perturbation, recipe.encoder.frontend
    perturbed = perturb(clean, part.draws, bank.at, options, frontend)
    bank.push(clean, _mel_frames(loop, part.batch))
    tokens = _tokens(loop, part.batch).to(device)
    return crop_views(clean, perturbed, tokens, part.masked.to(device))


def optimizer_step(
    loop: PretrainLoop, run: PretrainRun, batches: Iterator[CropBatch]
) -> dict[str, float]:
    """Gradients of all parts of a step, one step of the optimiser, one move of the teacher."""
    settings, fabric = loop.recipe.train, loop.fabric
    set_schedules(run.optimizer, run.step, settings)
    run.optimizer.zero_grad(set_to_none=True)
    parts = deal_crops(loop, run, batches)
    buffers = StepBuffers(
        fabric, (run.student, run.teacher), settings.accumulate * fabric.world_size
    )
    buffers.begin_step()
    sums: dict[str, float] = {}
    for turn, (part, bank) in enumerate(zip(parts, run.banks, strict=True)):
        views = make_views(loop, part, bank)
        buffers.begin_micro_batch()
        torch.manual_seed(part.seed)  # stochastic depth has only the global generator
        waiting = turn < len(parts) - 1
        with fabric.no_backward_sync(loop.student, enabled=waiting), fabric.autocast():
            loss, figures = pretraining_loss(loop.student, run.teacher, views)
            fabric.backward(loss * part.weight / settings.accumulate)
        buffers.end_micro_batch(part.weight / (settings.accumulate * fabric.world_size))
        for name, value in figures.items():
            sums[name] = sums.get(name, 0.0) + value * part.weight / settings.accumulate
    buffers.end_step()
    if settings.gradient_clip is not None:
        fabric.clip_gradients(loop.student, run.optimizer, max_norm=settings.gradient_clip)
    run.optimizer.step()
    update_teacher(run.teacher, run.student, teacher_decay(run.step, settings))
    run.step += 1
    return sums


def warn_of_collapse(figures: dict[str, float], width: int) -> None:
    """Say so when the teacher's vectors grew alike (the bounds are our choice).

    Spread evenly over the sphere they have a standard deviation of 1/√d by dimension; collapsed
    ones are constant, and the loss is then zero for no good reason.
    """
    even, spread = 1.0 / math.sqrt(width), figures["teacher_std"]
    if spread < 0.25 * even:
        _log.warning(
            "the vectors collapse (std %.4f, even spread %.4f): try a smaller train.lr, a longer "
            "warm-up or a larger train.ema",
            spread,
            even,
        )
