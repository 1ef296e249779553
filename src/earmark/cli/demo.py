"""``earmark demo``: the whole road in a few minutes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from earmark.core.training import Recipe
    from earmark.deliver.demo import DemoResult

ROWS = {
    "supervised": "supervised only, same number of steps",
    "student": "semi-supervised, student",
    "teacher": "semi-supervised, teacher",
    "shipped": "shipped bundle 'mini', trained longer",
}


def demo(
    out: Annotated[Path, typer.Option(help="Folder for data, runs and results.")] = Path(
        "runs/demo"
    ),
    seed: Annotated[int, typer.Option(min=0, help="Of data, training and recording.")] = 0,
    workers: Annotated[int, typer.Option(min=1, help="Processes that synthesise.")] = 2,
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="A.B=C", help="Override a setting of both runs."),
    ] = None,
) -> None:
    """Learn from few labels, score and detect, end to end, in a few minutes.

    Synthesises soundscapes of ten household sounds, trains a small network on the labels alone
    and then again with the unlabelled clips by conditional mixup, a mean teacher and the
    embedding loss, and prints scores on soundscapes of another domain. Then it lists the events
    of a recording no run has seen. Leaves `metrics.json`, `events.tsv`, `events.txt` (Audacity),
    `events.png` and `bundle/` in the folder.
    """
    from rich.console import Console

    from earmark.cli.progress import TrainingProgress
    from earmark.deliver.demo import run_demo

    console = Console()

    @contextmanager
    def bar(title: str, total: int) -> Iterator[Callable[[int, int], None]]:
        from rich.progress import Progress

        with Progress(console=console) as shown:
            task = shown.add_task(title, total=total)
            yield lambda done, of: shown.update(task, completed=done, total=of)

    def training(title: str, recipe: Recipe) -> Any:
        return TrainingProgress(console, title, recipe.train.steps)

    result = run_demo(
        out, seed=seed, workers=workers, overrides=set_ or [], bar=bar, training=training
    )
    _print(console, result, out)


def _print(console: Any, result: DemoResult, out: Path) -> None:
    from rich.table import Table

    figures = {"psds1": "PSDS1", "psds2": "PSDS2", "collar_f1": "collar F1"}
    clips = result.metrics["teacher"]["clips"]
    table = Table("", *figures.values(), title=f"{clips} unseen soundscapes of the other domain")
    for row, title in ROWS.items():
        table.add_row(title, *(f"{result.metrics[row][name]:.3f}" for name in figures))
    console.print(table)
    events = Table("onset", "offset", "event", "score", title=f"Events in {out}/recording.wav")
    for onset, offset, label, score in result.detection.found:
        events.add_row(f"{onset:.2f}", f"{offset:.2f}", label, f"{score:.2f}")
    console.print(events)
    found, true = len(result.detection.found), len(result.truth)
    console.print(
        f"{found} events found, {true} are there. Look at {out}/events.png (truth outlined); "
        f"load {out}/events.txt beside the recording in Audacity."
    )
    console.print(f"Your own recordings: earmark detect {result.bundle} FILE --out DIR")
