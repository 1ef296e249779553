"""The loop, on Lightning Fabric: steps, moving average, validation, checkpoints, journal.

Every random draw of a step comes from (seed, step), so a resumed run takes the same steps as
an uninterrupted one; a checkpoint holds weights, optimiser and counters, and nothing else.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import torch
from lightning_fabric import Fabric
from lightning_fabric.wrappers import _FabricModule

from earmark.core.config import dump_yaml
from earmark.core.errors import ConfigError
from earmark.core.training import Recipe, TrainSettings
from earmark.data.dataset import Batch, ClipDataset, ClipGroup, StepSampler, compose, step_loader
from earmark.data.manifest import Manifest
from earmark.detect.postprocess import PostProcess
from earmark.method.networks import Student, Teacher, check_views
from earmark.method.step import StepInputs
from earmark.method.teacher import ema_decay
from earmark.method.versions import step_of
from earmark.model.bundle import save_bundle
from earmark.model.sed import SedNetwork
from earmark.train.card import model_card
from earmark.train.checkpoint import open_run, part_generator, save_state
from earmark.train.distributed import (
    StepBuffers,
    agree,
    gather,
    leave_out_unused,
    lone_clips,
    make_fabric,
    mean_figures,
    refuse_different_processes,
    shared_evaluation,
    shared_notes,
    start,
)
from earmark.train.initial import Begun, Start, begin_with, read_start, teach
from earmark.train.journal import Journal
from earmark.train.micro_batch import read_micro_batches
from earmark.train.optim import (
    freeze,
    learning_rate,
    make_optimizer,
    set_learning_rate,
    train_mode,
)
from earmark.train.recipe import validation_split
from earmark.train.shared_encoder import SharedEncoder, share_encoder
from earmark.train.token_cache import TokenCache, default_folder

_log = logging.getLogger(__name__)


class Reporter(Protocol):
    """Who is told how a run goes."""

    def on_step(self, step: int, steps: int, figures: dict[str, float]) -> None:
        """After each optimiser step, with the losses of its last batch."""

    def on_epoch(self, record: dict[str, Any]) -> None:
        """After each epoch, with the line written to the journal."""


@dataclass
class Run:
    """What changes while training; ``origin`` tells what it began with."""

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

    @property
    def networks(self) -> dict[str, SedNetwork]:
        """Both networks by name."""
        return {"student": self.student.network, "teacher": self.teacher.network}

    def state(self, recipe: Recipe, fingerprint: str) -> dict[str, Any]:
        """Everything needed to go on, as tensors and plain values."""
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
            "recipe": recipe.model_dump(mode="json"),
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


@dataclass(frozen=True)
class Loop:
    """What stays the same while training; ``student`` is the network as Fabric wrapped it."""

    recipe: Recipe
    manifest: Manifest
    out: Path
    fabric: Fabric
    student: _FabricModule
    dataset: ClipDataset
    groups: list[ClipGroup]
    reporter: Reporter | None
    command: str
    tokens: TokenCache | None = None


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

    Raises:
        ConfigError: The folder holds another run, or resuming with another recipe or data.
        BundleError: ``train.init`` is not for this network.
    """
    settings = recipe.train
    settings.medians(manifest.labels)  # a class without one is better told now than hours later
    fabric = fabric or make_fabric(precision=settings.precision)
    start(fabric)
    state = agree(fabric, lambda: open_run(Path(out), recipe, manifest.fingerprint, resume))
    recipe = recipe if state is None else as_begun(recipe, state["recipe"])
    torch.manual_seed(settings.seed)
    network = SedNetwork(recipe.network, tuple(manifest.labels))
    check_views(network, recipe.method)
    leave_out_unused(network)
    student = Student(network, recipe.method.embedding)
    origin, taught = "", None
    if state is None:
        origin, taught = begin(fabric, student, settings)
    freeze(student, settings.frozen)
    run = Run(student, Teacher(student), make_optimizer(student, settings), origin=origin)
    if taught is not None:
        teach(run.teacher, *taught)
    both = torch.nn.ModuleList([run.student, run.teacher])
    refuse_different_processes(fabric, dump_yaml(recipe), manifest.fingerprint, both)
    run.teacher.to(fabric.device)
    wrapped, run.optimizer = fabric.setup(student, run.optimizer)
    if state is not None:
        run.load(state)  # now that all is on the device: an optimiser's state goes there but once
    run.encoder = share_encoder(run.student, run.teacher)
    grid, window = network.spec.grid, network.spec.window
    dataset, groups = compose(manifest, settings.batch, grid, window, settings.cache_gib)
    lone = lone_clips(groups, settings.accumulate * fabric.world_size)
    if lone and recipe.method.mixup.probability and fabric.is_global_zero:
        _log.warning("some parts of a step have one %s clip, which is not mixed", ", ".join(lone))
    if validation_split(recipe, manifest) is None and fabric.is_global_zero:
        _log.warning("the data have no split to choose an epoch on: the last one will be kept")
    tokens = open_token_cache(recipe, run.encoder, fabric)
    loop = Loop(
        recipe, manifest, Path(out), fabric, wrapped, dataset, groups, reporter, command, tokens
    )
    stop = settings.epochs
    if stop_after_epochs is not None:
        stop = min(stop, run.epoch + stop_after_epochs)
    run_epochs(loop, run, stop)
    return run


def as_begun(recipe: Recipe, stored: dict[str, Any]) -> Recipe:
    """The recipe of a run that goes on, meaning what it meant when the run began.

    Version 0.1 had no ``teacher_norm``; its teacher's projector used moving statistics.
    """
    if "teacher_norm" in stored["method"]["embedding"]:
        return recipe
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


def open_token_cache(
    recipe: Recipe, encoder: SharedEncoder | None, fabric: Fabric
) -> TokenCache | None:
    """The cache of tokens that ``train.token_cache`` asks for.

    Raises:
        ConfigError: There is nothing to keep: the encoder learns, or never hears a clip as it is.
    """
    settings, method = recipe.train, recipe.method
    if settings.token_cache is None:
        return None
    hint = "Set train.token_cache to null"
    if encoder is None:
        raise ConfigError(
            "train.token_cache needs a frozen encoder, the same in student and teacher",
            hint=f"Add encoder. to train.frozen. {hint}, otherwise",
        )
    v1 = method.v1
    sees_mixtures = v1 is not None and v1.teacher_sees == "mixture" and v1.mix_encoder
    if method.warp_probability or (sees_mixtures and method.mixup.probability == 1.0):
        raise ConfigError(
            "train.token_cache has nothing to keep: the encoder hears no clip as it is", hint=hint
        )
    folder = default_folder() if settings.token_cache == "auto" else Path(settings.token_cache)
    limit = int(settings.token_cache_gib * 2**30)
    arithmetic = f"{fabric.device.type} {settings.precision}"
    return TokenCache(folder, encoder.network, limit, arithmetic, fabric.world_size)


def run_epochs(loop: Loop, run: Run, stop: int) -> None:
    """Epochs up to ``stop``, each with its checkpoint, its line in the journal, its validation."""
    settings, main = loop.recipe.train, loop.fabric.is_global_zero
    journal = Journal(loop.out, keep_epochs=run.epoch) if main else None
    while run.epoch < stop:
        began = time.monotonic()
        losses = mean_figures(loop.fabric, run_epoch(loop, run))
        embedding = loop.recipe.method.embedding
        # Before its ramp is over the loss has done too little to be blamed for anything.
        if main and run.step > embedding.detach_steps + embedding.ramp_steps:
            warn_of_collapse(losses)
        skipped = shared_notes(loop.fabric, run.unreadable)
        run.epoch += 1
        record: dict[str, Any] = {
            "epoch": run.epoch,
            "step": run.step,
            "lr": learning_rate(run.step, settings),
            "losses": losses,
            "seconds": round(time.monotonic() - began, 3),
        }
        if loop.tokens is not None:
            record["token_cache"] = {"hits": loop.tokens.hits, "misses": loop.tokens.misses}
        if skipped:
            record["unreadable"] = skipped
        if run.epoch == settings.epochs or run.epoch % settings.validate_every == 0:
            record["validation"] = validate(loop, run)
            keep_bundles(loop, run, record["validation"])
        if journal is not None:
            journal.write(record)
            save_state(run.state(loop.recipe, loop.manifest.fingerprint), loop.out)
        loop.fabric.barrier()
        if loop.reporter is not None:
            loop.reporter.on_epoch(record)
    if journal is not None:
        journal.close()


def run_epoch(loop: Loop, run: Run) -> dict[str, float]:
    """One epoch of optimiser steps; returns the mean of each figure."""
    settings, fabric = loop.recipe.train, loop.fabric
    sampler = StepSampler(
        loop.groups,
        settings.seed,
        run.step,
        run.step + settings.steps_per_epoch,
        fabric.global_rank,
        fabric.world_size,
        settings.accumulate,
    )
    loader = step_loader(loop.dataset, sampler, settings.workers)
    batches = note_unreadable(iter(loader), run.unreadable)
    loop.student.train()
    train_mode(run.student, settings.frozen)

    def step() -> tuple[int, dict[str, float]]:
        figures = optimizer_step(loop, run, batches)
        return run.step, figures

    return mean_over_steps(step, settings.steps_per_epoch, settings.steps, loop.reporter)


def mean_over_steps(
    step: Callable[[], tuple[int, dict[str, float]]],
    count: int,
    of: int,
    reporter: Reporter | None,
) -> dict[str, float]:
    """Take ``count`` steps of a run of ``of``, each told of, and return the mean of each figure.

    ``step`` takes one and returns how many have been taken in all, and its figures.
    """
    sums: dict[str, float] = {}
    for _ in range(count):
        taken, figures = step()
        for name, value in figures.items():
            sums[name] = sums.get(name, 0.0) + value
        if reporter is not None:
            reporter.on_step(taken, of, figures)
    return {name: total / count for name, total in sums.items()}


def note_unreadable(batches: Iterator[Batch], noted: dict[str, str]) -> Iterator[Batch]:
    """Pass batches on, saying once of every clip that could not be read that others stand in."""
    for batch in batches:
        for path, why in batch.unreadable.items():
            if path not in noted:
                noted[path] = why
                _log.warning("a clip is skipped, the next one taken instead: %s", why)
        yield batch


def optimizer_step(loop: Loop, run: Run, batches: Iterator[Batch]) -> dict[str, float]:
    """Gradients of all parts of a step, one step of the optimiser, one move of the teacher."""
    settings, method, fabric = loop.recipe.train, loop.recipe.method, loop.fabric
    set_learning_rate(run.optimizer, run.step, settings)
    run.optimizer.zero_grad(set_to_none=True)
    parts = read_micro_batches(
        fabric,
        batches,
        settings.accumulate,
        lambda part: part_generator(settings.seed, run.step, part),
        method,
        run.teacher.valid_at_tap,
    )
    total = settings.accumulate * fabric.world_size
    buffers = StepBuffers(fabric, (run.student, run.teacher), total)
    buffers.begin_step()
    figures: dict[str, float] = {}
    for turn, part in enumerate(parts):
        buffers.begin_micro_batch()
        torch.manual_seed(part.seed)  # dropout has only the global generator
        batch, waiting = part.batch.to(fabric.device), turn < len(parts) - 1
        with fabric.no_backward_sync(loop.student, enabled=waiting), fabric.autocast():
            encoder = run.encoder
            if encoder is not None and loop.tokens is not None:
                read = partial(loop.tokens.tokens_of, part.batch, fabric.device)
                encoder = replace(encoder, read=read)
            inputs = StepInputs(part.mix, part.weights, encoder)
            models = (loop.student, run.teacher)
            result = step_of(method)(*models, batch, run.step, method, part.generator, inputs)
            fabric.backward(result.loss / settings.accumulate)
        buffers.end_micro_batch(part.fraction)
        for name, value in result.figures.items():
            figures[name] = figures.get(name, 0.0) + value / settings.accumulate
    buffers.end_step()
    if settings.gradient_clip is not None:
        fabric.clip_gradients(loop.student, run.optimizer, max_norm=settings.gradient_clip)
    run.optimizer.step()
    run.step += 1
    run.teacher.follow(run.student, ema_decay(run.step, method.ema, method.ema_horizon))
    return figures


def warn_of_collapse(figures: dict[str, float]) -> None:
    """Say so when the embeddings of an epoch grew alike (bounds are our choice).

    The heads' output is at rest near a mean standard deviation of 1/√d; a collapsed one is
    constant, and the loss is then zero for no good reason.
    """
    spread, alike = figures.get("embedding_std", 1.0), figures.get("embedding_cosine", 0.0)
    if spread < 0.02 or alike > 0.7:
        _log.warning(
            "embeddings collapse (std %.3f, mean cosine between clips %.2f): try "
            "method.embedding.teacher_norm=batch, method.embedding.center=true or a smaller "
            "method.embedding.weight",
            spread,
            alike,
        )


def validate(loop: Loop, run: Run) -> dict[str, Any]:
    """Metrics of both networks on the split that ``validate_on`` says; empty without one."""
    evaluation = validation_split(loop.recipe, loop.manifest)
    if evaluation is None:
        return {}
    medians = loop.recipe.train.medians(loop.manifest.labels)
    postprocess = PostProcess(median_seconds=medians)
    return {
        name: shared_evaluation(loop.fabric, network, evaluation, postprocess)
        for name, network in run.networks.items()
    }


def keep_bundles(loop: Loop, run: Run, validation: dict[str, Any]) -> None:
    """Write the bundle of this epoch where it is the best so far, and both at the end.

    Every process notes which was best; the first one writes.
    """
    train_settings, networks = loop.recipe.train, run.networks
    chosen = "student" if train_settings.select == "student_psds" else "teacher"
    medians = train_settings.medians(loop.manifest.labels)
    postprocess = {"median_seconds": medians, "threshold": 0.5}

    def save(folder: Path, name: str) -> None:
        if not loop.fabric.is_global_zero:
            return
        metrics = validation.get(name, {})
        card = model_card(
            loop.recipe, loop.manifest, name, run.epoch, metrics, loop.command, run.origin
        )
        save_bundle(folder, networks[name], postprocess, card)

    figure = float(run.epoch)
    if train_settings.select != "last" and validation:
        metrics = validation[chosen]
        tagging = 0.0 if train_settings.select == "teacher_psds1" else metrics["psds2"]
        figure = metrics["psds1"] + tagging
    if figure > run.best:
        run.best, run.best_epoch = figure, run.epoch
        save(loop.out, chosen)
    if run.epoch == train_settings.epochs:
        for name in networks:
            save(loop.out / name, name)


def run_record(out: str | Path) -> list[dict[str, Any]]:
    """The journal of a run, one record an epoch."""
    lines = (Path(out) / "journal.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines]
