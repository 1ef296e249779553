"""``earmark tune``: post-processing by truth, and what it is worth."""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from rich.console import Console

    from earmark.core.tables.scores import ScoreTable
    from earmark.detect.postprocess import PostProcess
    from earmark.detect.tuning.tune import Tuning
    from earmark.score.report import ScoringTask

METHODS = ("csebb", "median", "auto")


def tune(
    bundle: Annotated[
        str | None,
        typer.Argument(help="Bundle folder; without one, --scores and --out FILE.yaml."),
    ] = None,
    data: Annotated[
        Path | None,
        typer.Option(help="Dataset with a labelled split: a folder in DESED's layout, or a YAML."),
    ] = None,
    split: Annotated[str, typer.Option(help="Split to tune on.")] = "validation",
    scores: Annotated[
        Path | None,
        typer.Option(
            help="Folder of stored, unfiltered score tables (of `earmark evaluate`): nothing is "
            "heard again."
        ),
    ] = None,
    truth: Annotated[
        Path | None, typer.Option(help="Table of true events, for --scores without --data.")
    ] = None,
    durations: Annotated[
        Path | None, typer.Option(help="Table of durations, or folder of recordings, likewise.")
    ] = None,
    method: Annotated[
        str,
        typer.Option(
            help="csebb, median, or auto: both, of which the better is kept; its figure is then "
            "the better of two, a little too good."
        ),
    ] = "csebb",
    objective: Annotated[
        str, typer.Option(help="psds1 (score tables), collar_f1 (decisions), or both.")
    ] = "both",
    folds: Annotated[
        int, typer.Option(min=0, help="Parts of the cross-validation; 0 for none.")
    ] = 5,
    groups: Annotated[
        Path | None,
        typer.Option(
            help="Table of filename and group: clips of one group (one recording) are never in "
            "different folds."
        ),
    ] = None,
    thresholds: Annotated[
        str, typer.Option(help="steady (means over resamples) or best, on the clips tuned on.")
    ] = "steady",
    classwise: Annotated[
        bool, typer.Option("--classwise/--global", help="Settings by class, or one for all.")
    ] = True,
    allow_missing: Annotated[
        bool, typer.Option("--allow-missing", help="Stored scores may lack clips.")
    ] = False,
    seed: Annotated[int, typer.Option(min=0, help="Of the folds and the draws.")] = 0,
    resamples: Annotated[
        int, typer.Option(min=0, help="Draws of clips for 95 % intervals; 0 for none.")
    ] = 1000,
    batch_size: Annotated[int, typer.Option(min=1, help="Clips in one network call.")] = 16,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1 …")] = "auto",
    out: Annotated[
        Path | None,
        typer.Option(help="Tune a copy of the bundle in this folder; or the YAML file to write."),
    ] = None,
    json_file: Annotated[
        Path | None, typer.Option("--json", help="Write everything into this file.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Tell, but write nothing.")] = False,
) -> None:
    """Tune a bundle's post-processing on labelled clips: cSEBB or median filters, by class.

    Prints figures before and after. Those after are cross-validated: every clip is post-processed
    with settings that were chosen without it. The settings chosen on all clips go into the
    bundle's `postprocess.yaml`; those before stay in its `tuning.json`; its model card gets the
    figures.

        earmark tune runs/mine --data data --method auto --dry-run

        earmark tune runs/mine --data data

    Scores that are stored already, of a bundle or of any other system:

        earmark tune runs/mine --data data --scores runs/mine/validation/scores

        earmark tune --scores DIR --truth truth.tsv --durations durations.tsv --out post.yaml
    """
    from rich.console import Console

    from earmark.detect.tuning import tune as tuning

    console, errors = Console(), Console(stderr=True)
    _check(bundle, data, scores, truth, out, dry_run)
    _check_method(method, folds)
    if bundle is not None and not dry_run:
        from earmark.deliver.tuned_bundle import check_destination

        check_destination(bundle, out)
    given = _Given.read(
        bundle,
        data,
        split,
        scores,
        truth,
        durations,
        allow_missing,
        batch_size,
        device,
        console,
        errors,
    )
    rest: dict[str, Any] = {
        "objective": objective,
        "folds": folds,
        "seed": seed,
        "classwise": classwise,
        "thresholds": thresholds,
        "groups": _groups(groups),
        "resamples": resamples,
    }
    methods = METHODS[:2] if method == "auto" else (method,)
    results = [_tuned(given, errors, name, rest) for name in methods]
    for found in results:
        print_tuning(console, found)
    chosen = tuning.preferred(results) if len(results) > 1 else results[0]
    if len(results) > 1:
        console.print(f"the better one, cross-validated: [bold]{chosen.method}[/]")
    if json_file is not None:
        from earmark.core.files import write_text

        text = json.dumps(chosen.to_dict(), indent=2, ensure_ascii=False) + "\n"
        write_text(json_file, text)
    if dry_run:
        console.print("nothing written (--dry-run)")
    else:
        _write(console, bundle, out, chosen, given)


@dataclass(frozen=True)
class _Given:
    """What is tuned on: raw score tables, their task, and the settings there are."""

    tables: Mapping[str, ScoreTable]
    task: ScoringTask
    base: PostProcess
    clips: str

    @classmethod
    def read(
        cls,
        bundle: str | None,
        data: Path | None,
        split: str,
        scores: Path | None,
        truth: Path | None,
        durations: Path | None,
        allow_missing: bool,
        batch_size: int,
        device: str,
        console: Console,
        errors: Console,
    ) -> _Given:
        from earmark.cli.tables import steps
        from earmark.detect.evaluate import load_split, refuse_gaps, split_task
        from earmark.detect.postprocess import PostProcess

        base, labels, trained = PostProcess(), None, None
        if bundle is not None:
            from earmark.detect.network import load_trained

            trained = load_trained(bundle, device)
            base, labels = trained.postprocess, trained.labels
        tables = None if scores is None else _stored(scores, labels, errors)
        if data is None:
            assert tables is not None
            assert truth is not None
            return cls(tables, _task(tables, truth, durations, allow_missing), base, truth.name)
        evaluation, notes = load_split(data, split)
        for note in notes:
            console.print(f"[yellow]note:[/] {note}", soft_wrap=True)
        if tables is None:
            assert trained is not None
            from earmark.detect.evaluate import score_clips

            with steps(errors, "listening") as bar:
                tables = score_clips(
                    trained.network, evaluation.clips, batch_size=batch_size, progress=bar,
                    on_unreadable=lambda _, error: console.print(
                        f"[yellow]not scored:[/] {error}", soft_wrap=True
                    ),
                )  # fmt: skip
        elif not allow_missing:
            refuse_gaps(evaluation, tables)
        first = next(iter(tables.values()))
        return cls(tables, split_task(evaluation, tables, first.labels), base, split)


def _stored(folder: Path, labels: tuple[str, ...] | None, errors: Console) -> dict[str, ScoreTable]:
    from earmark.cli.tables import steps
    from earmark.core.errors import ScoreError
    from earmark.core.tables.scores import common_labels
    from earmark.score.files import ScoreFolder, read_all

    with steps(errors, "reading scores") as bar:
        tables = read_all(ScoreFolder(folder), bar)
    found = common_labels(tables.items())
    if labels is not None and found != labels:
        raise ScoreError(
            f"the score tables have the classes {', '.join(found)}, the bundle {', '.join(labels)}",
            where=folder,
        )
    return tables


def _task(
    tables: Mapping[str, ScoreTable], truth: Path, durations: Path | None, allow_missing: bool
) -> ScoringTask:
    from earmark.score.files import read_seconds, read_truth
    from earmark.score.report import ends_of, make_task

    seconds = ends_of(tables) if durations is None else read_seconds(durations)
    labels = next(iter(tables.values())).labels
    return make_task(
        read_truth(truth), seconds, labels, scored=tables, derived=durations is None,
        allow_missing=allow_missing,
    )  # fmt: skip


def _tuned(given: _Given, errors: Console, method: str, choices: dict[str, Any]) -> Tuning:
    from earmark.cli.tables import steps
    from earmark.detect.tuning.tune import tune as run

    task = given.task
    with steps(errors, f"tuning {method}, then intervals") as bar:
        return run(
            {clip: given.tables[clip] for clip in task.clips}, task.truth, task.durations or {},
            task.labels, base=given.base, fingerprint=task.fingerprint, of=task.of,
            missing=task.missing, method=method, progress=bar, draws_progress=bar,
            **choices,
        )  # fmt: skip


def _check(
    bundle: str | None,
    data: Path | None,
    scores: Path | None,
    truth: Path | None,
    out: Path | None,
    dry_run: bool,
) -> None:
    """Refuse requests that say too little, or too much."""
    from earmark.core.errors import ConfigError

    if bundle is None and scores is None:
        raise ConfigError(
            "nothing to tune", hint="Give a bundle and --data, or --scores with --truth"
        )
    if (data is None) == (truth is None):
        both = "both a dataset and a table of true events" if data else "no true events"
        raise ConfigError(f"there are {both}", hint="Give --data, or --truth with --scores")
    if scores is None and truth is not None:
        raise ConfigError("--truth has no recordings to listen to", hint="Give --scores, or --data")
    if bundle is None and out is None and not dry_run:
        raise ConfigError(
            "nowhere to write to", hint="Give --out FILE.yaml, or --dry-run to see the figures"
        )


def _check_method(method: str, folds: int) -> None:
    from earmark.core.errors import ConfigError

    if method not in METHODS:
        raise ConfigError(
            f"unknown method of tuning: {method!r}", hint=f"Known are {', '.join(METHODS)}"
        )
    if method == "auto" and not folds:
        raise ConfigError(
            "only cross-validated figures can tell which method is better",
            hint="Give 2 folds or more",
        )


def _groups(path: Path | None) -> dict[str, str] | None:
    from earmark.core.tables.rows import read_rows
    from earmark.score.files import clip_name

    if path is None:
        return None
    rows = read_rows(path, None, ("filename", "group"))
    return {clip_name(row["filename"]): row["group"] for _, row in rows}


def _write(
    console: Console, bundle: str | None, out: Path | None, chosen: Tuning, given: _Given
) -> None:
    from earmark.core.config import dump_yaml
    from earmark.core.files import write_text

    if bundle is None:
        assert out is not None
        write_text(out, dump_yaml(chosen.postprocess.to_dict()))
        console.print(f"written: {out}", highlight=False, soft_wrap=True)
        return
    from earmark.deliver.tuned_bundle import Origin, writable_bundle, write_tuning
    from earmark.detect.postprocess_spec import TUNING_FILE

    folder = writable_bundle(bundle, out)
    command = shlex.join(["earmark", *sys.argv[1:]])
    write_tuning(folder, chosen, given.base, Origin(given.clips, command))
    console.print(
        f"written: {folder / 'postprocess.yaml'}; the settings before are in {TUNING_FILE}",
        highlight=False,
        soft_wrap=True,
    )


def print_tuning(console: Console, found: Tuning) -> None:
    """Prints figures before and after, and what was chosen for each class."""
    from rich.markup import escape

    from earmark.cli.tables import before_after_table, choices_table, print_notes

    console.print(before_after_table(found))
    console.print(choices_table(found))
    print_notes(console, found.untuned)
    for line in found.warnings:
        console.print(f"[yellow]note:[/] {escape(line)}", highlight=False, soft_wrap=True)
