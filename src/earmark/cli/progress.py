"""Progress on a terminal: bars, and a line for every validation."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Column

from earmark.cli.console import note

_LONG = 10_000  # frames of a recording that gets a bar of its own, some ten minutes
SHOWN = {
    "loss": "loss",
    "teacher_std": "std",
    "mean_teacher": "mt",
    "pseudo_label": "pl",
    "embedding": "emb",
}


FIRST_STEPS = 5


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
    """A bar with the losses that matter, a line for every validation, and the time expected.

    That is said after the first steps, which are the slowest ones where tokens are kept. The run's
    report is made anew after every epoch.

    Args:
        console: Where to write.
        title: Name of the run.
        steps: Optimiser steps of the whole run.
        done: Steps taken before, when resuming.
        folder: Run folder, whose report is kept up to date; none by default.
    """

    def __init__(
        self, console: Console, title: str, steps: int, done: int = 0, folder: Path | None = None
    ) -> None:
        self.console = console
        self.title = title
        self._folder = folder
        self._means: dict[str, float] = {}
        self._began: tuple[int, float] | None = None
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
        now = time.monotonic()
        if self._began is None:  # the first step also loads and lays out
            self._began = step, now
        elif step == self._began[0] + FIRST_STEPS:
            seconds = (now - self._began[1]) / FIRST_STEPS
            left = f"{steps - step} steps of {seconds:.{int(seconds < 10)}f} s, and validations"
            self.console.print(f"  about {_duration(seconds * (steps - step))} to go: {left}")
        for name in SHOWN:
            if name in figures:
                old = self._means.get(name, figures[name])
                self._means[name] = 0.95 * old + 0.05 * figures[name]
        losses = " ".join(f"{SHOWN[name]} {value:.3f}" for name, value in self._means.items())
        self._bar.update(self._task, completed=step, losses=losses)

    def on_epoch(self, record: dict[str, Any]) -> None:
        """Print validation figures where the epoch had them; write the report."""
        for name, metrics in record.get("validation", {}).items():
            self.console.print(
                f"  {self.title} · epoch {record['epoch']:>3} · {name:<7} "
                f"PSDS1 {metrics['psds1']:.3f}  PSDS2 {metrics['psds2']:.3f}  "
                f"collar F1 {metrics['collar_f1']:.3f}"
            )
        if self._folder is not None:
            self._write_report(self._folder)

    def _write_report(self, folder: Path) -> None:
        """A report that cannot be written is no reason to end the training."""
        from earmark.core.errors import EarmarkError
        from earmark.deliver.pages.run_report import write_run_report

        try:
            write_run_report(folder)
        except EarmarkError as error:
            note(self.console, f"no report of this run from now on: {error}")
            self._folder = None


def _duration(seconds: float) -> str:
    """A time in the largest unit that it has two of."""
    for unit, name in ((3600.0, "h"), (60.0, "min")):
        if seconds >= 2 * unit:
            return f"{seconds / unit:.0f} {name}"
    return f"{seconds:.0f} s"


class BatchBars:
    """Progress of a batch on standard error: a bar for all recordings, one for each long one."""

    def __init__(self) -> None:
        console = Console(stderr=True)
        self._bar = Progress(
            TextColumn("[bold]{task.description}"),
            BarColumn(bar_width=30),
            TextColumn("{task.percentage:>3.0f} %"),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            console=console,
            transient=True,
            disable=not console.is_terminal,
            redirect_stdout=False,  # to a pipe goes what is found
        )
        self._all: TaskID | None = None
        self._own: dict[Path, TaskID] = {}

    def __enter__(self) -> BatchBars:
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def planned(self, waiting: int, before: int) -> None:
        """Shows the bar of all recordings."""
        self._all = self._bar.add_task("recordings", total=waiting, visible=waiting > 1)

    def progress(self, path: Path, frames: int, total: int) -> None:
        """Shows the bar of a recording, if it is a long one."""
        if total < _LONG:
            return
        if path not in self._own:
            self._own[path] = self._bar.add_task(escape(path.name))
        self._bar.update(self._own[path], completed=frames, total=total)

    def finished(self, path: Path, reason: str) -> None:
        """Advances the bar of all."""
        if path in self._own:
            self._bar.remove_task(self._own.pop(path))
        if self._all is not None:
            self._bar.advance(self._all)

    @contextmanager
    def hidden(self) -> Iterator[None]:
        """No bars, so that something can be printed on the same terminal."""
        self._bar.stop()
        yield
        self._bar.start()
