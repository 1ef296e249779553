"""What commands have in common: notes, failures, files of figures, plots."""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer
from rich.console import Console
from rich.markup import escape

if TYPE_CHECKING:
    from earmark.score.report import Measurement

_SHOWN = 20
"""Failures that are named one by one."""


def command_line() -> str:
    """The command as it was typed."""
    return shlex.join(["earmark", *sys.argv[1:]])


def say(console: Console, text: str) -> None:
    """Prints a line as it is: unbroken, no markup."""
    console.print(text, soft_wrap=True, highlight=False, markup=False)


def note(console: Console, text: str, title: str = "note") -> None:
    """Prints something a user should know."""
    console.print(f"[yellow]{title}:[/] {escape(text)}", soft_wrap=True, highlight=False)


def exit_if_failed(failures: Mapping[str, str], hint: str = "", what: str = "failed") -> None:
    """Names on standard error what failed, and exits with 1; does nothing where nothing failed."""
    if not failures:
        return
    for name, reason in list(failures.items())[:_SHOWN]:
        line = reason if Path(name).name in reason else f"{name}: {reason}"
        typer.secho(f"failed: {line}", fg="red", err=True)
    more = f" ({len(failures) - _SHOWN:,} more than shown)" if len(failures) > _SHOWN else ""
    typer.secho(f"{len(failures):,} {what}{more}. {hint}".rstrip(". "), fg="red", err=True)
    raise typer.Exit(1)


def write_json(path: Path, found: Mapping[str, Any]) -> None:
    """Writes figures; the file appears whole or not at all.

    Raises:
        EarmarkError: If it cannot be written.
    """
    from earmark.core.errors import EarmarkError
    from earmark.core.files import write_text

    try:
        write_text(path, json.dumps(found, indent=2, ensure_ascii=False) + "\n")
    except OSError as error:
        raise EarmarkError(f"cannot be written ({error.strerror})", where=path) from None


def plot(
    console: Console,
    folder: Path | None,
    systems: Sequence[tuple[str, Mapping[str, Any], Sequence[Measurement]]],
    *,
    wanted: bool | None = True,
) -> None:
    """Draws the curves of systems into a folder; by default (None) if matplotlib is installed."""
    if folder is None or wanted is False or (wanted is None and not can_plot()):
        return
    from earmark.deliver.pictures.score_plots import Pictured, plot_scores

    paths = plot_scores(folder, [Pictured(*system) for system in systems])
    say(console, f"pictures: {', '.join(map(str, paths))}")


def can_plot() -> bool:
    """Whether matplotlib is installed."""
    return find_spec("matplotlib") is not None
