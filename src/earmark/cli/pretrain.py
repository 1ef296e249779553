"""``earmark pretrain``: self-supervised pretraining of an encoder."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import Annotated

import typer

from earmark.cli.options import Accelerator, Devices, Nodes, Overrides, Precision, Resume


def pretrain(
    recipe: Annotated[str, typer.Argument(help="atst-frame-pretrain, or a .yaml file.")],
    audio: Annotated[
        list[Path],
        typer.Option(help="Folder of recordings, of any rate and length; may be repeated."),
    ],
    out: Annotated[Path, typer.Option(help="Run folder; becomes an encoder's folder.")],
    size: Annotated[
        str | None, typer.Option(help="tiny, small or base, instead of the recipe's.")
    ] = None,
    set_: Overrides = None,
    resume: Resume = False,
    accelerator: Accelerator = "auto",
    devices: Devices = None,
    nodes: Nodes = None,
    precision: Precision = None,
) -> None:
    """Pretrain ATST-Frame on recordings without labels.

    The network learns to guess hidden parts of a recording from what sounds around them. What it
    leaves in OUT is the encoder that `earmark train` begins with. All files below the folders are
    used, in random crops of ten seconds; those that cannot be read are listed in
    `OUT/unreadable.tsv` and the command then ends with exit code 1.

    Examples:
    - `earmark pretrain atst-frame-pretrain --audio recordings --out runs/encoder`
    - shorter: `--set train.epochs=5`
    - the published size: `--size base --accelerator cuda --devices 4 --precision bf16-mixed`
    """
    from contextlib import nullcontext

    from rich.console import Console

    from earmark.cli.progress import TrainingProgress
    from earmark.data.crops import survey
    from earmark.train.distributed import ElsewhereError, agree, make_fabric, start
    from earmark.train.pretrain import UNREADABLE
    from earmark.train.pretrain import pretrain as run_pretraining
    from earmark.train.recipe import load_pretrain_recipe

    overrides = [*(set_ or []), *([f"train.precision={precision}"] if precision else [])]
    settings = load_pretrain_recipe(recipe, overrides, size)
    fabric = make_fabric(accelerator, devices, nodes, settings.train.precision)
    start(fabric)
    console = Console(quiet=not fabric.is_global_zero)
    command = shlex.join(["earmark", *sys.argv[1:]])
    try:
        with console.status("looking at the recordings") as status:

            def look(done: int, total: int) -> None:
                if done % 100 == 0:
                    status.update(f"looking at the recordings: {done} of {total}")

            recordings = agree(fabric, lambda: survey(audio, settings.shortest, look))
        console.print(
            f"{len(recordings.paths)} recordings, {recordings.hours:.2f} h, data fingerprint "
            f"{recordings.fingerprint}"
        )
        if recordings.faults:
            console.print(f"[yellow]note:[/] {len(recordings.faults)} files cannot be used")
        console.print(
            f"ATST-Frame {settings.size}, {settings.train.steps} steps of {settings.train.batch} "
            f"crops of {settings.window_seconds:g} s"
        )
        progress = TrainingProgress(console, settings.name, settings.train.steps)
        with progress if fabric.is_global_zero else nullcontext() as reporter:
            run = run_pretraining(
                settings,
                recordings,
                out,
                resume=resume,
                reporter=reporter,
                fabric=fabric,
                command=command,
            )
    except ElsewhereError:
        raise typer.Exit(2) from None  # the process that failed has said why
    console.print(f"encoder: {out} (epoch {run.epoch})")
    if run.faults:
        if fabric.is_global_zero:
            typer.secho(
                f"earmark: {len(run.faults)} files could not be used; they are listed in "
                f"{out / UNREADABLE}",
                fg="yellow",
                err=True,
            )
        raise typer.Exit(1)
