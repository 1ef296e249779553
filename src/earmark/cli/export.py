"""``earmark export``: a bundle as one ONNX file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from earmark.cli.console import say
from earmark.cli.options import Split

if TYPE_CHECKING:
    from earmark.deliver.onnx.export import ExportReport


def export(
    bundle: Annotated[str, typer.Argument(help="Bundle: a folder, a shipped name or a Hub id.")],
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", help="Write the network to this file, ending in .onnx."),
    ] = None,
    into_bundle: Annotated[
        bool,
        typer.Option(
            "--into-bundle",
            help="Write the network's ONNX form into the bundle instead; it then needs no PyTorch.",
        ),
    ] = False,
    int8: Annotated[
        bool, typer.Option("--int8", help="Also write an 8-bit file, OUT.int8.onnx.")
    ] = False,
    data: Annotated[
        Path | None,
        typer.Option(help="Labelled dataset to measure the PSDS of the network and the files on."),
    ] = None,
    split: Split = "validation",
    opset: Annotated[int, typer.Option(help="Version of ONNX's operators, 18 to 22.")] = 20,
    repeats: Annotated[
        int, typer.Option(min=1, help="Number of timings, of which the fastest is reported.")
    ] = 5,
) -> None:
    """Export a bundle to one ONNX file: waveform in, scores out.

    The file contains front-end, network, labels, times and post-processing. `earmark detect OUT …`
    and `Detector.from_pretrained("OUT")` run it on ONNX Runtime, without PyTorch; see
    `docs/export.md` for other programs and for an installation without PyTorch.

    Scores are compared with the network's on noise, silence, tones and soundscapes, alone and in
    a batch; if they differ by more than 1e-4 nothing is written. The measurements are printed, and
    written beside the file as JSON. With `--data` they include the PSDS of the network and of each
    file: what eight bits cost.

    With `--into-bundle` the bundle itself gets its ONNX form: small files beside its weights, which
    they share, so that the folder detects without PyTorch. Make it again whenever weights change.
    """
    from earmark.core.errors import ConfigError
    from earmark.deliver.onnx.export import (
        export_network,
        measure_loss,
        require_export,
        write_report,
    )
    from earmark.detect.evaluate import load_split
    from earmark.detect.network import load_trained
    from earmark.model.sed import SedNetwork
    from earmark.model.tagger import Tagger

    console = Console()
    require_export()
    if into_bundle:
        if out is not None or int8 or data is not None:
            raise ConfigError("--into-bundle writes into the bundle, without --out, --int8, --data")
        _write_form(console, bundle)
        return
    if out is None:
        raise ConfigError("nowhere to write", hint="Give --out model.onnx, or --into-bundle")
    evaluation = None if data is None else load_split(data, split)[0]
    trained = load_trained(bundle, runtime="torch")
    if not isinstance(trained.network, SedNetwork | Tagger):
        raise typer.BadParameter(f"{bundle} is exported already", param_hint="BUNDLE")
    with console.status("") as status:
        report = export_network(
            trained.network,
            trained.postprocess.to_dict(),
            out,
            source=f"{Path(bundle).name} {trained.fingerprint}",
            int8=int8,
            opset=opset,
            repeats=repeats,
            stage=status.update,
        )
        loss = None
        if evaluation is not None:
            loss = measure_loss(
                report,
                trained.network,
                evaluation,
                trained.postprocess,
                lambda name, done, of: status.update(f"evaluating {name}: {done} of {of} clips"),
            )
    path = write_report(report, loss)
    console.print(report_view(report, loss))
    say(console, f"report: {path}")


def _write_form(console: Console, bundle: str) -> None:
    from earmark.deliver.onnx.form import write_form

    with console.status("translating and comparing"):
        report = write_form(bundle)
    say(
        console,
        f"{report.folder}: ONNX form of {report.megabytes:.2f} MB; largest difference of a score "
        f"{report.windows:.1e} in windows, {report.recording:.1e} in a recording",
    )


def report_view(report: ExportReport, loss: dict[str, Any] | None = None) -> Table:
    """What was measured, one row per file."""
    batch = report.files[0].speed[-1].batch
    figures = list(loss["by_precision"]["torch"]) if loss else []
    caption = f"{report.parameters:,} parameters, {report.threads} threads; times against PyTorch"
    if loss:
        caption += f"; {loss['clips']} of {loss['of']} clips, fingerprint {loss['fingerprint']}"
    table = Table(title=f"Export of {report.source}", title_justify="left", caption=caption)
    table.add_column("file", no_wrap=True)
    for heading in ("MB", "largest difference", "1 window", f"{batch} windows", *figures):
        table.add_column(heading, justify="right")

    def values(precision: str) -> list[str]:
        return [f"{loss['by_precision'][precision][name]:.3f}" for name in figures] if loss else []

    if loss:
        table.add_row("PyTorch", "", "", "", "", *values("torch"))
    for file in report.files:
        speeds = [f"{speed.exported * 1e3:.1f} ms, {speed.ratio:.2f}×" for speed in file.speed]
        difference = f"{file.parity.largest:.1e} of {file.parity.spread:.2f}"
        size = f"{file.megabytes:.2f}"
        table.add_row(file.path.name, size, difference, *speeds, *values(file.precision))
    return table
