"""``earmark train`` and ``earmark recipes``."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import Annotated

import typer

from earmark.cli.options import Accelerator, Data, Devices, Nodes, Overrides, Precision, Resume


def train(
    recipe: Annotated[str, typer.Argument(help="Name of a shipped recipe, or a .yaml file.")],
    data: Data,
    out: Annotated[Path, typer.Option(help="Run folder; becomes a bundle beside its journal.")],
    set_: Overrides = None,
    init: Annotated[
        Path | None,
        typer.Option(
            help="Folder to begin with: an encoder (earmark pretrain, earmark import), an earlier "
            "run or a bundle; the same as --set train.init=FOLDER."
        ),
    ] = None,
    resume: Resume = False,
    strict: Annotated[
        bool, typer.Option("--strict", help="Refuse data with anything missing or damaged.")
    ] = False,
    accelerator: Accelerator = "auto",
    devices: Devices = None,
    nodes: Nodes = None,
    precision: Precision = None,
) -> None:
    """Train a detector on strong, weak and unlabelled clips.

    The data folder holds any of `audio/train/...` and `metadata/train/...` as DESED has them, or
    `--data` is a YAML file that names folders and label tables (docs/datasets.md); classes are
    read from the labels. What is missing or damaged is named and left out. Ablations are overrides:

    - supervised only: `--set method.mixup.probability=0 --set method.mean_teacher=0`
      `--set method.pseudo_label=0 --set method.embedding.weight=0`
    - plain mean teacher: `--set method.mixup.probability=0 --set method.embedding.weight=0`
    - interpolation consistency: `--set method.mixup.tau=1`
    - perturbation only: `--set method.mixup.tau=0`

    ATST-SED learns in two stages, the second from where the first ended:
    `earmark train atst-sed-v2-stage1 --init ENCODER --out ONE …`, then
    `earmark train atst-sed-v2-stage2 --init ONE --out TWO …`.
    """
    import json
    from contextlib import nullcontext

    from rich.console import Console

    from earmark.cli.progress import TrainingProgress
    from earmark.data.manifest import load_manifest, refuse_damage
    from earmark.train.distributed import ElsewhereError, make_fabric, start
    from earmark.train.engine import train as run_training
    from earmark.train.recipe import load_recipe

    overrides = [*(set_ or []), *([f"train.precision={precision}"] if precision else [])]
    if init is not None:
        overrides.append(f"train.init={json.dumps(str(init))}")
    settings = load_recipe(recipe, overrides)
    manifest = load_manifest(data, settings.data)
    if strict:
        refuse_damage(manifest)
    fabric = make_fabric(accelerator, devices, nodes, settings.train.precision)
    start(fabric)
    console = Console(quiet=not fabric.is_global_zero)
    for source in manifest.train:
        console.print(f"{source.name} ({source.kind}): {len(source.clips)} clips")
    for note in manifest.notes:
        console.print(f"[yellow]note:[/] {note}")
    console.print(f"{len(manifest.labels)} classes, data fingerprint {manifest.fingerprint}")
    if fabric.world_size > 1:
        console.print(f"{fabric.world_size} processes share every step's batch")
    if settings.train.token_cache is not None:
        from earmark.train.token_cache import token_bytes

        clips = sum(len(source.clips) for source in manifest.train)
        needed = clips * token_bytes(settings.network) / 2**30
        limit = settings.train.token_cache_gib
        console.print(
            f"token cache: {settings.train.token_cache}, at most {limit:g} GiB; "
            f"all {clips} clips need {needed:.1f}"
        )
    command = shlex.join(["earmark", *sys.argv[1:]])
    progress = TrainingProgress(console, settings.name, settings.train.steps)
    with progress if fabric.is_global_zero else nullcontext() as reporter:
        try:
            run = run_training(
                settings,
                manifest,
                out,
                resume=resume,
                reporter=reporter,
                fabric=fabric,
                command=command,
            )
        except ElsewhereError:
            raise typer.Exit(2) from None  # the process that failed has said why
    console.print(f"bundle: {out} (epoch {run.best_epoch}); last: {out}/teacher, {out}/student")


def recipes(
    name: Annotated[str | None, typer.Argument(help="Print this recipe in full.")] = None,
) -> None:
    """List the shipped recipes, or print one in full, defaults included."""
    from earmark.core.config import dump_yaml
    from earmark.train.recipe import (
        load_pretrain_recipe,
        load_recipe,
        pretrain_recipe_names,
        recipe_names,
    )

    if name is not None:
        known = load_pretrain_recipe if name in pretrain_recipe_names() else load_recipe
        typer.echo(dump_yaml(known(name)), nl=False)
        return
    told = {shipped: load_recipe(shipped).description for shipped in recipe_names()}
    for shipped in pretrain_recipe_names():
        told[shipped] = load_pretrain_recipe(shipped).description
    for shipped, description in told.items():
        typer.echo(f"{shipped}: {' '.join(description.split())}")
