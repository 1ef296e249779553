"""``earmark tune``: post-processing fitted to labelled clips, and what it is worth."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import typer
from rich.console import Console

from earmark.cli.console import command_line, note, say, write_json
from earmark.cli.evaluate import open_split, score_split
from earmark.cli.options import (
    METRICS,
    AllowMissing,
    BatchSize,
    Device,
    DryRun,
    JsonFile,
    Resamples,
    Split,
    argument,
    option,
    with_options,
)
from earmark.cli.progress import counting
from earmark.cli.tables import before_after_table, choices_table, print_notes, title_of

if TYPE_CHECKING:
    from earmark.core.tables.scores import ScoreTable
    from earmark.detect.postprocess import PostProcess
    from earmark.detect.tuning.tune import Tuning
    from earmark.score.clips import ClipIds
    from earmark.score.report import ScoringTask

DATA = "What to tune on"


@dataclass(frozen=True, kw_only=True)
class TuneOptions:
    """Options of ``earmark tune``."""

    bundle: str | None = argument(
        None, "Bundle folder; leave it out to use --scores and --out FILE.yaml."
    )
    data: Path | None = option(
        None, "Labelled dataset: a folder in DESED's layout, or a YAML description.", panel=DATA
    )
    split: Split = "validation"
    scores: Path | None = option(
        None,
        "Folder of unfiltered score tables, as of `earmark evaluate`, to use instead of running "
        "the network.",
        panel=DATA,
    )
    truth: Path | None = option(
        None,
        "Table of true events: filename, onset, offset, event_label; for --scores without --data.",
        panel=DATA,
    )
    durations: Path | None = option(
        None,
        "Table of filename and duration in seconds, or the folder of the recordings; for --scores "
        "without --data.",
        panel=DATA,
    )
    allow_missing: AllowMissing = False
    method: Literal["csebb", "median", "auto"] = option(
        "csebb",
        "auto tries both and keeps the better one; its figure, the better of two, is then slightly "
        "too good.",
    )
    objective: Literal["psds1", "collar_f1", "both"] = option(
        "both", "Optimise psds1 (score tables), collar_f1 (decisions), or both."
    )
    thresholds: Literal["steady", "best"] = option(
        "steady",
        "steady takes the mean of the best thresholds over resamples, best those of the clips "
        "themselves.",
    )
    decide_by: Literal["collar_f1", "intersection_f1"] = option(
        "collar_f1",
        "Choose thresholds for exact times (collar_f1), or for events that are found at all "
        "(intersection_f1), which are usually lower.",
    )
    classwise: bool = option(
        True, "Tune each class by itself, or all alike.", "--classwise/--global"
    )
    folds: int = option(5, "Folds of the cross-validation; 0 for none.", min=0)
    groups: Path | None = option(
        None,
        "Table of filename and group, e.g. the recording a clip was cut from; clips of one group "
        "stay in one fold.",
    )
    seed: int = option(0, "Seed of folds and resamples.", panel=METRICS, min=0)
    resamples: Resamples = 1000
    batch_size: BatchSize = 16
    device: Device = "auto"
    out: Path | None = option(
        None,
        "Write a tuned copy of the bundle to this folder; without a bundle, write the settings to "
        "this YAML file.",
        "--out",
        "-o",
    )
    json_file: JsonFile = None
    dry_run: DryRun = False
    yes: bool = option(
        False, "Write the settings even where they make a metric worse, without asking.", "--yes"
    )


@with_options
def tune(options: TuneOptions) -> None:
    """Tune a bundle's post-processing on labelled clips: cSEBB or median filters, by class.

    Prints the metrics before and after. Those after are cross-validated: every clip is
    post-processed with settings that were chosen without it. The settings chosen on all clips are
    written to the bundle's `postprocess.yaml`; the previous ones are kept in its `tuning.json`, and
    the metrics are added to its model card. Where PSDS1, PSDS2 or collar F1 get worse beyond the
    interval of the difference, this is said and asked about (`--yes` writes without asking).

        earmark tune runs/mine --data data --method auto --dry-run

        earmark tune runs/mine --data data

    With scores that are stored already, of a bundle or of any other system:

        earmark tune runs/mine --data data --scores runs/mine/validation/scores

        earmark tune --scores DIR --truth truth.tsv --durations durations.tsv --out post.yaml
    """
    from earmark.core.locking import only_writer

    _check(options)
    # Before hours of work, not after them; a single file appears whole, whoever else writes it.
    folder = options.bundle if options.out is None else options.out
    writes = options.bundle is not None and not options.dry_run
    with only_writer(str(folder)) if writes else nullcontext():
        _tune(Console(), options)


def _tune(console: Console, options: TuneOptions) -> None:
    from earmark.detect.tuning.tune import preferred

    given = _Given.read(options, console)
    methods = ("csebb", "median") if options.method == "auto" else (options.method,)
    results = [_tuned(given, options, name) for name in methods]
    for found in results:
        print_tuning(console, found)
    chosen = preferred(results) if len(results) > 1 else results[0]
    if len(results) > 1:
        console.print(f"better when cross-validated: [bold]{chosen.method}[/]")
    if options.json_file is not None:
        write_json(options.json_file, chosen.to_dict())
    if options.dry_run:
        console.print("nothing written (--dry-run)")
    else:
        _ask(console, options, chosen)
        _write(console, options, chosen, given)


@dataclass(frozen=True)
class _Given:
    """What is tuned on: raw score tables, their task, and the settings there are."""

    tables: Mapping[str, ScoreTable]
    task: ScoringTask
    base: PostProcess
    clips: str
    ids: ClipIds

    @classmethod
    def read(cls, options: TuneOptions, console: Console) -> _Given:
        from earmark.detect.evaluate import refuse_gaps, split_task
        from earmark.detect.masked import with_masks
        from earmark.detect.network import load_trained
        from earmark.detect.postprocess import PostProcess
        from earmark.score.files import read_listed
        from earmark.score.report import ends_of, make_task

        trained = None
        if options.bundle is not None:
            trained = load_trained(options.bundle, options.device)
            trained = replace(trained, network=with_masks(trained.network, trained.postprocess))
        base = PostProcess() if trained is None else trained.postprocess
        labels = None if trained is None else trained.labels
        if options.data is None:
            assert options.scores is not None
            assert options.truth is not None
            truth, seconds = read_listed(options.truth, options.durations)
            tables = _stored(options.scores, labels, truth.ids)
            task = make_task(
                truth, ends_of(tables) if seconds is None else seconds,
                next(iter(tables.values())).labels, scored=tables, derived=seconds is None,
                allow_missing=options.allow_missing,
            )  # fmt: skip
            return cls(tables, task, base, options.truth.name, truth.ids)
        evaluation = open_split(
            console, options.data, options.split, bundle=None if trained is None else trained.path
        )
        stored = None
        if options.scores is not None:
            stored = _stored(options.scores, labels, evaluation.ids)
        if stored is None:
            assert trained is not None
            tables = score_split(console, trained, evaluation, options.batch_size)
        else:
            tables = stored
            if not options.allow_missing:
                refuse_gaps(evaluation, tables)
        task = split_task(evaluation, tables, next(iter(tables.values())).labels)
        return cls(tables, task, base, options.split, evaluation.ids)


def _stored(folder: Path, labels: tuple[str, ...] | None, clips: ClipIds) -> dict[str, ScoreTable]:
    from earmark.core.errors import ScoreError
    from earmark.core.tables.scores import common_labels
    from earmark.score.files import ScoreFolder, read_all

    with counting("reading scores") as bar:
        tables = read_all(ScoreFolder(folder, clips), bar)
    found = common_labels(tables.items())
    if labels is not None and found != labels:
        raise ScoreError(
            f"the score tables have the classes {', '.join(found)}, the bundle {', '.join(labels)}",
            where=folder,
        )
    return tables


def _tuned(given: _Given, options: TuneOptions, method: str) -> Tuning:
    from earmark.detect.tuning.tune import tune as run

    task, groups = given.task, _groups(options.groups, given.ids)
    with counting(f"tuning {method}, then intervals") as bar:
        return run(
            {clip: given.tables[clip] for clip in task.clips}, task.truth, task.durations or {},
            task.labels, base=given.base, fingerprint=task.fingerprint, of=task.of,
            missing=task.missing, method=method, objective=options.objective,
            thresholds=options.thresholds, decide=options.decide_by,
            classwise=options.classwise, folds=options.folds,
            groups=groups, seed=options.seed, resamples=options.resamples, progress=bar,
            draws_progress=bar,
        )  # fmt: skip


def _check(options: TuneOptions) -> None:
    """Refuses requests that are incomplete or contradictory, before any work is done."""
    from earmark.core.errors import ConfigError

    if options.bundle is None and options.scores is None:
        raise ConfigError(
            "nothing to tune", hint="Give a bundle and --data, or --scores with --truth"
        )
    if (options.data is None) == (options.truth is None):
        both = "both a dataset and a table of true events" if options.data else "no true events"
        raise ConfigError(f"there are {both}", hint="Give --data, or --truth with --scores")
    if options.scores is None and options.truth is not None:
        raise ConfigError("--truth comes without recordings", hint="Give --scores, or --data")
    if options.bundle is None and options.out is None and not options.dry_run:
        raise ConfigError(
            "nowhere to write to", hint="Give --out FILE.yaml, or --dry-run to see the metrics"
        )
    if options.method == "auto" and not options.folds:
        raise ConfigError(
            "--method auto needs cross-validated figures to compare", hint="Use 2 folds or more"
        )
    if options.bundle is not None and not options.dry_run:
        from earmark.deliver.tuned_bundle import check_destination

        check_destination(options.bundle, options.out)


def _groups(path: Path | None, clips: ClipIds) -> dict[str, str] | None:
    from earmark.core.tables.rows import read_rows
    from earmark.score.clips import ClipIds

    if path is None:
        return None
    rows = {r["filename"]: r["group"] for _, r in read_rows(path, ("filename", "group"))}
    own = ClipIds(rows, path)
    known = clips.of(own, path)
    return {known[own[name]]: group for name, group in rows.items()}


def _ask(console: Console, options: TuneOptions, chosen: Tuning) -> None:
    """Settings that make a metric worse are written if the user says so.

    Raises:
        ConfigError: They are not to be written, or there is no terminal to ask at.
    """
    from earmark.core.errors import ConfigError

    if not chosen.worse:
        return
    changes = (
        f"{title_of(name)} {one['difference']:+.3f} [{one['low']:+.3f}, {one['high']:+.3f}]"
        for name, one in ((name, chosen.difference[name]) for name in chosen.worse)
    )
    what = f"tuning makes worse, beyond the 95 % interval: {', '.join(changes)}"
    if options.yes:
        note(console, what)
        return
    asked = sys.stdin is not None and sys.stdin.isatty()
    if asked:
        note(console, what)
    if not asked or not typer.confirm("Write these settings all the same?"):
        raise ConfigError(
            f"{what}; nothing is written",
            hint="Add --yes to write the settings all the same, or try another --objective or "
            "--method",
        )


def _write(console: Console, options: TuneOptions, chosen: Tuning, given: _Given) -> None:
    from earmark.core.config import dump_yaml
    from earmark.core.files import write_text

    if options.bundle is None:
        assert options.out is not None
        write_text(options.out, dump_yaml(chosen.postprocess.to_dict()))
        say(console, f"written: {options.out}")
        return
    from earmark.deliver.tuned_bundle import TuningOrigin, writable_bundle, write_tuning
    from earmark.detect.postprocess_spec import TUNING_FILE

    folder = writable_bundle(options.bundle, options.out)
    write_tuning(folder, chosen, given.base, TuningOrigin(given.clips, command_line()))
    say(
        console,
        f"written: {folder / 'postprocess.yaml'}; the previous settings are in {TUNING_FILE}",
    )


def print_tuning(console: Console, found: Tuning) -> None:
    """Prints figures before and after, and what was chosen for each class."""
    console.print(before_after_table(found))
    console.print(choices_table(found))
    print_notes(console, found.untuned)
    for line in found.warnings:
        note(console, line)
