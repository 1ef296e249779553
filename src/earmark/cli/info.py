"""``earmark info``: what a bundle detects, and how."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from earmark.cli.console import say
from earmark.cli.options import Bundle, Classes

if TYPE_CHECKING:
    from earmark.detect.network import Trained


def info(bundle: Bundle, classes: Classes = None) -> None:
    """Print what a bundle detects: its classes with number, identifier and threshold.

    Each of the three names a class to `--classes` of `earmark detect` and `earmark listen`.

    Examples:
    - `earmark info mini`
    - `earmark info audioset --classes 'Dog,"Water tap, faucet"'`
    """
    from earmark.core.class_names import find_classes
    from earmark.core.spec import spec_of
    from earmark.detect.network import load_trained

    trained = load_trained(bundle, "cpu")
    spec = spec_of(trained.network)
    shown = find_classes(classes, spec.labels, spec.ids) if classes else range(len(spec.labels))
    table = Table("number", *(["identifier"] if spec.ids else []), "class", "threshold")
    for number in shown:
        label = spec.labels[number]
        identifier = [spec.ids[number]] if spec.ids else []
        threshold = trained.postprocess.for_label(label).threshold
        table.add_row(str(number), *identifier, escape(label), f"{threshold:.2f}")
    console = Console()
    console.print(table)
    say(console, _about(trained))


def _about(trained: Trained) -> str:
    from earmark.core.spec import spec_of

    spec = spec_of(trained.network)
    card = Path(trained.path) / "README.md"
    return (
        f"{len(spec.labels)} classes, frames of {spec.grid.seconds * 1000:g} ms, windows of "
        f"{spec.window / spec.sample_rate:g} s, {trained.postprocess.method} post-processing, "
        f"fingerprint {trained.fingerprint}" + (f"; card: {card}" if card.is_file() else "")
    )
