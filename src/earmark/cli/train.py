"""``earmark train`` and ``earmark recipes``."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import Annotated

import typer


def train(
    recipe: Annotated[str, typer.Argument(help="Name of a shipped recipe, or a .yaml file.")],
    data: Annotated[Path, typer.Option(help="Dataset folder in DESED's layout.")],
    out: Annotated[Path, typer.Option(help="Run folder; becomes a bundle beside its journal.")],
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="A.B=C", help="Override a setting; may be repeated."),
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on where an interrupted run stopped.")
    ] = False,
    device: Annotated[str, typer.Option(help="cpu, cuda, mps, or auto.")] = "auto",
    devices: Annotated[int, typer.Option(help="Processes, one a device.")] = 1,
) -> None:
    """Train a detector on strong, weak and unlabelled clips.

    The data folder holds any of `audio/train/...` and `metadata/train/...` as DESED has them;
    classes are read from the labels. Ablations are overrides:

    - supervised only: `--set method.mixup.probability=0 --set method.mean_teacher=0`
      `--set method.pseudo_label=0 --set method.embedding.weight=0`
    - plain mean teacher: `--set method.mixup.probability=0 --set method.embedding.weight=0`
    - interpolation consistency: `--set method.mixup.tau=1`
    - perturbation only: `--set method.mixup.tau=0`
    """
    from lightning_fabric import Fabric
    from rich.console import Console

    from earmark.cli.progress import TrainingProgress
    from earmark.data.manifest import load_manifest
    from earmark.train.engine import train as run_training
    from earmark.train.recipe import load_recipe

    console = Console()
    settings = load_recipe(recipe, set_ or [])
    manifest = load_manifest(data)
    for source in manifest.train:
        console.print(f"{source.name} ({source.kind}): {len(source.clips)} clips")
    for note in manifest.notes:
        console.print(f"[yellow]note:[/] {note}")
    console.print(f"{len(manifest.labels)} classes, data fingerprint {manifest.fingerprint}")
    fabric = Fabric(accelerator=device, devices=devices, precision=settings.train.precision)
    command = shlex.join(["earmark", *sys.argv[1:]])
    with TrainingProgress(console, settings.name, settings.train.steps) as progress:
        run = run_training(
            settings,
            manifest,
            out,
            resume=resume,
            reporter=progress,
            fabric=fabric,
            command=command,
        )
    console.print(f"bundle: {out} (epoch {run.best_epoch}); last: {out}/teacher, {out}/student")


def recipes(
    name: Annotated[str | None, typer.Argument(help="Print this recipe in full.")] = None,
) -> None:
    """List the shipped recipes, or print one in full, defaults included."""
    from earmark.core.config import dump_yaml
    from earmark.train.recipe import load_recipe, recipe_names

    if name is not None:
        typer.echo(dump_yaml(load_recipe(name)), nl=False)
        return
    for known in recipe_names():
        typer.echo(f"{known}: {' '.join(load_recipe(known).description.split())}")
