"""``earmark pretrain``: self-supervised pretraining of an encoder."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import typer

from earmark.cli.console import command_line, note
from earmark.cli.options import RunOptions, argument, option, with_options
from earmark.cli.progress import TrainingProgress


@dataclass(frozen=True, kw_only=True)
class PretrainOptions(RunOptions):
    """Options of ``earmark pretrain``."""

    recipe: str = argument(..., "atst-frame-pretrain, or a YAML file.")
    audio: list[Path] = option(..., "Folder of recordings of any rate and length; may be repeated.")
    out: Path = option(
        ..., "Write the run, which becomes an encoder, to this folder.", "--out", "-o"
    )
    size: Literal["tiny", "small", "base"] | None = option(
        None, "Size of the encoder; overrides the recipe."
    )


@with_options
def pretrain(options: PretrainOptions) -> None:
    """Pretrain ATST-Frame on recordings without labels.

    The network learns to predict masked frames of a recording from the frames around them. OUT
    becomes the encoder that `earmark train --init OUT` starts from. All files below the folders are
    used, in random crops of ten seconds; files that cannot be read are listed in
    `OUT/unreadable.tsv`, and the exit code is then 1.

    Examples:
    - `earmark pretrain atst-frame-pretrain --audio recordings --out runs/encoder`
    - shorter: `--set train.epochs=5`
    - the published size: `--size base --device cuda --devices 4 --precision bf16-mixed`
    """
    from earmark.core.audio.folders import left_out
    from earmark.data.crops import survey
    from earmark.train.distributed import ElsewhereError, agree
    from earmark.train.pretrain import UNREADABLE
    from earmark.train.pretrain import pretrain as run_pretraining
    from earmark.train.recipe import load_pretrain_recipe

    out = options.out
    settings = load_pretrain_recipe(options.recipe, options.overrides, options.size)
    loggers = options.loggers(out, settings)
    settings = options.with_precision(settings, settings.encoder)
    fabric, console = options.start(settings.train.precision)
    try:
        with console.status("reading the recordings' headers") as status:

            def count(done: int, total: int) -> None:
                if done % 100 == 0:
                    status.update(f"reading the recordings' headers: {done} of {total}")

            recordings = agree(fabric, lambda: survey(options.audio, settings.shortest, count))
        console.print(
            f"{len(recordings.paths)} recordings, {recordings.hours:.2f} h, data fingerprint "
            f"{recordings.fingerprint}"
        )
        if recordings.faults:
            path, why = next(iter(recordings.faults.items()))
            note(console, f"{len(recordings.faults)} recordings cannot be used, as {path}: {why}")
        for text in left_out(recordings.others):
            note(console, text)
        console.print(
            f"ATST-Frame {settings.size}, {settings.train.steps} steps of {settings.train.batch} "
            f"crops of {settings.window_seconds:g} s"
        )
        progress = TrainingProgress(console, settings.name, settings.train.steps, folder=out)
        with progress if fabric.is_global_zero else nullcontext() as reporter:
            run = run_pretraining(
                settings,
                recordings,
                out,
                resume=options.resume,
                reporter=reporter,
                fabric=fabric,
                command=command_line(),
                loggers=loggers,
            )
    except ElsewhereError:
        raise typer.Exit(2) from None  # the process that failed has reported why
    console.print(f"encoder: {out} (epoch {run.epoch}); report: {out}/report.html")
    if run.faults:
        if fabric.is_global_zero:
            typer.secho(
                f"earmark: {len(run.faults)} files could not be used; they are listed in "
                f"{out / UNREADABLE}",
                fg="yellow",
                err=True,
            )
        raise typer.Exit(1)
