"""``earmark evaluate``."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from earmark.cli.options import Data, DetectionPrecision

if TYPE_CHECKING:
    from rich.console import Console

    from earmark.core.tables.scores import ScoreTable
    from earmark.data.manifest import Evaluation
    from earmark.detect.postprocess import PostProcess
    from earmark.score.report import Measurement


def evaluate(
    bundle: Annotated[str, typer.Argument(help="Bundle folder, shipped name, Hub id, or .onnx.")],
    data: Data,
    out: Annotated[Path, typer.Option(help="Folder for score tables, metrics.json and pictures.")],
    split: Annotated[str, typer.Option(help="validation, test, or another of the data.")] = (
        "validation"
    ),
    postprocess: Annotated[
        str | None,
        typer.Option(
            help="Instead of the bundle's: none, median=SECONDS, csebb, "
            "csebb=STEP,absolute=A,relative=R, a postprocess.yaml, or another bundle."
        ),
    ] = None,
    drop_eventless: Annotated[
        bool,
        typer.Option("--drop-eventless", help="Leave out clips without events, as DCASE 2023 did."),
    ] = False,
    resamples: Annotated[
        int, typer.Option(min=0, help="Draws of clips for 95 % intervals; 0 for none, at once.")
    ] = 1000,
    plots: Annotated[
        bool | None,
        typer.Option(
            "--plots/--no-plots", help="PSD-ROC curves and bars by class; if matplotlib is there."
        ),
    ] = None,
    batch_size: Annotated[int, typer.Option(min=1, help="Clips in one network call.")] = 16,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1 …")] = "auto",
    precision: DetectionPrecision = "32-true",
) -> None:
    """Score a bundle on a labelled split: PSDS1, PSDS2 and the F1 family, overall and by class.

    Missing and unreadable clips are counted and named, never fatal: the table says on how many of
    the listed clips the figures were made. Unfiltered score tables, one a clip, go to
    `OUT/scores`; `earmark score` and `earmark tune` take them without hearing anything again.

        earmark evaluate runs/mine --data data --out runs/mine/validation

        earmark evaluate runs/mine --data data --split test --postprocess median=0.45 --out OUT
    """
    from rich.console import Console

    from earmark.cli import tables as views
    from earmark.detect.evaluate import load_split
    from earmark.score.report import report

    console, errors = Console(), Console(stderr=True)
    request = _Request.of(bundle, postprocess, device, precision)
    evaluation, notes = load_split(data, split)
    for note in notes:
        console.print(f"[yellow]note:[/] {note}", highlight=False, soft_wrap=True)
    tables = _heard(request, evaluation, batch_size, console, errors)
    _write_tables(out / "scores", tables)
    measured = _measured(request.postprocess, tables, evaluation, drop_eventless)
    with views.steps(errors, "intervals") as bar:
        found = report([measured], resamples=resamples, progress=bar)
    found |= {
        "bundle": request.fingerprint,
        "split": split,
        "postprocess": {"method": "none"} if request.postprocess is None
        else request.postprocess.to_dict(),
        "variants": {
            name: _brief(report([_measured(other, tables, evaluation, drop_eventless)]))
            for name, other in request.variants.items()
        },
    }  # fmt: skip
    found["warnings"] += request.warnings(found["fingerprint"])
    views.print_report(console, found, f"{bundle} on {split}")
    if found["variants"]:
        console.print(views.variants_table(found, "bundle" if postprocess is None else "this"))
    _write_json(out / "metrics.json", found)
    _plot(console, plots, out, (f"{bundle} on {split}", found, [measured]))


@dataclass(frozen=True)
class _Request:
    """A network, its post-processing, and others to set beside it."""

    network: Any
    fingerprint: str
    postprocess: PostProcess | None
    variants: Mapping[str, PostProcess | None]
    tuned_on: str | None

    @classmethod
    def of(cls, bundle: str, spec: str | None, device: str, precision: str) -> _Request:
        from earmark.detect.network import load_trained
        from earmark.detect.postprocess import PostProcess
        from earmark.detect.postprocess_spec import read_postprocess, read_tuning

        trained = load_trained(bundle, device, precision)
        own = trained.postprocess
        used = own if spec is None else read_postprocess(spec)
        record = read_tuning(trained.path, own)
        variants: dict[str, PostProcess | None] = {}
        if record is not None:
            variants["before tuning"] = PostProcess.from_dict(record["before"])
        if spec is not None:
            variants["the bundle's"] = own
        if used is not None:
            variants["none"] = None
        tuned_on = None
        if record is not None and spec is None:
            tuned_on = record["untuned"]["fingerprint"]
        return cls(trained.network, trained.fingerprint, used, variants, tuned_on)

    def warnings(self, fingerprint: str) -> list[str]:
        """A word where post-processing was tuned on the very clips."""
        if self.tuned_on != fingerprint:
            return []
        return [
            "post-processing was tuned on these very clips: their figures are too good; those of "
            "the model card are cross-validated"
        ]


def _heard(
    request: _Request, evaluation: Evaluation, batch_size: int, console: Console, errors: Console
) -> dict[str, ScoreTable]:
    """Score tables of every clip that can be read."""
    from earmark.cli.tables import steps
    from earmark.detect.evaluate import score_clips

    with steps(errors, "listening") as bar:
        return score_clips(
            request.network,
            evaluation.clips,
            batch_size=batch_size,
            progress=bar,
            on_unreadable=lambda _, error: console.print(
                f"[yellow]not scored:[/] {error}", highlight=False, soft_wrap=True
            ),
        )


def _measured(
    postprocess: PostProcess | None,
    tables: Mapping[str, ScoreTable],
    evaluation: Evaluation,
    drop_eventless: bool,
) -> Measurement:
    from earmark.detect.evaluate import classes_of, split_task
    from earmark.detect.systems import Preparation, measure_system
    from earmark.score.settings import MetricSettings

    preparation = Preparation(classes_of(evaluation), postprocess)
    labels = () if not tables else preparation.named(next(iter(tables.values()))).labels
    settings = MetricSettings(drop_eventless=drop_eventless)
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
            table.write(folder / f"{clip}.tsv")
    except OSError as error:
        raise EarmarkError(f"cannot be written ({error.strerror})", where=folder) from None


def _write_json(path: Path, found: dict[str, Any]) -> None:
    from earmark.core.files import write_text

    write_text(path, json.dumps(found, indent=2, ensure_ascii=False) + "\n")


def _plot(
    console: Console, plots: bool | None, out: Path, system: tuple[str, Any, list[Measurement]]
) -> None:
    from importlib.util import find_spec

    if plots is False or (plots is None and find_spec("matplotlib") is None):
        return
    from earmark.deliver.pictures.score_plots import Pictured, plot_scores

    paths = plot_scores(out, [Pictured(*system)])
    console.print(f"pictures: {', '.join(map(str, paths))}", highlight=False, soft_wrap=True)
