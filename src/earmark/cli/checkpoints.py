"""``earmark import``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from earmark.cli.console import command_line, note

if TYPE_CHECKING:
    from earmark.model.published.convert import Clamp, Conversion


def import_checkpoint(
    checkpoint: Annotated[
        Path, typer.Argument(help="Published checkpoint; with --to official, a bundle of Earmark.")
    ],
    out: Annotated[
        Path,
        typer.Option("--out", "-o", help="Write to this folder; with --to official, to this file."),
    ],
    which: Annotated[
        Literal["student", "teacher"] | None,
        typer.Option(help="Take only this network; by default both, detecting with the teacher."),
    ] = None,
    db_clamp: Annotated[
        str,
        typer.Option(
            metavar="LOW,HIGH|none|layout",
            help="Clamp the encoder's log-mel to this range in dB; layout: as it was trained.",
        ),
    ] = "layout",
    labels: Annotated[
        Path | None,
        typer.Option(help="File of class names, one per line in index order, for other classes."),
    ] = None,
    drop_blocks: Annotated[
        int,
        typer.Option(min=0, help="Leave out so many of an encoder's highest blocks."),
    ] = 0,
    to: Annotated[
        Literal["bundle", "official"],
        typer.Option(help="Convert to a bundle of Earmark, or to ATST-SED's official layout."),
    ] = "bundle",
) -> None:
    """Convert published ATST-SED, ATST-Frame and YAMNet checkpoints, or ours into theirs.

    The layout is recognised by the names of its tensors, and every tensor must be there and fit.

    - **Detectors** (ATST-SED stage 1 and 2, CPJKU's DCASE 2024 networks) become bundles:
      `earmark detect OUT recording.wav`. Student and teacher are both kept, so that a
      second stage can start from them.
    - **Encoders** (ATST-Frame, self-supervised or fine-tuned on AudioSet; clip-to-frame distilled;
      ATST-Clip; PretrainedSED's ATST-F) become folders that training starts from:
      `earmark train atst-sed-stage1 --init OUT …`. So do YAMNet's SavedModel (its folder) and
      yamnet.h5: `earmark train own --init OUT …`.
    - `earmark import BUNDLE --to official --out model.ckpt` writes ATST-SED's own layout.

    No code in a file is ever run: only tensors and plain values are read.
    """
    from earmark.core.errors import ConfigError
    from earmark.model.published.convert import export_checkpoint, import_checkpoint

    if to == "official":
        if which or labels or drop_blocks or db_clamp != "layout":
            raise ConfigError("--which, --labels, --db-clamp and --drop-blocks need --to bundle")
        show(Console(), export_checkpoint(checkpoint, out))
        return
    report = import_checkpoint(
        checkpoint,
        out,
        which=which,
        db_clamp=parse_clamp(db_clamp),
        labels=_read_labels(labels),
        drop_blocks=drop_blocks,
        command=command_line(),
    )
    show(Console(), report)


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
    from earmark.core.files import read_text

    if path is None:
        return None
    lines = read_text(path).splitlines()
    return [line.strip() for line in lines if line.strip()]


def show(console: Console, report: Conversion) -> None:
    """Prints what was found, what was left out, and where it was written."""
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
    for text in report.notes:
        note(console, text)
