"""What each of two processes does for test_distributed.py: train, score, fail; to a file."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import torch
from lightning_fabric import Fabric

from earmark.core.config import NetworkSettings
from earmark.core.errors import ConfigError, EarmarkError
from earmark.data.crops import survey
from earmark.data.manifest import Manifest, load_manifest
from earmark.method.losses import strong_bce, weak_bce
from earmark.method.networks import Student
from earmark.method.pretraining_settings import PretrainRecipe
from earmark.method.settings import Recipe
from earmark.model.sed import SedNetwork
from earmark.train.distributed import (
    StepBuffers,
    gather,
    leave_out_unused,
    make_fabric,
    refuse_different_processes,
    shared_scores,
)
from earmark.train.engine import Run, begin, train
from earmark.train.pretrain import PretrainRun, pretrain
from earmark.train.recipe import load_pretrain_recipe, load_recipe


def small_recipe(*overrides: str) -> Recipe:
    """Everything that could go wrong: dropout, batch norms, odd numbers of clips, a centre."""
    return load_recipe(
        "mini",
        [
            "network.channels=[4,8,8,8,8]",
            "network.rnn_hidden=8",
            "network.dropout=0.3",
            "method.mixup.probability=1.0",
            "method.embedding={weight: 0.3, hidden: 16, out: 8, detach_steps: 1, center: true}",
            "method.ramp_steps=2",
            "train.epochs=2",
            "train.steps_per_epoch=2",
            "train.batch={real: 0, synthetic: 5, weak: 3, unlabelled: 3}",
            "train.validate_every=2",
            *overrides,
        ],
    )


def small_pretraining(*overrides: str) -> PretrainRecipe:
    """Stochastic depth, an uneven number of crops and a bank that overflows."""
    return load_pretrain_recipe(
        "atst-frame-pretrain",
        [
            "window_seconds=1.2",
            *(f"encoder.{name}" for name in ("width=12", "depth=2", "heads=3", "drop_path=0.3")),
            "heads={hidden: 32, out: 8}",
            "perturbation.bank=4",
            "train.batch=6",
            "train.epochs=2",
            "train.steps_per_epoch=2",
            "train.warmup_steps=1",
            "train.ema=0.5",
            *overrides,
        ],
    )


def pretrained(run: PretrainRun) -> dict[str, Any]:
    """What a pretraining run has made."""
    state = run.state(small_pretraining(), "")
    return {name: state[name] for name in ("student", "teacher", "optimizer", "step")}


def frozen_recipe(tokens: Path, *overrides: str) -> Recipe:
    """A first stage: a frozen encoder of both networks, whose tokens go to the disk."""
    return load_recipe(
        "atst-sed-tiny-stage1",
        [
            "network.window_seconds=2.0",
            "network.channels=[4,8,8,8,8]",
            "network.rnn_hidden=8",
            "network.encoder={width: 12, depth: 2, heads: 2, merge: 8}",
            "method.embedding.hidden=16",
            "method.embedding.out=8",
            "train.batch={real: 0, synthetic: 4, weak: 4, unlabelled: 4}",
            "train.epochs=1",
            "train.steps_per_epoch=3",
            f"train.token_cache={tokens}",
            *overrides,
        ],
    )


def of_kinds(manifest: Manifest, *kinds: str) -> Manifest:
    """A dataset with only some kinds of label, and nothing to validate on."""
    sources = tuple(source for source in manifest.train if source.kind in kinds)
    return Manifest(manifest.root, manifest.labels, sources, {})


def learned(run: Run) -> dict[str, Any]:
    """What a run has made."""
    state = run.state(small_recipe(), "")
    return {name: state[name] for name in ("student", "teacher", "optimizer", "step", "best")}


def fault(work: Any) -> tuple[str, str]:
    """The kind and text of the mistake it makes."""
    try:
        work()
    except EarmarkError as error:
        return type(error).__name__, str(error)
    return "", ""


def encoder_steps(fabric: Fabric, parts: int) -> dict[str, torch.Tensor]:
    """Two steps of a tiny ATST-SED on strong labels alone, blocks recomputed, in parts of 2 clips.

    The weak head has no clip to learn from, and ``mask_embed`` nothing to hide.
    """
    torch.manual_seed(2)
    tiny = {"width": 12, "depth": 2, "heads": 3, "merge": 8, "checkpointing": True}
    small = {"channels": [4, 4, 8, 8, 8, 8, 8], "conv_dropout": 0.0, "rnn_hidden": 8}
    network = SedNetwork(NetworkSettings.model_validate(small | {"encoder": tiny}), ("a", "b"))
    leave_out_unused(network)
    learning = [p for p in network.parameters() if p.requires_grad]
    wrapped, optimizer = fabric.setup(network, torch.optim.Adam(learning, lr=1e-3))
    buffers = StepBuffers(fabric, [network], 2)
    for step in range(2):
        optimizer.zero_grad()
        buffers.begin_step()
        for turn in range(parts):
            torch.manual_seed(10 * step + turn * fabric.world_size + fabric.global_rank)
            waveforms, valid = 0.1 * torch.randn(2, 160_000), torch.ones(2, 156, dtype=torch.bool)
            targets = (torch.rand(2, 156, 2) > 0.5).float()
            valid[0, 90:] = False
            buffers.begin_micro_batch()
            with fabric.no_backward_sync(wrapped, enabled=turn < parts - 1):
                output = wrapped(waveforms, valid)
                loss = strong_bce(output.strong, targets, valid)
                loss = loss + weak_bce(output.weak[:0], targets[:0, 0])
                fabric.backward(loss / parts)
            buffers.end_micro_batch(0.5)
        buffers.end_step()
        optimizer.step()
    return network.state_dict()


def main(data: Path, out: Path) -> None:
    """Run every scenario and save what this process saw of it."""
    fabric = make_fabric("cpu")
    fabric.launch()
    manifest, rank = load_manifest(data), fabric.global_rank
    everything, strong = small_recipe(), of_kinds(manifest, "strong")
    seen: dict[str, Any] = {"rank": rank, "world": fabric.world_size}

    def run(recipe: Recipe, name: str, of: Manifest = manifest, **options: Any) -> Run:
        return train(recipe, of, out / name, fabric=_again(fabric), **options)

    run(everything, "whole", stop_after_epochs=1)
    seen["whole"] = learned(run(everything, "whole", resume=True))
    seen["strong"] = learned(run(small_recipe("train.epochs=1"), "strong", strong))
    second = small_recipe("train.epochs=1", f"train.init={out / 'whole'}")
    seen["second"] = learned(run(second, "second", strong))
    other = small_recipe(f"train.init={out / ('whole' if rank == 0 else 'nothing')}").train
    torch.manual_seed(5)
    begun = SedNetwork(everything.network, tuple(manifest.labels))
    student = Student(begun, everything.method.embedding)
    seen["other start"] = fault(lambda: begin(fabric, student, other))
    first = of_kinds(manifest, "strong", "weak", "unlabelled")
    seen["frozen"] = learned(run(frozen_recipe(out / "tokens"), "frozen", first))
    seen["encoder"] = encoder_steps(_again(fabric), 1)
    recordings = survey([data], small_pretraining().shortest)
    folder, recipe = out / "pretrained", small_pretraining("train.batch=5")
    pretrain(recipe, recordings, folder, fabric=_again(fabric), stop_after_epochs=1)
    again = pretrain(recipe, recordings, folder, fabric=_again(fabric), resume=True)
    seen["pretrained"] = pretrained(again)
    seen["taken"] = fault(lambda: run(everything, "whole"))
    torch.manual_seed(5)
    network = SedNetwork(everything.network, tuple(manifest.labels)).eval()
    clips = manifest.splits["validation"].by_id
    seen["scores"] = {
        name: torch.tensor(table.values)
        for name, table in shared_scores(fabric, network, clips).items()
    }
    # The third is the first process's.
    missing = {**dict([*clips.items()][:2]), "no-such-clip.wav": data / "no-such-clip.wav"}
    seen["unreadable"] = list(shared_scores(fabric, network, missing))
    seen["own"] = fault(lambda: gather(fabric, lambda: _only_the_second(rank)))
    seen["other data"] = fault(
        lambda: refuse_different_processes(fabric, "recipe", f"data {rank}", network)
    )
    network.crnn.heads.strong.bias.data += rank
    seen["other weights"] = fault(
        lambda: refuse_different_processes(fabric, "recipe", "data", network)
    )
    torch.save(seen, out / f"rank{rank}.pt")


def _only_the_second(rank: int) -> int:
    if rank == 0:
        raise ConfigError("the first process has no luck")
    return rank


def _again(fabric: Fabric) -> Fabric:
    """Another Fabric on the same processes, for it sets up each module but once."""
    another = make_fabric("cpu", precision="32-true")
    another.launch()
    return another


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
