"""``earmark import``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from rich.console import Console

    from earmark.model.published.convert import Clamp, Conversion


def import_checkpoint(
    checkpoint: Annotated[
        Path, typer.Argument(help="A published checkpoint; with --to official, a bundle of ours.")
    ],
    out: Annotated[Path, typer.Option(help="Folder to make; with --to official, file to write.")],
    which: Annotated[
        str | None,
        typer.Option(help="student or teacher: that network alone. The teacher is preferred."),
    ] = None,
    db_clamp: Annotated[
        str,
        typer.Option(
            metavar="LOW,HIGH|none|layout",
            help="Clamp of the encoder's log-mel in dB; as the layout was trained, by default.",
        ),
    ] = "layout",
    labels: Annotated[
        Path | None,
        typer.Option(help="File of class names, one a line in index order, for other classes."),
    ] = None,
    to: Annotated[
        str, typer.Option(help="bundle converts to ours; official converts ours to theirs.")
    ] = "bundle",
) -> None:
    """Convert published ATST-SED and ATST-Frame checkpoints, or ours into theirs.

    The layout is recognised by the names of its tensors, and every tensor must be there and fit.

    - **Detectors** (ATST-SED stage 1 and 2, CPJKU's DCASE 2024 networks) become bundles:
      `earmark detect OUT recording.wav`. Student and teacher are both kept, for a second stage to
      start from.
    - **Encoders** (ATST-Frame, self-supervised or fine-tuned on AudioSet; clip-to-frame distilled;
      ATST-Clip; PretrainedSED's ATST-F) become folders that training starts from:
      `earmark train atst-sed-stage1 --init OUT …`.
    - `earmark import BUNDLE --to official --out model.ckpt` writes ATST-SED's own layout.

    Nothing in a file is ever run: only tensors and plain values are read.
    """
    import shlex
    import sys

    from rich.console import Console

    from earmark.core.errors import ConfigError
    from earmark.model.published.convert import export_checkpoint, import_checkpoint

    console = Console()
    command = shlex.join(["earmark", *sys.argv[1:]])
    if to == "official":
        if which or labels or db_clamp != "layout":
            raise ConfigError("--which, --labels and --db-clamp are for --to bundle")
        show(console, export_checkpoint(checkpoint, out))
        return
    if to != "bundle":
        raise ConfigError(f"--to {to}", hint="Say bundle or official")
    if which not in (None, "student", "teacher"):
        raise ConfigError(f"--which {which}", hint="Say student or teacher")
    report = import_checkpoint(
        checkpoint,
        out,
        which=which,
        db_clamp=parse_clamp(db_clamp),
        labels=_read_labels(labels),
        command=command,
    )
    show(console, report)


def parse_clamp(text: str) -> Clamp | str:
    """``layout``, ``none`` or two decibel values.

    Raises:
        ConfigError: It is none of these.
    """
    from earmark.core.errors import ConfigError

    if text == "layout":
        return text
    if text == "none":
        return None
    try:
        low, high = (float(part) for part in text.split(","))
    except ValueError:
        low, high = 0.0, 0.0
    if not low < high:
        raise ConfigError(f"--db-clamp {text}", hint="Use LOW,HIGH, e.g. -50,80; none; or layout")
    return low, high


def _read_labels(path: Path | None) -> list[str] | None:
    from earmark.core.errors import LabelError

    if path is None:
        return None
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise LabelError(f"cannot be read ({error})", where=path) from None
    return [line.strip() for line in lines if line.strip()]


def show(console: Console, report: Conversion) -> None:
    """What was found, what was left, and where it went."""
    from rich.markup import escape
    from rich.table import Table

    table = Table(title=f"{report.layout} → {report.becomes}", show_header=False)
    table.add_column(style="bold")
    table.add_column(overflow="fold")
    table.add_row("taken", f"{report.where}: {report.tensors} tensors")
    table.add_row("parameters", f"{report.parameters:,}")
    for name, value in report.about.items():
        table.add_row(name, escape(value))
    for name, number in report.ignored.items():
        table.add_row("not taken", escape(f"{name} ({number})"))
    table.add_row("written", escape(str(report.out)))
    console.print(table)
    for note in report.notes:
        console.print(f"[yellow]note:[/] {escape(note)}", highlight=False)
