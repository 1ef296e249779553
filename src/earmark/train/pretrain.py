"""Self-supervised pretraining: schedules, what a step needs, what a run leaves.

`train.loop` runs it. As in training every draw comes from (seed, number of the crop), a step's
batch is divided into P = processes · accumulate micro-batches, and its gradients are those of the
mean over all its masked tokens. Partners of the mixtures are earlier crops of the same micro-batch:
each has a bank of its own, as every reading process of the published code has.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import torch
from lightning_fabric import Fabric
from torch import Tensor

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
from earmark.method.pretraining_settings import PretrainRecipe, PretrainTrainSettings
from earmark.method.teacher import update_teacher
from earmark.model.encoders.encoder_file import Encoder, save_encoder
from earmark.train.card import encoder_card
from earmark.train.checkpoint import micro_batch_generator, open_run
from earmark.train.crop_batches import CropBatch, CropSampler, MixBank, read_crops
from earmark.train.distributed import (
    agree,
    gather,
    make_fabric,
    only_run,
    reduce_mean,
    start,
)
from earmark.train.loop import (
    LoopTask,
    MicroStep,
    Reporter,
    last_epoch,
    run_epochs,
    set_up,
)
from earmark.train.non_finite import suspects
from earmark.train.record.journal import begun_record, write_begun
from earmark.train.record.loggers import RunLogger

_log = logging.getLogger(__name__)
_CROP_DRAWS = 1_008  # beyond the micro-batches of any step: draws of a crop are no draws of one
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
    """What changes while pretraining; ``banks`` has one for each micro-batch of this process."""

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
    loggers: Sequence[RunLogger] = (),
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
        loggers: Told of every epoch's figures by the first process, beside journal and TensorBoard.

    Raises:
        ConfigError: The folder holds another run, or resuming with other settings or recordings.
        DataError: Many recordings in a row cannot be read.
    """
    out, fingerprint = Path(out), recordings.fingerprint
    fabric = fabric or make_fabric(precision=recipe.train.precision)
    start(fabric)
    with only_run(fabric, out):
        state = agree(fabric, lambda: open_run(out, recipe, fingerprint, resume, "recordings"))
        task = _prepared(recipe, recordings, out, state, reporter, fabric, command)
        stop = last_epoch(recipe.train, task.run, stop_after_epochs)
        if task.run.epoch < stop:
            task.refill_banks()
        run_epochs(task, stop, loggers)
    return task.run


def _prepared(
    recipe: PretrainRecipe,
    recordings: Survey,
    out: Path,
    state: dict[str, Any] | None,
    reporter: Reporter | None,
    fabric: Fabric,
    command: str,
) -> Pretraining:
    """Networks, optimiser and crops, new or as a state has them."""
    settings = recipe.train
    torch.manual_seed(settings.seed)
    student = PretrainStudent(recipe)
    of_all = settings.accumulate * fabric.world_size
    room = -(-recipe.perturbation.bank // of_all)
    run = PretrainRun(
        student,
        PretrainTeacher(student, settings.teacher),
        make_optimizer(student, settings),
        [MixBank(room) for _ in range(settings.accumulate)],
        dict(recordings.faults),
    )
    wrapped = set_up(fabric, run, recipe, recordings.fingerprint, state)
    if fabric.is_global_zero:
        sources = [{"name": "recordings", "kind": "unlabelled", "clips": len(recordings.paths)}]
        data = {"fingerprint": recordings.fingerprint, "sources": sources}
        write_begun(out, begun_record(fabric, settings.precision, command) | {"data": data})
    stream = CropStream(recordings, recipe.window, settings.seed)
    frontend = LogMel(recipe.encoder.frontend).to(fabric.device)
    loop = (settings, run, fabric, wrapped, out, reporter)
    return Pretraining(*loop, recipe, recordings, stream, frontend, command)


@dataclass(frozen=True)
class CropMicroBatch(MicroStep):
    """Crops of a step that this process takes at once.

    Attributes:
        batch: The crops.
        draws: What was drawn for each of them.
        masked: [B, N] tokens to hide.
        bank: Earlier crops of this micro-batch.
    """

    batch: CropBatch
    draws: list[Draw]
    masked: Tensor = field(repr=False)
    bank: MixBank = field(repr=False)


@dataclass
class Pretraining(LoopTask):
    """Student and teacher on crops of recordings."""

    settings: PretrainTrainSettings
    run: PretrainRun
    recipe: PretrainRecipe
    recordings: Survey
    stream: CropStream
    frontend: LogMel
    command: str

    def sampler(self, first: int, last: int) -> CropSampler:
        """Crops of this process in steps [first, last)."""
        fabric, settings = self.fabric, self.settings
        return CropSampler(
            settings.batch, first, last, fabric.global_rank, fabric.world_size, settings.accumulate
        )

    def refill_banks(self) -> None:
        """Read again what the banks held: earlier crops are known by number."""
        run, sampler = self.run, self.sampler(0, self.run.step)
        for index, bank in enumerate(run.banks):
            first, last = sampler.spans[index]
            steps = -(-bank.capacity // (last - first))
            earlier = range(max(0, run.step - steps), run.step)
            numbers = [sampler.numbers(step, index) for step in earlier]
            for batch in read_crops(self.stream, numbers, self.settings.workers if numbers else 0):
                mels = self.frontend(batch.waveforms.to(self.fabric.device))
                bank.push(mels, self.mel_frames(batch))

    def tokens(self, batch: CropBatch) -> Tensor:
        """[B] whole tokens of sound."""
        return (batch.samples // self.recipe.encoder.token_hop).clamp(max=self.recipe.tokens)

    def mel_frames(self, batch: CropBatch) -> list[int]:
        """Mel frames of sound of each crop."""
        return cast(list[int], (self.tokens(batch) * self.recipe.encoder.patch_frames).tolist())

    def begin_epoch(self) -> Iterator[CropBatch]:
        """Crops of the epoch."""
        sampler = self.sampler(self.run.step, self.run.step + self.settings.steps_per_epoch)
        self.student.train()
        self.run.teacher.train()
        return read_crops(self.stream, sampler, self.settings.workers)

    def set_rates(self) -> None:
        """Learning rate and weight decay."""
        set_schedules(self.run.optimizer, self.run.step, self.settings)

    def read_step(self, batches: Iterator[CropBatch]) -> list[CropMicroBatch]:
        """Micro-batches with everything drawn for every crop, weighed by their masked tokens."""
        recipe, fabric, run = self.recipe, self.fabric, self.run
        seed, read = self.settings.seed, []
        for index in range(self.settings.accumulate):
            batch = next(batches)
            run.faults |= batch.faults
            draws = [
                draw_crop(
                    tokens,
                    recipe.tokens,
                    recipe.mask,
                    recipe.perturbation.alpha,
                    micro_batch_generator(seed, number, _CROP_DRAWS),
                )
                for number, tokens in zip(batch.numbers, self.tokens(batch).tolist(), strict=True)
            ]
            place = index * fabric.world_size + fabric.global_rank
            generator = micro_batch_generator(seed, run.step, place)
            depth = int(torch.randint(2**62, (), generator=generator))
            read.append((depth, batch, draws, torch.stack([draw.masked for draw in draws])))
        counts = [float(masked.sum()) for *_, masked in read]
        mean = float(reduce_mean(fabric, torch.tensor(counts, dtype=torch.float64).mean()))
        of_all = self.settings.accumulate * fabric.world_size
        return [
            CropMicroBatch(depth, count / mean, count / mean / of_all, batch, draws, masked, bank)
            for (depth, batch, draws, masked), count, bank in zip(
                read, counts, run.banks, strict=True
            )
        ]

    def loss(self, micro_batch: CropMicroBatch) -> tuple[Tensor, dict[str, float]]:
        """The masked tokens of one view guessed from the other."""
        with torch.autocast(self.fabric.device.type, enabled=False):
            views = self.views(micro_batch)
        return pretraining_loss(self.student, self.run.teacher, views)

    @torch.no_grad()
    def views(self, micro_batch: CropMicroBatch) -> CropViews:
        """Both views of the crops; the clean ones go into the bank for later steps."""
        device, batch = self.fabric.device, micro_batch.batch
        clean = self.frontend(batch.waveforms.to(device))  # [B, F, L]
        options, frontend = self.recipe.perturbation, self.recipe.encoder.frontend
        perturbed = perturb(clean, micro_batch.draws, micro_batch.bank.at, options, frontend)
        micro_batch.bank.push(clean, self.mel_frames(batch))
        return crop_views(
            clean, perturbed, self.tokens(batch).to(device), micro_batch.masked.to(device)
        )

    def suspects(self, micro_batch: CropMicroBatch) -> tuple[str, ...]:
        """Recordings whose log-mel is not finite."""
        waveforms = micro_batch.batch.waveforms.to(self.fabric.device)
        return suspects(self.frontend, waveforms, micro_batch.batch.clips)

    def move_teacher(self) -> None:
        """The moving average of the student."""
        decay = teacher_decay(self.run.step - 1, self.settings)
        update_teacher(self.run.teacher, self.run.student, decay)

    def rates(self) -> dict[str, float]:
        """Those of the last step."""
        last, settings = self.run.step - 1, self.settings
        return {
            "lr": learning_rate(last, settings),
            "weight_decay": weight_decay(last, settings),
            "ema": teacher_decay(last, settings),
        }

    def end_epoch(self, figures: dict[str, float]) -> dict[str, Any]:
        """Keep the encoder, and say what could not be read."""
        run = self.run
        for faults in gather(self.fabric, lambda: run.faults):
            run.faults |= faults
        if self.fabric.is_global_zero:
            warn_of_collapse(figures, self.recipe.heads.out)
            write_faults(run.faults, self.out / UNREADABLE)
            self.keep_encoder(figures)
        return {"unreadable": len(run.faults)}

    def keep_encoder(self, figures: dict[str, float]) -> None:
        """Write the teacher's encoder and projector, the student's predictor, and their card."""
        recipe, recordings, run = self.recipe, self.recordings, self.run
        source = {
            "recipe": recipe.name,
            "size": recipe.size,
            "step": run.step,
            "steps": recipe.train.steps,
            "data": recordings.fingerprint,
            "command": self.command,
        }
        encoder = Encoder(
            recipe.encoder,
            run.teacher.encoder.state_dict(),
            run.teacher.projector.layers.state_dict(),
            run.student.predictor.layers.state_dict(),
            source,
        )
        card = encoder_card(recipe, recordings, run.epoch, figures, len(run.faults), self.command)
        save_encoder(self.out, encoder, card)

    def state(self) -> dict[str, Any]:
        """The checkpoint."""
        return self.run.state(self.recipe, self.recordings.fingerprint)


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
