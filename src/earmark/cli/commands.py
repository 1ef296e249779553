"""The commands by name, each imported when it is asked for: the first page of the help is fast."""

from __future__ import annotations

from collections.abc import Iterator, MutableMapping
from importlib import import_module
from typing import Any, NamedTuple

import typer
from typer.core import TyperGroup

HELP_OPTIONS = ["-h", "--help"]


class CommandPlace(NamedTuple):
    """Where a command is: a module of this room, its function, and the function's first line."""

    module: str
    function: str
    summary: str


COMMANDS = {
    "synth": CommandPlace(
        "synth", "synth",
        "Write a dataset of 10-second soundscapes with exact labels, in DESED's layout.",
    ),
    "import-labels": CommandPlace(
        "import_labels", "import_labels",
        "Make a dataset from recordings labelled in Audacity, Raven, ELAN or a table.",
    ),
    "cache": CommandPlace(
        "cache", "cache",
        "Copy a dataset with its recordings at 16 kHz, mono, 16 bit, so that training reads "
        "faster.",
    ),
    "pretrain": CommandPlace(
        "pretrain", "pretrain", "Pretrain ATST-Frame on recordings without labels."
    ),
    "doctor": CommandPlace(
        "doctor", "doctor",
        "Check a dataset: what is missing, damaged, mislabelled or leaks, and how to fix it.",
    ),
    "train": CommandPlace(
        "train", "train", "Train a detector on strong, weak and unlabelled clips."
    ),
    "report": CommandPlace(
        "report", "report",
        "Make the page of a training run again: curves, figures by class, warnings, settings.",
    ),
    "recipes": CommandPlace(
        "train", "recipes", "List the shipped recipes, or print one in full, defaults included."
    ),
    "evaluate": CommandPlace(
        "evaluate", "evaluate",
        "Score a bundle on a labelled split: what it finds, false alarms, PSDS, the F1 family.",
    ),
    "score": CommandPlace(
        "score", "score",
        "Score any system's predictions: what it finds, false alarms, PSDS, the F1 family.",
    ),
    "tune": CommandPlace(
        "tune", "tune",
        "Tune a bundle's post-processing on labelled clips: cSEBB or median filters, by class.",
    ),
    "pseudo-label": CommandPlace(
        "pseudo_label", "pseudo_label",
        "Label a dataset's unlabelled clips by what bundles find in them, to train on.",
    ),
    "detect": CommandPlace("detect", "detect", "Detect the events in recordings of any length."),
    "review": CommandPlace(
        "review", "review",
        "Make a page to look at, listen to and correct what a bundle finds in recordings.",
    ),
    "suggest": CommandPlace(
        "suggest", "suggest",
        "Find what to label next: the stretches of recordings that would teach a bundle most.",
    ),
    "summary": CommandPlace(
        "summary", "summary",
        "Count events and their seconds by class, recording, hour and day.",
    ),
    "app": CommandPlace(
        "app_page", "app",
        "Serve a page to drop recordings on: events as picture, table, sound and files.",
    ),
    "listen": CommandPlace(
        "listen", "listen",
        "Print events while audio arrives, one line each, as soon as they are final.",
    ),
    "info": CommandPlace(
        "info", "info",
        "Print what a bundle detects, and how: classes, thresholds, windows, scores, licence.",
    ),
    "import": CommandPlace(
        "checkpoints", "import_checkpoint",
        "Convert published ATST-SED, ATST-Frame and YAMNet checkpoints, or ours into theirs.",
    ),
    "export": CommandPlace(
        "export", "export", "Export a bundle to one ONNX file: waveform in, scores out."
    ),
    "demo": CommandPlace(
        "demo", "demo", "Learn from few labels, score and detect, end to end, in a few minutes."
    ),
}  # fmt: skip


class _Loading(MutableMapping[str, Any]):
    """Commands that are made when they are first asked for."""

    def __init__(self) -> None:
        self._made: dict[str, Any] = {}

    def __getitem__(self, name: str) -> Any:
        if name not in self._made:
            self._made[name] = _command(name, COMMANDS[name])
        return self._made[name]

    def __setitem__(self, name: str, command: Any) -> None:
        self._made[name] = command

    def __delitem__(self, name: str) -> None:
        raise TypeError("commands are not taken away")

    def __iter__(self) -> Iterator[str]:
        return iter(COMMANDS)

    def __len__(self) -> int:
        return len(COMMANDS)

    def __contains__(self, name: object) -> bool:
        return name in COMMANDS


def _command(name: str, place: CommandPlace) -> Any:
    from earmark.cli.options import accepting_old_spellings

    function = getattr(import_module(f"earmark.cli.{place.module}"), place.function)
    app = typer.Typer(
        add_completion=False, rich_markup_mode="markdown", pretty_exceptions_enable=False
    )
    settings = {"help_option_names": HELP_OPTIONS, **accepting_old_spellings(name)}
    app.command(name, context_settings=settings)(function)
    return typer.main.get_command(app)


class CommandGroup(TyperGroup):
    """All commands; only the one that runs is imported."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self.commands = _Loading()

    def list_commands(self, ctx: Any) -> list[str]:
        """Their names, in the order of the work."""
        return list(COMMANDS)

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """Writes a line for each into the help."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, place.summary) for name, place in COMMANDS.items()])
