"""``earmark demo``: the whole workflow in a few minutes."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table

from earmark.cli.options import Overrides
from earmark.cli.progress import TrainingProgress, counting

if TYPE_CHECKING:
    from earmark.deliver.demo import DemoResult

ROWS = {
    "supervised": "supervised only, same number of steps",
    "student": "semi-supervised, student",
    "teacher": "semi-supervised, teacher",
    "shipped": "shipped bundle 'home', trained longer",
}


def demo(
    out: Annotated[
        Path, typer.Option("--out", "-o", help="Write data, runs and results to this folder.")
    ] = Path("runs/demo"),
    seed: Annotated[int, typer.Option(min=0, help="Seed of data, training and recording.")] = 0,
    workers: Annotated[
        int, typer.Option(min=0, help="Number of processes that synthesise; 0 for one per core.")
    ] = 2,
    set_: Overrides = None,
) -> None:
    """Learn from few labels, score and detect, end to end, in a few minutes.

    Synthesises soundscapes of ten household sounds, trains a small network beside the pretrained
    encoder YAMNet on the labels alone and then again with the unlabelled clips by conditional
    mixup and a mean teacher, and prints scores on soundscapes of another domain. Then it lists
    what the best of them finds in a recording no run has seen. Leaves `metrics.json`,
    `events.tsv`, `events.txt` (Audacity), `events.png` and `bundle/` in the folder.
    """
    from earmark.core.parallel import available_cores
    from earmark.deliver.demo import run_demo

    console = Console()
    result = run_demo(
        out,
        seed=seed,
        workers=workers or available_cores(),
        overrides=set_ or [],
        bar=counting,
        training=lambda title, recipe: TrainingProgress(console, title, recipe.train.steps),
    )
    _print(console, result, out)


def _print(console: Console, result: DemoResult, out: Path) -> None:
    figures = {"psds1": "PSDS1", "psds2": "PSDS2", "collar_f1": "collar F1"}
    clips = result.metrics["teacher"]["clips"]
    table = Table("", *figures.values(), title=f"{clips} unseen soundscapes of the other domain")
    for row, title in ROWS.items():
        table.add_row(title, *(f"{result.metrics[row][name]:.3f}" for name in figures))
    console.print(table)
    events = Table(
        "onset", "offset", "event", "score", title=f"Events in {out}/recording.wav: {result.best}"
    )
    for onset, offset, label, score in result.detection.found:
        events.add_row(f"{onset:.2f}", f"{offset:.2f}", label, f"{score:.2f}")
    console.print(events)
    found, true = len(result.detection.found), len(result.truth)
    console.print(
        f"{found} events found, {true} in the truth. Open {out}/events.png (wrong ones hatched, "
        f"missed ones dashed), or load {out}/events.txt with the recording in Audacity."
    )
    console.print(f"Your own recordings: earmark detect {result.bundle} FILE")
