"""``earmark train`` and ``earmark recipes``."""

from __future__ import annotations

import json
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from earmark.cli.console import command_line, note
from earmark.cli.options import Data, RunOptions, argument, option, with_options
from earmark.cli.progress import TrainingProgress

if TYPE_CHECKING:
    from earmark.data.manifest import Manifest


@dataclass(frozen=True, kw_only=True)
class TrainOptions(RunOptions):
    """Options of ``earmark train``."""

    recipe: str = argument(..., "Name of a shipped recipe, or a YAML file.")
    data: Data
    out: Path = option(..., "Write the run, which becomes a bundle, to this folder.", "--out", "-o")
    init: Path | None = option(
        None,
        "Start from this folder: an encoder (of earmark pretrain or import), an earlier run or a "
        "bundle; the same as --set train.init=FOLDER.",
    )
    strict: bool = option(
        False,
        "Refuse data with anything missing, damaged or unreadable, or with labels that do not fit "
        "their sound.",
        "--strict",
    )

    @property
    def overrides(self) -> list[str]:
        """Of the recipe, options that stand for settings among them.

        A size of the batch stands for one of each kind of labels.

        Raises:
            ConfigError: If a setting is given by its option and by --set, or cannot be had.
        """
        from earmark.train.recipe import load_recipe

        overrides = super().overrides
        if self.batch_size is None:
            return overrides
        others = [text for text in overrides if not text.startswith("train.batch=")]
        batch = load_recipe(self.recipe, others).train.batch.of_size(self.batch_size)
        return [*others, f"train.batch={json.dumps(batch.model_dump())}"]

    def _settings(self) -> list[tuple[str, str, Any]]:
        init = None if self.init is None else json.dumps(str(self.init))
        return [*super()._settings(), ("--init", "train.init", init)]


@with_options
def train(options: TrainOptions) -> None:
    """Train a detector on strong, weak and unlabelled clips.

    The data folder has any of DESED's `audio/train/...` and `metadata/train/...`, or `--data` is a
    YAML file that names folders and label tables (docs/datasets.md); the classes are those of the
    labels. Missing and damaged files are reported and left out, and so are weak clips longer than
    the window; labels that do not fit their sound are reported. `OUT/report.html` shows how it
    goes, in any browser, made anew after every epoch.

        earmark train own --data data/own --out runs/own

        earmark train own --data data/own --out runs/long --epochs 40 --lr 5e-4 --seed 1

    `earmark recipes NAME` prints all settings of a recipe; --set changes any of them. Ablations:

    - supervised only: `--set method.mixup.probability=0 --set method.mean_teacher=0`
      `--set method.pseudo_label=0 --set method.embedding.weight=0`
    - plain mean teacher: `--set method.mixup.probability=0 --set method.embedding.weight=0`
    - interpolation consistency: `--set method.mixup.tau=1`
    - perturbation only: `--set method.mixup.tau=0`

    ATST-SED is trained in two stages, the second starting from the first:
    `earmark train atst-sed-v2-stage1 --init ENCODER --out ONE …`, then
    `earmark train atst-sed-v2-stage2 --init ONE --out TWO …`.
    """
    from earmark.data.issues import training_issues
    from earmark.data.manifest import load_manifest, refuse_damage
    from earmark.score.issues import refuse_issues
    from earmark.train.distributed import ElsewhereError
    from earmark.train.engine import train as run_training
    from earmark.train.recipe import check_meant, fit_to_data, load_recipe

    settings = load_recipe(options.recipe, options.overrides)
    if not options.resume:  # a run that is there began as it did
        check_meant(settings)
    manifest = load_manifest(options.data, settings.data)
    if options.strict:
        refuse_damage(manifest)
        refuse_issues(training_issues(manifest, settings.network.window_seconds), options.data)
    settings, manifest, followed = fit_to_data(settings, manifest)
    loggers = options.loggers(options.out, settings)
    settings = options.with_precision(settings, settings.network.encoder)
    fabric, console = options.start(settings.train.precision)
    _print_data(console, manifest)
    for text in followed:
        console.print(f"from the data: {text}", soft_wrap=True)
    if fabric.world_size > 1:
        console.print(f"each step's batch is divided among {fabric.world_size} processes")
    if settings.train.token_cache is not None:
        from earmark.train.token_cache import token_bytes

        clips = sum(len(source.clips) for source in manifest.train)
        needed = clips * token_bytes(settings.network) / 2**30
        limit = settings.train.token_cache_gib
        console.print(
            f"token cache: {settings.train.token_cache}, at most {limit:g} GiB; "
            f"all {clips} clips need {needed:.1f}"
        )
    progress = TrainingProgress(console, settings.name, settings.train.steps, folder=options.out)
    with progress if fabric.is_global_zero else nullcontext() as reporter:
        try:
            run = run_training(
                settings,
                manifest,
                options.out,
                resume=options.resume,
                reporter=reporter,
                fabric=fabric,
                command=command_line(),
                strict=options.strict,
                loggers=loggers,
            )
        except ElsewhereError:
            raise typer.Exit(2) from None  # the process that failed has reported why
    out = options.out
    if run.epoch < settings.train.epochs:
        console.print(
            f"ended after epoch {run.epoch} of {settings.train.epochs}: "
            f"{settings.train.patience} validations no better than epoch {run.best_epoch}"
        )
    console.print(f"bundle: {out} (epoch {run.best_epoch}); last: {out}/teacher, {out}/student")
    console.print(f"report: {out}/report.html")


def _print_data(console: Console, manifest: Manifest) -> None:
    from earmark.data.recordings import few_recordings, recordings_by_class

    for source in manifest.train:
        kind: str = "negatives" if source.negatives else source.kind
        if source.pseudo:
            kind = "pseudo-labelled" if source.scores is None else "scores as targets"
        console.print(f"{source.name} ({kind}): {len(source.clips)} clips")
    few = few_recordings(recordings_by_class(manifest))
    for text in (*manifest.notes, *([few] if few else [])):
        note(console, text)
    console.print(f"{len(manifest.labels)} classes, data fingerprint {manifest.fingerprint}")


def recipes(
    name: Annotated[str | None, typer.Argument(help="Recipe to print in full.")] = None,
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
    found = {shipped: load_recipe(shipped).description for shipped in recipe_names()}
    for shipped in pretrain_recipe_names():
        found[shipped] = load_pretrain_recipe(shipped).description
    for shipped, description in found.items():
        typer.echo(f"{shipped}: {' '.join(description.split())}")
