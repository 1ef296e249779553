"""``earmark evaluate``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console

from earmark.cli import tables as views
from earmark.cli.console import can_plot, command_line, note, plot, say, write_json
from earmark.cli.options import (
    NETWORK,
    OUTPUT,
    BatchSize,
    Bundle,
    CriteriaOptions,
    Data,
    DetectionPrecision,
    Device,
    DropEventless,
    Resamples,
    Runtime,
    Split,
    Strict,
    option,
    settled,
    with_options,
)
from earmark.cli.progress import counting

if TYPE_CHECKING:
    from earmark.core.tables.scores import ScoreTable
    from earmark.data.manifest import Evaluation
    from earmark.detect.network import Trained
    from earmark.detect.postprocess import PostProcess
    from earmark.detect.systems import Preparation
    from earmark.score.classes import ScoredClasses
    from earmark.score.report import Measurement
    from earmark.score.settings import MetricSettings


@dataclass(frozen=True, kw_only=True)
class EvaluateOptions(CriteriaOptions):
    """Options of ``earmark evaluate``."""

    bundle: Bundle
    data: Data
    out: Path = option(
        ..., "Write score tables, metrics.json, plots and page to this folder.", "--out", "-o"
    )
    split: Split = "validation"
    postprocess: str | None = option(
        None,
        "Use this instead of the bundle's own: none, median=SECONDS, csebb, "
        "csebb=STEP,absolute=A,relative=R, a postprocess.yaml, or another bundle.",
    )
    class_map: Path | None = option(
        None, "YAML file with a line for each class that the data name otherwise: 'theirs: the "
        "data's'. Several may become one.",
    )  # fmt: skip
    strict: Strict = False
    drop_eventless: DropEventless = False
    resamples: Resamples = 1000
    plot: bool | None = option(
        None,
        "Draw PSD-ROC curves and bars by class, and write report.html, a page with confusions and "
        "the worst clips to hear; by default if matplotlib is installed.",
        "--plot/--no-plot",
        panel=OUTPUT,
    )
    batch_size: BatchSize = 16
    device: Device = "auto"
    precision: DetectionPrecision = "32-true"
    runtime: Runtime = "auto"
    measure_precision: bool = option(
        False,
        "Score in bfloat16, too, and write onto the bundle's card what that changes; --precision "
        "auto then takes it where it is faster.",
        "--measure-precision",
        panel=NETWORK,
    )


@with_options
def evaluate(options: EvaluateOptions) -> None:
    """Score a bundle on a labelled split: what it finds, false alarms, PSDS, the F1 family.

    The first table says by class, at the bundle's thresholds, how much of what it finds is right
    (precision), how much of what is there it finds (recall), and its false alarms an hour.
    Missing and unreadable clips are counted and named, but do not stop the evaluation: the table
    states how many of the listed clips were scored. Unfiltered score tables, one per clip, are
    written to `OUT/scores`; `earmark score` and `earmark tune` read them, without running the
    network again.

        earmark evaluate runs/mine --data data --out runs/mine/validation

        earmark evaluate runs/mine --data data --split test --postprocess median=0.45 --out OUT

        earmark evaluate audioset --data data --class-map desed.yaml --out OUT
    """
    from earmark.core.locking import only_writer

    with only_writer(options.out):
        _evaluate(Console(), options)


def _evaluate(console: Console, options: EvaluateOptions) -> None:
    from earmark.data.issues import split_issues
    from earmark.detect.masked import with_masks
    from earmark.detect.network import load_trained
    from earmark.detect.postprocess_spec import read_postprocess
    from earmark.score.report import report
    from earmark.score.settings import MetricSettings

    spec = options.postprocess
    precision = settled(options.precision, options.bundle, options.device, options.runtime)
    trained = load_trained(options.bundle, options.device, precision, options.runtime)
    rounded = _rounded(options) if options.measure_precision else None
    used = trained.postprocess if spec is None else read_postprocess(spec)
    trained = replace(trained, network=with_masks(trained.network, used))
    variants, tuned_on = _variants(trained, used, other=spec is not None)
    evaluation = open_split(console, options.data, options.split, options.strict, trained.path)
    classes, renamed = _classes(options.class_map, evaluation), options.class_map is not None
    if renamed:
        trained, classes = _mapped(trained, classes)
    tables = score_split(console, trained, evaluation, options.batch_size)
    _write_tables(options.out / "scores", tables)
    metrics = MetricSettings(drop_eventless=options.drop_eventless, **options.criteria)
    measured = _measured(used, tables, evaluation, classes, metrics)
    with counting("intervals") as bar:
        found = report([measured], resamples=options.resamples, progress=bar)
    found |= {
        "bundle": trained.fingerprint,
        "split": options.split,
        "postprocess": {"method": "none"} if used is None else used.to_dict(),
        "variants": {
            name: _brief(report([_measured(other, tables, evaluation, classes, metrics)]))
            for name, other in variants.items()
        },
    }
    if tuned_on == found["fingerprint"]:
        found["warnings"].append(
            "post-processing was tuned on these very clips: their figures are too good; those of "
            "the model card are cross-validated"
        )
    if rounded is not None:
        again = score_split(console, rounded, evaluation, options.batch_size)
        other = _brief(report([_measured(used, again, evaluation, classes, metrics)]))
        difference = max(float(abs(again[one].values - tables[one].values).max()) for one in tables)
        found["bfloat16"] = {**other, "largest_score_difference": difference}
        _write_on_card(rounded.path, found, options.split)
    title = f"{options.bundle} on {options.split}"
    views.print_report(console, found, title)
    if variants:
        console.print(views.variants_table(found, "bundle" if spec is None else "this"))
    found["warnings"] += [issue.text for issue in split_issues(evaluation)]  # said before
    write_json(options.out / "metrics.json", found)
    plot(console, options.out, [(title, found, [measured])], wanted=options.plot)
    if options.plot or (options.plot is None and can_plot()):
        preparation = _preparation(used, classes)
        _write_report(console, options, found, measured, tables, evaluation, preparation)


def _write_report(
    console: Console,
    options: EvaluateOptions,
    found: Mapping[str, Any],
    measured: Measurement,
    tables: Mapping[str, ScoreTable],
    evaluation: Evaluation,
    preparation: Preparation,
) -> None:
    """The page of the evaluation."""
    from earmark.core.event import Event
    from earmark.deliver.pages.evaluation_report import (
        REPORT,
        EvaluatedClip,
        write_evaluation_report,
    )

    truth = measured.task.truth
    clips = (
        EvaluatedClip(
            evaluation.by_id[clip],
            clip,
            preparation.apply(table)[1],
            sorted(Event(one[0], one[1], one[2]) for one in truth.get(clip, ())),
            float(table.boundaries[-1]),
        )
        for clip, table in tables.items()
        if clip in measured.task.clips
    )
    path = options.out / REPORT
    where = f"split {options.split}, evaluation {found['evaluation']}"
    bundle = Path(options.bundle)
    title = bundle.resolve().name if bundle.exists() else options.bundle
    labels = measured.task.labels
    for text in write_evaluation_report(path, title, where, found, measured, clips, labels):
        note(console, text)
    say(console, f"report: {path}")


def _rounded(options: EvaluateOptions) -> Trained:
    """The bundle in bfloat16, to be compared with float32.

    Raises:
        ConfigError: If it gains nothing from it, or something else is asked for, too.
    """
    from earmark.core.errors import ConfigError
    from earmark.detect.network import load_trained

    if options.precision != "32-true" or options.class_map is not None:
        raise ConfigError(
            "--measure-precision compares float32 with bfloat16 under the bundle's own classes",
            hint="Leave out --precision and --class-map",
        )
    return load_trained(options.bundle, options.device, "bf16-mixed", "torch")


def _write_on_card(folder: Path, found: Mapping[str, Any], split: str) -> None:
    """Says on a bundle's card what bfloat16 changes."""
    from earmark._version import __version__
    from earmark.core.files import write_text
    from earmark.model.bundle_card import BFLOAT16, with_section

    rounded = found["bfloat16"]
    rows = [
        f"| {name} | {found[name]:.4f} | {rounded[name]:.4f} |"
        for name in ("psds1", "psds2", "collar_f1", "intersection_f1")
        if name in rounded
    ]
    lines = [
        BFLOAT16,
        f"On {found['clips']} of {found['of']} clips of {split}, fingerprint "
        f"`{found['fingerprint']}` (earmark {__version__}):",
        f"    {command_line()}",
        "\n".join(["| | float32 | bf16-mixed |", "|---|---|---|", *rows]),
        f"Scores differ by at most {rounded['largest_score_difference']:.4f}.",
    ]
    card = folder / "README.md"
    text = card.read_text(encoding="utf-8") if card.is_file() else ""
    write_text(card, with_section(text, "\n\n".join(lines)))


def _classes(class_map: Path | None, evaluation: Evaluation) -> ScoredClasses:
    """What the bundle's classes are called in the data, and which are measured."""
    from earmark.score.classes import ScoredClasses, read_class_map

    if class_map is None:
        return ScoredClasses(chosen=evaluation.labelled)
    there = {event.event_label for own in evaluation.events.values() for event in own}
    names = read_class_map(str(class_map))
    return ScoredClasses(names, evaluation.labelled or tuple(sorted(there)))


def _mapped(trained: Trained, classes: ScoredClasses) -> tuple[Trained, ScoredClasses]:
    """The network with those of its classes that are measured under some name, and these names."""
    from earmark.detect.chosen import ChosenClasses

    classes.check(trained.labels, filter(None, map(classes.of, trained.labels)))
    columns = [n for n, label in enumerate(trained.labels) if classes.of(label) is not None]
    kept = replace(trained, network=ChosenClasses(trained.network, columns))
    names = {label: name for label, name in classes.names.items() if label in kept.labels}
    return kept, replace(classes, names=names)


def open_split(
    console: Console, data: Path, split: str, strict: bool = False, bundle: Path | None = None
) -> Evaluation:
    """A split of a dataset, also one that a bundle's run kept back; prints what is to know."""
    from earmark.detect.evaluate import load_split

    evaluation, notes = load_split(data, split, strict=strict, bundle=bundle)
    for text in notes:
        note(console, text)
    return evaluation


def score_split(
    console: Console, trained: Trained, evaluation: Evaluation, batch_size: int
) -> dict[str, ScoreTable]:
    """Score tables of every clip that can be read; prints which cannot."""
    from earmark.detect.evaluate import score_clips

    with counting("scoring clips") as bar:
        return score_clips(
            trained.network,
            evaluation.by_id,
            batch_size=batch_size,
            progress=bar,
            on_unreadable=lambda _, error: note(console, str(error), "not scored"),
        )


def _variants(
    trained: Trained, used: PostProcess | None, *, other: bool
) -> tuple[dict[str, PostProcess | None], str | None]:
    """Other post-processing to compare with, and the fingerprint of the clips tuned on."""
    from earmark.detect.postprocess import PostProcess
    from earmark.detect.postprocess_spec import read_tuning

    variants: dict[str, PostProcess | None] = {}
    record = read_tuning(trained.path, trained.postprocess)
    if record is not None:
        variants["before tuning"] = PostProcess.from_dict(record["before"])
    if other:
        variants["the bundle's"] = trained.postprocess
    if used is not None:
        variants["none"] = None
    tuned = record is not None and not other
    return variants, record["untuned"]["fingerprint"] if record is not None and tuned else None


def _preparation(postprocess: PostProcess | None, classes: ScoredClasses) -> Preparation:
    from earmark.detect.systems import Preparation

    return Preparation(classes, postprocess, rename_last=bool(classes.names))


def _measured(
    postprocess: PostProcess | None,
    tables: Mapping[str, ScoreTable],
    evaluation: Evaluation,
    classes: ScoredClasses,
    settings: MetricSettings,
) -> Measurement:
    from earmark.detect.evaluate import split_task
    from earmark.detect.systems import measure_system

    preparation = _preparation(postprocess, classes)
    labels = () if not tables else preparation.named(next(iter(tables.values()))).labels
    return measure_system(tables, preparation, split_task(evaluation, tables, labels, settings))


def _brief(found: dict[str, Any]) -> dict[str, Any]:
    """The numbers of a report, without what it has in common with the others."""
    return {
        name: value
        for name, value in found.items()
        if isinstance(value, float) or name == "per_class"
    }


def _write_tables(folder: Path, tables: Mapping[str, ScoreTable]) -> None:
    from earmark.core.errors import EarmarkError

    try:
        folder.mkdir(parents=True, exist_ok=True)
        for clip, table in tables.items():
            path = folder / f"{clip}.tsv"
            path.parent.mkdir(parents=True, exist_ok=True)
            table.write(path)
    except OSError as error:
        raise EarmarkError(f"cannot be written ({error.strerror})", where=folder) from None
