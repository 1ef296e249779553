"""``earmark report``: the page of a run, from its journal."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from earmark.cli.console import say


def report(
    run: Annotated[Path, typer.Argument(help="Folder of earmark train or earmark pretrain.")],
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", help="Write this file; RUN/report.html by default."),
    ] = None,
) -> None:
    """Make the page of a training run again: curves, figures by class, warnings, settings.

    `earmark train` keeps it up to date as it is; this makes it of a run of version 0.1, or one
    that was copied without it. It needs the run's journal alone.

        earmark report runs/own

        earmark report runs/own --out own.html
    """
    from earmark.deliver.pages.run_report import write_run_report

    say(Console(), f"open {write_run_report(run, out)} in a browser")
