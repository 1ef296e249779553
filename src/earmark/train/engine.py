"""Training: what a step of the method needs, validation, what a run leaves.

`train.loop` runs it.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn

from earmark.core.errors import DataError
from earmark.data.dataset import Batch, ClipDataset, ClipGroup, StepSampler, compose, step_loader
from earmark.data.issues import training_issues
from earmark.data.manifest import Manifest
from earmark.detect.postprocess import PostProcess
from earmark.method.networks import Student, Teacher, check_views
from earmark.method.settings import (
    COLLAPSED_COSINE,
    COLLAPSED_STD,
    Recipe,
    TrainSettings,
)
from earmark.method.step import StepInputs, StepResult, embedding_ramp
from earmark.method.teacher import ema_decay
from earmark.method.versions import step_of
from earmark.model.bundle import save_bundle
from earmark.model.sed import SedNetwork
from earmark.train.card import model_card
from earmark.train.checkpoint import micro_batch_generator, open_run
from earmark.train.distributed import (
    agree,
    gather,
    leave_out_unused,
    lone_clips,
    make_fabric,
    mean_figures,
    only_run,
    shared_evaluation,
    shared_notes,
    start,
)
from earmark.train.initial import Begun, Start, begin_with, read_start, teach
from earmark.train.loop import LoopTask, Reporter, last_epoch, run_epochs, set_up
from earmark.train.micro_batch import MicroBatch, read_micro_batches
from earmark.train.non_finite import non_finite, suspects
from earmark.train.optim import (
    freeze,
    gradient_ratio,
    kept_as_they_are,
    learning_rate,
    make_optimizer,
    set_learning_rate,
    train_mode,
)
from earmark.train.recipe import fit_to_data, validation_split
from earmark.train.record.journal import begun_record, data_record, write_begun
from earmark.train.record.loggers import RunLogger
from earmark.train.shared_encoder import SharedEncoder, share_encoder
from earmark.train.token_cache import TokenCache, open_token_cache

_log = logging.getLogger(__name__)


@dataclass
class Run:
    """What changes while training.

    Attributes:
        origin: What it began with.
        moving_statistics: A run of version 0.1, whose state does not name ``teacher_norm``.
    """

    student: Student
    teacher: Teacher
    optimizer: torch.optim.Optimizer
    step: int = 0
    epoch: int = 0
    best: float = -1.0
    best_epoch: int = -1
    unreadable: dict[str, str] = field(default_factory=dict)
    origin: str = ""
    encoder: SharedEncoder | None = None
    moving_statistics: bool = False

    @property
    def networks(self) -> dict[str, SedNetwork]:
        """Both networks by name."""
        return {"student": self.student.network, "teacher": self.teacher.network}

    def state(self, recipe: Recipe, fingerprint: str) -> dict[str, Any]:
        """Everything needed to go on, as tensors and plain values."""
        settings = recipe.model_dump(mode="json")
        if self.moving_statistics:
            del settings["method"]["embedding"]["teacher_norm"]
        return {
            "student": self.student.state_dict(),
            "teacher": self.teacher.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "step": self.step,
            "epoch": self.epoch,
            "best": self.best,
            "best_epoch": self.best_epoch,
            "origin": self.origin,
            "labels": list(self.student.network.spec.labels),
            "recipe": settings,
            "data": fingerprint,
        }

    def load(self, state: dict[str, Any]) -> None:
        """Go back to a saved state."""
        self.student.load_state_dict(state["student"])
        self.teacher.load_state_dict(state["teacher"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.step, self.epoch = state["step"], state["epoch"]
        self.best, self.best_epoch = state["best"], state["best_epoch"]
        self.origin = state.get("origin", "")


def train(
    recipe: Recipe,
    manifest: Manifest,
    out: str | Path,
    *,
    resume: bool = False,
    reporter: Reporter | None = None,
    fabric: Fabric | None = None,
    command: str = "",
    stop_after_epochs: int | None = None,
    strict: bool = False,
    loggers: Sequence[RunLogger] = (),
) -> Run:
    """Train a recipe on a dataset; the run folder becomes a bundle beside its journal.

    Args:
        recipe: Network, method and loop.
        manifest: The data; its labels become the network's.
        out: Run folder. ``out`` itself is the bundle of the best epoch, ``out/teacher`` and
            ``out/student`` those of the last.
        resume: Go on from the folder's checkpoint if there is one.
        reporter: Told of steps and epochs.
        fabric: Device, precision and processes; by default one process on the best device.
        command: Noted on the model card.
        stop_after_epochs: Stop early after so many epochs of this call, as if interrupted.
        strict: Whether a clip that cannot be read ends the run; otherwise the next one is taken.
        loggers: Told of every epoch's figures by the first process, beside journal and TensorBoard.

    Raises:
        ConfigError: The folder holds another run, or resuming with another recipe or data.
        BundleError: ``train.init`` is not for this network.
        DataError: With ``strict``, a clip cannot be read.
    """
    recipe, manifest, _ = fit_to_data(recipe, manifest)
    recipe.train.medians(manifest.labels)  # a class without one is better reported now than later
    fabric = fabric or make_fabric(precision=recipe.train.precision)
    start(fabric)
    with only_run(fabric, Path(out)):
        state = agree(fabric, lambda: open_run(Path(out), recipe, manifest.fingerprint, resume))
        task = _prepared(recipe, manifest, Path(out), state, reporter, fabric, command)
        task.strict = strict
        run_epochs(task, last_epoch(recipe.train, task.run, stop_after_epochs), loggers)
    return task.run


def _prepared(
    recipe: Recipe,
    manifest: Manifest,
    out: Path,
    state: dict[str, Any] | None,
    reporter: Reporter | None,
    fabric: Fabric,
    command: str,
) -> Training:
    """Networks, optimiser and clips, new or as a state has them."""
    settings = recipe.train
    moving = state is not None and "teacher_norm" not in state["recipe"]["method"]["embedding"]
    recipe = with_moving_statistics(recipe) if moving else recipe
    torch.manual_seed(settings.seed)
    network = SedNetwork(recipe.network, tuple(manifest.labels))
    check_views(network, recipe.method)
    leave_out_unused(network)
    student = Student(network, recipe.method.embedding)
    origin, taught = "", None
    if state is None:
        origin, taught = begin(fabric, student, settings)
    freeze(student, settings.frozen)
    optimizer = make_optimizer(student, settings)
    run = Run(student, Teacher(student), optimizer, origin=origin, moving_statistics=moving)
    if taught is not None:
        teach(run.teacher, *taught)
    wrapped = set_up(fabric, run, recipe, manifest.fingerprint, state)
    run.encoder = share_encoder(run.student, run.teacher)
    grid, window = network.spec.grid, network.spec.window
    if fabric.is_global_zero:
        issues = [issue.text for issue in training_issues(manifest, recipe.network.window_seconds)]
        for text in issues:
            _log.warning("%s", text)
        data = data_record(manifest) | {"notes": [*manifest.notes, *issues]}
        write_begun(out, begun_record(fabric, settings.precision, command) | {"data": data})
    dataset, groups = compose(manifest, settings.batch, grid, window, settings.cache_gib)
    lone = lone_clips(groups, settings.accumulate * fabric.world_size)
    if lone and recipe.method.mixup.probability and fabric.is_global_zero:
        _log.warning(
            "some micro-batches of a step have one %s clip, which is not mixed", ", ".join(lone)
        )
    if settings.warmup_steps > settings.steps and fabric.is_global_zero:
        _log.warning(
            "train.warmup_steps is %d and the whole run %d steps: the learning rate never reaches "
            "its peak",
            settings.warmup_steps,
            settings.steps,
        )
    if validation_split(recipe, manifest) is None and fabric.is_global_zero:
        _log.warning("the data have no split to choose an epoch on: the last one will be kept")
    tokens = open_token_cache(recipe, run.encoder, fabric)
    loop = (settings, run, fabric, wrapped, out, reporter)
    return Training(*loop, recipe, manifest, dataset, groups, tokens, command)


def with_moving_statistics(recipe: Recipe) -> Recipe:
    """The recipe as version 0.1 meant it, whose teacher's projector used moving statistics."""
    embedding = recipe.method.embedding.model_copy(update={"teacher_norm": "eval"})
    method = recipe.method.model_copy(update={"embedding": embedding})
    return recipe.model_copy(update={"method": method})


def begin(
    fabric: Fabric, student: Student, settings: TrainSettings
) -> tuple[str, tuple[Start, Begun] | None]:
    """Give a new run's student what ``train.init`` names; every process reads it for itself.

    Returns:
        What it was, for the card; and what its teacher is to be taught.
    """
    if settings.init is None:
        if student.network.encoder is not None and fabric.is_global_zero:
            _log.warning("the encoder begins with random weights: give pretrained ones with --init")
        return "", None
    folder, epoch = settings.init, settings.init_epoch
    read: list[tuple[Start, Begun]] = []

    def work() -> None:
        start = read_start(folder, epoch)
        read.append((start, begin_with(student, start, settings)))

    gather(fabric, work)  # one that fails stops them all
    start, begun = read[0]
    if fabric.is_global_zero:
        for note in begun.notes:
            _log.warning("%s", note)
    heads = ", with the embedding loss's heads" if begun.heads else ""
    return "; ".join([start.what + heads, *begun.notes]), (start, begun)


@dataclass
class Training(LoopTask):
    """Student and teacher on labelled and unlabelled clips."""

    settings: TrainSettings
    run: Run
    recipe: Recipe
    manifest: Manifest
    dataset: ClipDataset
    groups: list[ClipGroup]
    tokens: TokenCache | None
    command: str
    last: MicroBatch | None = None
    strict: bool = False
    mixing: list[dict[str, float]] = field(default_factory=list)  # of the epoch's micro-batches

    def begin_epoch(self) -> Iterator[Batch]:
        """Frozen modules stand still; a clip that cannot be read is said once."""
        settings, first = self.settings, self.run.step
        sampler = StepSampler(
            self.groups,
            settings.seed,
            first,
            first + settings.steps_per_epoch,
            self.fabric.global_rank,
            self.fabric.world_size,
            settings.accumulate,
        )
        self.student.train()
        self.mixing = []
        train_mode(self.run.student, settings.frozen)
        loader = step_loader(self.dataset, sampler, settings.workers)
        return note_unreadable(iter(loader), self.run.unreadable, self.strict)

    def set_rates(self) -> None:
        """The learning rate."""
        set_learning_rate(self.run.optimizer, self.run.step, self.settings)

    def read_step(self, batches: Iterator[Batch]) -> list[MicroBatch]:
        """Micro-batches with their mixtures drawn and their means weighed."""
        return read_micro_batches(
            self.fabric,
            batches,
            self.settings.accumulate,
            lambda index: micro_batch_generator(self.settings.seed, self.run.step, index),
            self.recipe.method,
            self.run.teacher.valid_at_tap,
        )

    def loss(self, micro_batch: MicroBatch) -> tuple[Tensor, dict[str, float]]:
        """The method's step on a micro-batch."""
        result = self._step(self.student, micro_batch)
        self.last = micro_batch
        self.mixing.append(micro_batch.mix.figures())
        return result.loss, result.figures

    def _step(self, student: nn.Module, micro_batch: MicroBatch) -> StepResult:
        method, encoder = self.recipe.method, self.run.encoder
        batch = micro_batch.batch.to(self.fabric.device)
        if encoder is not None and self.tokens is not None:
            read = partial(self.tokens.tokens_of, micro_batch.batch, self.fabric.device)
            encoder = replace(encoder, read=read)
        inputs = StepInputs(micro_batch.mix, micro_batch.weights, encoder)
        models, step = (student, self.run.teacher), self.run.step
        return step_of(method)(*models, batch, step, method, micro_batch.generator, inputs)

    def embedding_gradient(self) -> dict[str, float]:
        """‖∇ w_e·L_emb‖ / ‖∇ L_sup‖ over the network, of the last micro-batch; nothing changes."""
        trunk = [one for one in self.run.student.network.parameters() if one.requires_grad]
        if self.last is None or not self.recipe.method.embedding.weight or not trunk:
            return {}
        cache = None if self.tokens is None else (self.tokens.hits, self.tokens.misses)
        with kept_as_they_are(self.fabric.device, self.run.student, self.run.teacher):
            torch.manual_seed(self.last.seed)
            with self.fabric.autocast():
                terms = self._step(self.run.student, self.last).terms
            pair = [terms[name] for name in ("embedding", "supervised") if name in terms]
            ratio = gradient_ratio(pair[0], pair[1], trunk) if len(pair) == 2 else math.nan
        if self.tokens is not None and cache is not None:
            self.tokens.hits, self.tokens.misses = cache
        found = mean_figures(self.fabric, {"gradient_ratio": ratio})
        return {} if non_finite(found) else found  # JSON has no such number

    def validates(self, epoch: int) -> bool:
        """Whether an epoch, the first being 1, ends with a validation."""
        settings = self.settings
        return epoch == settings.epochs or epoch % settings.validate_every == 0

    def suspects(self, micro_batch: MicroBatch) -> tuple[str, ...]:
        """Clips that the student scores with numbers that are not finite, each by itself."""
        network, batch = self.run.student.network, micro_batch.batch
        network.eval()
        try:
            waveforms = batch.waveforms.to(self.fabric.device)
            return suspects(lambda clips: network(clips).strong, waveforms, batch.clips)
        finally:
            self.student.train()
            train_mode(self.run.student, self.settings.frozen)

    def move_teacher(self) -> None:
        """The moving average of the student."""
        run, method = self.run, self.recipe.method
        run.teacher.follow(run.student, ema_decay(run.step, method.ema, method.ema_horizon))

    def rates(self) -> dict[str, float]:
        """Those of the last step: the peak groups' learning rate, r_e, the teacher's decay."""
        method, last = self.recipe.method, self.run.step - 1
        found = {"lr": self.settings.lr * learning_rate(last, self.settings)}
        if method.embedding.weight:
            found["embedding_ramp"] = embedding_ramp(last, method.embedding)
        if method.needs_teacher:
            found["ema"] = ema_decay(self.run.step, method.ema, method.ema_horizon)
        return found

    def end_epoch(self, figures: dict[str, float]) -> dict[str, Any]:
        """Validate where it is time; keep the best network, and both at the end."""
        run, settings, embedding = self.run, self.settings, self.recipe.method.embedding
        # Before its ramp is over the loss has done too little to be blamed for anything.
        ramped = run.step > embedding.detach_steps + embedding.ramp_steps
        if ramped and self.fabric.is_global_zero:
            warn_of_collapse(figures)
        means = {name: sum(one[name] for one in self.mixing) for name in self.mixing[0]}
        means = {name: total / len(self.mixing) for name, total in means.items()}
        notes: dict[str, Any] = {"mixing": mean_figures(self.fabric, means)}
        if self.tokens is not None:
            notes["token_cache"] = {"hits": self.tokens.hits, "misses": self.tokens.misses}
        if skipped := shared_notes(self.fabric, run.unreadable):
            notes["unreadable"] = skipped
        if self.validates(run.epoch):
            notes |= self.embedding_gradient()
            notes["validation"] = validate(self)
            keep_bundles(self, notes["validation"])
            if run.epoch < settings.epochs and self.finished:
                notes["stopped"] = f"no better than epoch {run.best_epoch}"
        return notes

    @property
    def finished(self) -> bool:
        """Whether the last epoch is done, or patience is at its end."""
        return super().finished or out_of_patience(self.run, self.settings)

    def state(self) -> dict[str, Any]:
        """The checkpoint."""
        return self.run.state(self.recipe, self.manifest.fingerprint)


def note_unreadable(
    batches: Iterator[Batch], noted: dict[str, str], strict: bool = False
) -> Iterator[Batch]:
    """Pass batches on, saying once of every clip that could not be read that others stand in.

    Raises:
        DataError: With ``strict``, in place of that.
    """
    for batch in batches:
        for path, why in batch.unreadable.items():
            if strict:
                raise DataError(
                    f"a clip cannot be read: {why}", hint="Without --strict the next one is taken"
                )
            if path not in noted:
                noted[path] = why
                _log.warning("a clip is skipped, the next one taken instead: %s", why)
        yield batch


def warn_of_collapse(figures: dict[str, float]) -> None:
    """Say so when the embeddings of an epoch grew alike, by the bounds of `method.settings`."""
    spread, alike = figures.get("embedding_std", 1.0), figures.get("embedding_cosine", 0.0)
    if spread < COLLAPSED_STD or alike > COLLAPSED_COSINE:
        _log.warning(
            "embeddings collapse (std %.3f, mean cosine between clips %.2f): try "
            "method.embedding.teacher_norm=batch, method.embedding.center=true or a smaller "
            "method.embedding.weight",
            spread,
            alike,
        )


def validate(task: Training) -> dict[str, Any]:
    """Metrics of both networks on the split that ``validate_on`` says; empty without one."""
    evaluation = validation_split(task.recipe, task.manifest)
    if evaluation is None:
        return {}
    medians = task.recipe.train.medians(task.manifest.labels)
    postprocess = PostProcess(median_seconds=medians, hook=task.recipe.train.postprocess)
    return {
        name: shared_evaluation(task.fabric, network, evaluation, postprocess)
        for name, network in task.run.networks.items()
    }


def out_of_patience(run: Run, settings: TrainSettings) -> bool:
    """Whether the last ``patience`` validations were no better than one before them.

    It follows from the epochs alone, so that a run that goes on has nothing more to remember.
    """
    if settings.patience is None or run.best_epoch < 0:
        return False
    every = settings.validate_every
    return run.epoch // every - run.best_epoch // every >= settings.patience


def keep_bundles(task: Training, validation: dict[str, Any]) -> None:
    """Write the bundle of this epoch where it is the best so far, and both at the end.

    Every process notes which was best; the first one writes.
    """
    run, train_settings, networks = task.run, task.recipe.train, task.run.networks
    chosen = "student" if train_settings.select == "student_psds" else "teacher"
    medians = train_settings.medians(task.manifest.labels)
    postprocess: dict[str, Any] = {"median_seconds": medians, "threshold": 0.5}
    if train_settings.postprocess is not None:
        postprocess["hook"] = train_settings.postprocess.model_dump(mode="json")

    def save(folder: Path, name: str) -> None:
        if not task.fabric.is_global_zero:
            return
        metrics = validation.get(name, {})
        card = model_card(
            task.recipe, task.manifest, name, run.epoch, metrics, task.command, run.origin
        )
        save_bundle(folder, networks[name], postprocess, card)

    figure = float(run.epoch)
    if train_settings.select != "last" and validation:
        metrics = validation[chosen]
        tagging = 0.0 if train_settings.select == "teacher_psds1" else metrics["psds2"]
        figure = metrics["psds1"] + tagging
    if figure > run.best:
        run.best, run.best_epoch = figure, run.epoch
        save(task.out, chosen)
    if task.finished:
        for name in networks:
            save(task.out / name, name)
