"""Progress on a terminal: bars, and a line for every validation."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeRemainingColumn,
)
from rich.table import Column

SHOWN = {
    "loss": "loss",
    "teacher_std": "std",
    "mean_teacher": "mt",
    "pseudo_label": "pl",
    "embedding": "emb",
}


@contextmanager
def counting(title: str) -> Iterator[Callable[[int, int], None]]:
    """A bar on standard error, called with (done, in all); nothing where there is no terminal."""
    console = Console(stderr=True)
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(compact=True),
    )
    with Progress(
        *columns, console=console, transient=True, disable=not console.is_terminal
    ) as bar:
        task = bar.add_task(title, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


class TrainingProgress:
    """A bar with the losses that matter, and a line for every validation.

    Args:
        console: Where to write.
        title: Name of the run.
        steps: Optimiser steps of the whole run.
        done: Steps taken before, when resuming.
    """

    def __init__(self, console: Console, title: str, steps: int, done: int = 0) -> None:
        self.console = console
        self.title = title
        self._means: dict[str, float] = {}
        self._bar = Progress(
            TextColumn("[bold]{task.description}", table_column=Column(no_wrap=True)),
            BarColumn(bar_width=None, table_column=Column(ratio=1)),
            MofNCompleteColumn(),
            TimeRemainingColumn(compact=True),
            TextColumn("{task.fields[losses]}", table_column=Column(no_wrap=True)),
            console=console,
            expand=True,
        )
        self._task = self._bar.add_task(title, total=steps, completed=done, losses="")

    def __enter__(self) -> TrainingProgress:
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def on_step(self, step: int, steps: int, figures: dict[str, float]) -> None:
        """Advance; losses are shown smoothed over some twenty steps."""
        for name in SHOWN:
            if name in figures:
                old = self._means.get(name, figures[name])
                self._means[name] = 0.95 * old + 0.05 * figures[name]
        losses = " ".join(f"{SHOWN[name]} {value:.3f}" for name, value in self._means.items())
        self._bar.update(self._task, completed=step, losses=losses)

    def on_epoch(self, record: dict[str, Any]) -> None:
        """Print validation figures where the epoch had them."""
        for name, metrics in record.get("validation", {}).items():
            self.console.print(
                f"  {self.title} · epoch {record['epoch']:>3} · {name:<7} "
                f"PSDS1 {metrics['psds1']:.3f}  PSDS2 {metrics['psds2']:.3f}  "
                f"collar F1 {metrics['collar_f1']:.3f}"
            )
