"""One training run on several processes and nodes, through Lightning Fabric.

A step is the recipe's batch, whatever it runs on. It is divided into P = processes · accumulate
micro-batches, each mixed within itself by draws from (seed, step, micro-batch), normalised by its
own batch statistics and weighed so that the gradients are those of the step's means
(`train.micro_batch`). After them come one optimiser step and one move of the teacher. Running
statistics are the mean over micro-batches of what each makes of those before the step, so every
process holds the same weights, buffers, optimiser and teacher after every step, and k processes do
what one does with ``accumulate: k``.
"""

from __future__ import annotations

import inspect
import os
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import torch
from lightning_fabric import Fabric
from lightning_fabric.strategies.ddp import DDPStrategy
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from earmark.core.errors import ConfigError, EarmarkError
from earmark.core.locking import only_writer
from earmark.core.memory import keep_freed_memory
from earmark.core.tables.scores import ScoreTable
from earmark.data.dataset import ClipGroup, split_evenly
from earmark.data.manifest import Evaluation
from earmark.detect.evaluate import (
    evaluate_network,
    evaluate_scores,
    score_clips,
    warn_unreadable,
)
from earmark.detect.postprocess import PostProcess
from earmark.method.networks import RunningCentre
from earmark.model.sed import SedNetwork

T = TypeVar("T")


class ElsewhereError(EarmarkError):
    """What another process failed of; that one reports it."""


def make_fabric(
    accelerator: str = "auto",
    devices: int | None = None,
    nodes: int | None = None,
    precision: str = "32-true",
) -> Fabric:
    """Devices, processes and precision of a run.

    Under ``torchrun`` and ``fabric run`` the processes are there already, and what is not given is
    read from their environment; otherwise one device of one node is the default.

    Args:
        accelerator: ``cpu``, ``cuda``, ``mps`` or ``auto``.
        devices: Processes on each node, one a device.
        nodes: Machines.
        precision: Of `TrainSettings`.

    Raises:
        ConfigError: The devices are not there, or not as many as processes were started.
    """
    started = "TORCHELASTIC_RUN_ID" in os.environ
    local = int(os.environ.get("LOCAL_WORLD_SIZE", 1)) if started else 1
    world = int(os.environ.get("WORLD_SIZE", 1)) if started else 1
    devices = devices or local
    nodes = nodes or max(1, world // local)
    if started and devices * nodes != world:
        raise ConfigError(
            f"{world} processes were started for {nodes} nodes of {devices} devices",
            hint="Leave --devices and --nodes to the launcher, or make them agree",
        )
    strategy: Any = "auto"
    if devices * nodes > 1:
        # Buffers are averaged once a step by `StepBuffers`, not taken from one process.
        known = inspect.signature(DistributedDataParallel).parameters
        buffers = "forward_sync_buffers" if "forward_sync_buffers" in known else "broadcast_buffers"
        options: dict[str, Any] = {buffers: False, "gradient_as_bucket_view": True}
        strategy = DDPStrategy(**options)
    try:
        return Fabric(
            accelerator=accelerator,
            devices=devices,
            num_nodes=nodes,
            strategy=strategy,
            precision=precision,  # type: ignore[arg-type]
        )
    except (ValueError, RuntimeError) as error:
        raise ConfigError(
            f"cannot start with these devices ({str(error).partition('.')[0]})",
            hint="Use --device cpu, or fewer --devices",
        ) from None


def start(fabric: Fabric) -> None:
    """Start the processes where nothing has started them; those of CPUs keep what they free."""
    if os.environ.get("LT_CLI_USED", "0") != "1":  # `fabric run` has, and forbids it
        fabric.launch()
    if fabric.device.type == "cpu":
        keep_freed_memory()


def agree(fabric: Fabric, work: Callable[[], T]) -> T:
    """What the first process makes of ``work``, on all of them; its mistake ends all of them.

    Raises:
        EarmarkError: On the first process the error itself, on others `ElsewhereError`.
    """
    if fabric.world_size == 1:
        return work()
    outcome: tuple[T | None, str | None] = (None, None)
    error: EarmarkError | None = None
    if fabric.is_global_zero:
        try:
            outcome = work(), None
        except EarmarkError as caught:
            error, outcome = caught, (None, str(caught))
    result, fault = fabric.broadcast(outcome)
    if error is not None:
        raise error
    if fault is not None:
        raise ElsewhereError(fault)
    return result  # type: ignore[return-value]


@contextmanager
def only_run(fabric: Fabric, out: Path) -> Iterator[None]:
    """The processes of a run are the only ones that write into its folder, as of `only_writer`."""
    with ExitStack() as stack:
        agree(fabric, lambda: stack.enter_context(only_writer(out)))
        yield


def gather(fabric: Fabric, work: Callable[[], T]) -> list[T]:
    """What every process makes of ``work``, on all of them, in their order.

    Raises:
        EarmarkError: The error itself where it happened, `ElsewhereError` on the others.
    """
    if fabric.world_size == 1:
        return [work()]
    error: EarmarkError | None = None
    outcome: tuple[T | None, str | None] = (None, None)
    try:
        outcome = work(), None
    except EarmarkError as caught:
        error, outcome = caught, (None, str(caught))
    outcomes: list[Any] = [None] * fabric.world_size
    torch.distributed.all_gather_object(outcomes, outcome)
    if error is not None:
        raise error
    for _, fault in outcomes:
        if fault is not None:
            raise ElsewhereError(fault)
    return [result for result, _ in outcomes]


def refuse_different_processes(fabric: Fabric, recipe: str, data: str, modules: nn.Module) -> None:
    """Nodes that read another recipe, other data or other weights must not train together.

    Raises:
        ConfigError: They differ, on every process.
    """
    weights = 0
    for value in modules.state_dict().values() if fabric.world_size > 1 else ():
        weights = zlib.crc32(value.detach().cpu().contiguous().numpy().tobytes(), weights)
    mine = {"recipe": recipe, "data": data, "weights": f"{weights:08x}"}
    everyone = gather(fabric, lambda: mine)
    for what in mine:
        found = sorted({one[what] for one in everyone})
        if len(found) > 1:
            shown = "" if what == "recipe" else f" ({', '.join(found)})"
            raise ConfigError(
                f"the processes began with different {what}{shown}",
                hint="Give all nodes the same recipe, dataset and starting weights",
            )


def leave_out_unused(network: SedNetwork) -> None:
    """Let nothing learn that no loss reaches: processes would wait for its gradient in vain."""
    for parameter in getattr(network.encoder, "unused", ()):
        parameter.requires_grad_(False)


def lone_clips(groups: Sequence[ClipGroup], count: int) -> list[str]:
    """Kinds of label with a single clip in some micro-batch, which has no partner to mix with.

    ``real`` and ``synthetic`` are one kind.
    """
    sizes = split_evenly([group.take for group in groups], count)
    strong = ("real", "synthetic")
    kinds = ["strong" if group.name in strong else group.name for group in groups]
    return [
        kind
        for kind in dict.fromkeys(kinds)
        if any(sum(n for n, k in zip(size, kinds, strict=True) if k == kind) == 1 for size in sizes)
    ]


def shared_notes(fabric: Fabric, notes: Mapping[str, str]) -> dict[str, str]:
    """Notes of all processes, on each, sorted by name."""
    found: dict[str, str] = {}
    for own in gather(fabric, lambda: dict(notes)):
        found |= own
    return dict(sorted(found.items()))


def reduce_mean(fabric: Fabric, values: Tensor) -> Tensor:
    """The mean over processes of a tensor of the same shape on each, where it lay."""
    if fabric.world_size == 1:
        return values
    total = values.to(fabric.device, copy=True)
    torch.distributed.all_reduce(total)
    return (total / fabric.world_size).to(values.device)


def mean_figures(fabric: Fabric, figures: dict[str, float]) -> dict[str, float]:
    """The mean over processes of figures of the same names on each."""
    names = sorted(figures)
    if fabric.world_size == 1 or not names:
        return figures
    values = torch.tensor([figures[name] for name in names], dtype=torch.float64)
    means = dict(zip(names, reduce_mean(fabric, values).tolist(), strict=True))
    return {name: means[name] for name in figures}


class StepBuffers:
    """Running statistics that move once a step, however many micro-batches it has.

    Each micro-batch begins with those from before the step; after it they are the mean over them,
    weighted by clips. Means thereby are those of the whole batch; variances lack what lies between
    the micro-batches' means, as does the normalisation of each.

    Args:
        fabric: Of the run.
        modules: Where to look for batch norms and running centres.
        count: Micro-batches of a step on all processes.
    """

    def __init__(self, fabric: Fabric, modules: Iterable[nn.Module], count: int) -> None:
        self.fabric = fabric
        self._buffers: list[Tensor] = []
        self._counters: list[Tensor] = []
        self._start: list[Tensor] = []
        self._sum = torch.zeros(0)
        self._alone = count == 1
        for module in (inner for whole in modules for inner in whole.modules()):
            if isinstance(module, nn.modules.batchnorm._BatchNorm | RunningCentre):
                for value in module.buffers(recurse=False):
                    kind = self._buffers if value.is_floating_point() else self._counters
                    kind.append(value)

    def begin_step(self) -> None:
        """Remember the statistics."""
        self._start = [value.clone() for value in (*self._buffers, *self._counters)]
        if self._buffers and not self._alone:
            self._sum = torch.zeros_like(self._flat())

    def begin_micro_batch(self) -> None:
        """Go back to those from before the step; so they stay, too, if it is left out."""
        for value, before in zip((*self._buffers, *self._counters), self._start, strict=True):
            value.copy_(before)

    def end_micro_batch(self, fraction: float) -> None:
        """Add what a micro-batch with this fraction of the clips made of them."""
        if self._buffers and not self._alone:
            self._sum += fraction * self._flat()

    def end_step(self) -> None:
        """Take the mean over the micro-batches of all processes."""
        if not self._buffers or self._alone:
            return
        if self.fabric.world_size > 1:
            torch.distributed.all_reduce(self._sum)
        sizes = [value.numel() for value in self._buffers]
        for value, mean in zip(self._buffers, torch.split(self._sum, sizes), strict=True):
            value.copy_(mean.view_as(value))

    def _flat(self) -> Tensor:
        exact = torch.float32 if self.fabric.device.type == "mps" else torch.float64
        return torch.cat([value.detach().flatten().to(exact) for value in self._buffers])


def shared_scores(
    fabric: Fabric, network: nn.Module, clips: Mapping[str, Path], *, batch_size: int = 16
) -> dict[str, ScoreTable]:
    """Score tables of all clips on every process, each clip scored by one, in the clips' order."""
    mine = dict(list(clips.items())[fabric.global_rank :: fabric.world_size])
    found: dict[str, ScoreTable] = {}
    work = partial(score_clips, network, mine, batch_size=batch_size, on_unreadable=warn_unreadable)
    for tables in gather(fabric, work):
        found |= tables
    return {clip: found[clip] for clip in clips if clip in found}


def shared_evaluation(
    fabric: Fabric, network: nn.Module, evaluation: Evaluation, postprocess: PostProcess
) -> dict[str, Any]:
    """`evaluate_network` with the clips divided among the processes; the same metrics on all."""
    if fabric.world_size == 1:
        return evaluate_network(network, evaluation, postprocess)
    training = network.training
    network.eval()
    try:
        tables = shared_scores(fabric, network, evaluation.by_id)
    finally:
        network.train(training)
    return agree(fabric, lambda: evaluate_scores(tables, evaluation, postprocess))
