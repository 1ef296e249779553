"""The command line: thin commands; each imports what it needs when it runs."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import typer

from earmark._version import __version__
from earmark.cli.cache import cache
from earmark.cli.checkpoints import import_checkpoint
from earmark.cli.demo import demo
from earmark.cli.detect import detect
from earmark.cli.doctor import doctor
from earmark.cli.evaluate import evaluate
from earmark.cli.export import export
from earmark.cli.import_labels import import_labels
from earmark.cli.info import info
from earmark.cli.listen import listen
from earmark.cli.options import accepting_old_spellings
from earmark.cli.pretrain import pretrain
from earmark.cli.review import review
from earmark.cli.score import score
from earmark.cli.synth import synth
from earmark.cli.train import recipes, train
from earmark.cli.tune import tune
from earmark.core.errors import EarmarkError

app = typer.Typer(
    name="earmark",
    help="Find out what sounds when: sound event detection that learns from few labels.",
    no_args_is_help=True,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
_COMMANDS: dict[str, Callable[..., None]] = {
    "synth": synth,
    "import-labels": import_labels,
    "cache": cache,
    "pretrain": pretrain,
    "doctor": doctor,
    "train": train,
    "recipes": recipes,
    "evaluate": evaluate,
    "score": score,
    "tune": tune,
    "detect": detect,
    "review": review,
    "listen": listen,
    "info": info,
    "import": import_checkpoint,
    "export": export,
    "demo": demo,
}
for _name, _function in _COMMANDS.items():
    app.command(_name, context_settings=accepting_old_spellings(_name))(_function)

_UsageError: Any = typer.BadParameter.__mro__[1]
"""What the parser raises for a wrong command line."""


def _version(value: bool) -> None:
    if value:
        typer.echo(f"earmark {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: bool = typer.Option(
        False, "--version", callback=_version, is_eager=True, help="Print the version and exit."
    ),
) -> None:
    pass


def main() -> None:
    """Run the command line; a user's mistake is one line on standard error and exit code 2."""
    code: Any = 0
    try:
        code = app(standalone_mode=False)
    except _UsageError as error:
        code = 2
        if sys.argv[1:]:
            what = error.format_message().replace("Value error, ", "").rstrip(".")
            command = error.ctx.command_path if error.ctx else "earmark"
            _print_error(f"{what}. Try {command} --help")
    except EarmarkError as error:
        code = 2
        _print_error(str(error))
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in ("torch", "lightning_fabric"):
            raise
        code = 2
        command = sys.argv[1]
        extra = "export" if command == "export" else "train"
        _print_error(f'earmark {command} needs PyTorch: pip install "earmark[{extra}]"')
    except (KeyboardInterrupt, typer.Abort):
        code = 130
    if code == 130:
        _print_error("interrupted")
    sys.exit(code)


def _print_error(text: str) -> None:
    typer.secho(f"earmark: {' '.join(text.split())}", fg="red", err=True)
