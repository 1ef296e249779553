"""The loop of training and of pretraining, on Lightning Fabric: epochs, steps, micro-batches.

What is trained is a `LoopTask`. Every random draw of a step comes from (seed, step), so a resumed
run takes the same steps as an uninterrupted one; a checkpoint holds weights, optimiser and
counters, and nothing else.
"""

from __future__ import annotations

import logging
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
from lightning_fabric import Fabric
from lightning_fabric.wrappers import _FabricModule
from torch import Tensor, nn

from earmark.core.config import Settings, dump_yaml
from earmark.core.errors import ConfigError
from earmark.method.settings import LoopSettings
from earmark.train.checkpoint import STATE, forget_before, save_state
from earmark.train.distributed import StepBuffers, mean_figures, refuse_different_processes
from earmark.train.non_finite import (
    MOST_IN_A_ROW,
    BadLoss,
    all_finite,
    is_finite_everywhere,
    non_finite,
    refuse_step,
    refuse_weights,
)
from earmark.train.record.journal import Journal, peak_memory
from earmark.train.record.loggers import RunLogger, TensorBoardLogger

_log = logging.getLogger(__name__)


class Reporter(Protocol):
    """Receives the progress of a run."""

    def on_step(self, step: int, steps: int, figures: dict[str, float]) -> None:
        """After each optimiser step, with the losses of its last batch."""

    def on_epoch(self, record: dict[str, Any]) -> None:
        """After each epoch, with the line written to the journal."""


class LoopRun(Protocol):
    """What changes while a run goes on."""

    student: Any
    teacher: Any
    optimizer: torch.optim.Optimizer
    step: int
    epoch: int

    def state(self, recipe: Any, fingerprint: str) -> dict[str, Any]:
        """Everything needed to go on, as tensors and plain values."""

    def load(self, state: dict[str, Any]) -> None:
        """Go back to a saved state."""


@dataclass(frozen=True)
class MicroStep:
    """A micro-batch of this process.

    Attributes:
        seed: Of dropout and stochastic depth.
        weight: Of its loss beside the mean micro-batch's.
        fraction: Of the step's running statistics.
    """

    seed: int
    weight: float
    fraction: float


@dataclass
class LoopTask(ABC):
    """What is trained, and how.

    Attributes:
        settings: Length, micro-batches, clipping.
        run: What changes.
        fabric: Device, precision and processes.
        student: The run's student as Fabric wrapped it.
        out: The run folder.
        reporter: Receives the progress.
    """

    settings: LoopSettings
    run: LoopRun
    fabric: Fabric
    student: _FabricModule
    out: Path
    reporter: Reporter | None

    @abstractmethod
    def begin_epoch(self) -> Iterator[Any]:
        """Modules in training mode; this process's batches of the epoch."""

    @abstractmethod
    def set_rates(self) -> None:
        """Learning rates and the like of the step about to be taken."""

    @abstractmethod
    def read_step(self, batches: Iterator[Any]) -> Sequence[MicroStep]:
        """This process's micro-batches of the next step."""

    @abstractmethod
    def loss(self, micro_batch: Any) -> tuple[Tensor, dict[str, float]]:
        """The loss of a micro-batch, and figures worth watching."""

    @abstractmethod
    def suspects(self, micro_batch: Any) -> tuple[str, ...]:
        """Clips of a micro-batch that a number which is not finite may come from."""

    @abstractmethod
    def move_teacher(self) -> None:
        """The teacher's average after an optimiser step, which is counted already."""

    @abstractmethod
    def rates(self) -> dict[str, float]:
        """What the journal says of rates."""

    @abstractmethod
    def end_epoch(self, figures: dict[str, float]) -> dict[str, Any]:
        """Validate, and keep what is to be kept; what the journal says of it."""

    @abstractmethod
    def state(self) -> dict[str, Any]:
        """The checkpoint."""

    @property
    def finished(self) -> bool:
        """Whether no epoch is left to do."""
        return self.run.epoch >= self.settings.epochs


def run_epochs(task: LoopTask, stop: int, loggers: Sequence[RunLogger] = ()) -> None:
    """Epochs up to ``stop``, each with its line in the journal and its checkpoint.

    Loggers, and TensorBoard where it is installed, are told of each epoch by the first process.
    """
    run, fabric = task.run, task.fabric
    journal = _open_journal(task, loggers) if fabric.is_global_zero else None
    saved = run.epoch
    try:
        while run.epoch < stop and not task.finished:
            _run_and_save(task, journal)
            saved = run.epoch
    except KeyboardInterrupt as stopped:
        what = f"epoch {saved} is saved: add --resume to go on" if saved else "nothing is saved yet"
        stopped.add_note(f"{task.out}: {what}")
        raise
    finally:
        if journal is not None:
            journal.close()
    if journal is not None and task.finished:
        forget_before(task.out)


def _open_journal(task: LoopTask, loggers: Sequence[RunLogger]) -> Journal:
    board = [TensorBoardLogger(task.out, task.run.step)] if TensorBoardLogger.is_installed() else []
    return Journal(task.out, task.run.epoch, [*board, *loggers])


def _memory(device: torch.device) -> dict[str, int]:
    """Most bytes in use so far: of this process, and on its device."""
    found = peak_memory()
    if device.type == "cuda":
        found["device"] = torch.cuda.max_memory_allocated(device)
    return found


def _run_and_save(task: LoopTask, journal: Journal | None) -> None:
    """One epoch; the first process writes its line and the checkpoint."""
    run, fabric = task.run, task.fabric
    began = time.monotonic()
    figures = mean_figures(fabric, run_epoch(task))
    run.epoch += 1
    record: dict[str, Any] = {
        "epoch": run.epoch,
        "step": run.step,
        **task.rates(),
        "losses": figures,
        "seconds": round(time.monotonic() - began, 3),
        "memory": _memory(fabric.device),
        **task.end_epoch(figures),
    }
    if journal is not None:
        journal.write(record)
        save_state(task.state(), task.out)
    fabric.barrier()
    if task.reporter is not None:
        task.reporter.on_epoch(record)


def run_epoch(task: LoopTask) -> dict[str, float]:
    """One epoch of optimiser steps; returns the mean of each figure."""
    settings, batches = task.settings, task.begin_epoch()
    sums: dict[str, float] = {}
    in_a_row = skipped = 0
    for number in range(1, settings.steps_per_epoch + 1):
        last = settings.steps_per_epoch == number == skipped + 1  # an epoch of nothing is none
        most = in_a_row if last else MOST_IN_A_ROW
        figures = optimizer_step(task, batches, in_a_row, most)
        in_a_row = 0 if figures else in_a_row + 1
        skipped += not figures
        for name, value in figures.items():
            sums[name] = sums.get(name, 0.0) + value
        if task.reporter is not None:
            task.reporter.on_step(task.run.step, settings.steps, figures)
    means = {name: total / (settings.steps_per_epoch - skipped) for name, total in sums.items()}
    return means | ({"skipped": float(skipped)} if skipped else {})


def optimizer_step(
    task: LoopTask, batches: Iterator[Any], skipped: int = 0, most: int = MOST_IN_A_ROW
) -> dict[str, float]:
    """Gradients of all micro-batches, one step of the optimiser, one move of the teacher.

    Args:
        task: What is trained.
        batches: Of the epoch.
        skipped: Steps left out just before this one.
        most: So many may be.

    Returns:
        Means of the figures; empty if the step was left out.

    Raises:
        NumberError: Its loss or gradient is not finite and it is not left out, or weights are not.
    """
    run, fabric, settings = task.run, task.fabric, task.settings
    task.set_rates()
    run.optimizer.zero_grad(set_to_none=True)
    micro_batches = task.read_step(batches)
    modules = (run.student, run.teacher)
    buffers = StepBuffers(fabric, modules, settings.accumulate * fabric.world_size)
    buffers.begin_step()
    sums: dict[str, float] = {}
    bad: list[tuple[Any, tuple[str, ...]]] = []
    for number, micro_batch in enumerate(micro_batches, start=1):
        buffers.begin_micro_batch()
        torch.manual_seed(micro_batch.seed)  # dropout has only the global generator
        waiting = number < len(micro_batches)
        with fabric.no_backward_sync(task.student, enabled=waiting), fabric.autocast():
            loss, figures = task.loss(micro_batch)
            fabric.backward(loss * micro_batch.weight / settings.accumulate)
        buffers.end_micro_batch(micro_batch.fraction)
        if terms := non_finite(figures):
            bad.append((micro_batch, terms))
        for name, value in figures.items():
            sums[name] = sums.get(name, 0.0) + value * micro_batch.weight / settings.accumulate
    buffers.end_step()
    if not is_finite_everywhere(fabric, not bad and has_finite_gradient(task)):
        buffers.begin_micro_batch()
        run.optimizer.zero_grad(set_to_none=True)
        found = [BadLoss(terms, task.suspects(micro_batch)) for micro_batch, terms in bad]
        if settings.non_finite == "stop" or skipped >= most:
            refuse_step(fabric, run.step + 1, found, skipped)
        what = "; ".join(map(str, found)) or "the gradient is not finite"
        _log.warning("step %d is left out: %s", run.step + 1, what)
        run.step += 1
        return {}
    if settings.gradient_clip is not None:
        most_norm = settings.gradient_clip  # of 16-mixed the gradient may be infinite, see below
        fabric.clip_gradients(
            task.student, run.optimizer, max_norm=most_norm, error_if_nonfinite=False
        )
    run.optimizer.step()
    run.step += 1
    refuse_weights(fabric, run.step, run.student)
    task.move_teacher()
    return sums


def has_finite_gradient(task: LoopTask) -> bool:
    """Whether the step's gradient is finite; 16-mixed has a scale that sees to it itself."""
    if task.settings.precision == "16-mixed":
        return True
    gradients = (value.grad for value in task.run.student.parameters())
    return all_finite(gradient for gradient in gradients if gradient is not None)


def set_up(
    fabric: Fabric, run: LoopRun, recipe: Settings, fingerprint: str, state: dict[str, Any] | None
) -> _FabricModule:
    """A run on its devices, where it was left; returns the student as Fabric wrapped it."""
    both = nn.ModuleList([run.student, run.teacher])
    refuse_different_processes(fabric, dump_yaml(recipe), fingerprint, both)
    run.teacher.to(fabric.device)
    wrapped: _FabricModule
    wrapped, run.optimizer = fabric.setup(run.student, run.optimizer)
    if state is not None:
        try:  # now that all is on the device: an optimiser's state goes there but once
            run.load(state)
        except (RuntimeError, ValueError, KeyError, TypeError, AttributeError) as error:
            reason = " ".join(str(error).split())[:200]
            raise ConfigError(
                f"the state does not fit its own recipe ({reason})",
                where=STATE,
                hint="It is damaged: delete it to begin this run again",
            ) from None
    return wrapped


def last_epoch(settings: LoopSettings, run: LoopRun, stop_after_epochs: int | None) -> int:
    """The epoch to stop after."""
    if stop_after_epochs is None:
        return settings.epochs
    return min(settings.epochs, run.epoch + stop_after_epochs)
