"""The command line: thin commands; each imports what it needs when it runs."""

from __future__ import annotations

import errno
import signal
import sys
from io import TextIOWrapper
from typing import Any

import typer

from earmark._version import __version__
from earmark.cli.commands import HELP_OPTIONS, CommandGroup
from earmark.cli.stopping import StoppedError, stopping
from earmark.core.errors import EarmarkError
from earmark.core.files import DISK

app = typer.Typer(
    name="earmark",
    cls=CommandGroup,
    help="Find out what sounds when: sound event detection that learns from few labels.",
    no_args_is_help=True,
    rich_markup_mode=None,  # rich's help takes as long to import as everything else
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": HELP_OPTIONS},
)

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
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):  # for names that the terminal cannot show
            stream.reconfigure(errors="backslashreplace")
    stopped: list[StoppedError] = []
    try:
        with stopping(_print_stopped) as stopped:
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
    except OSError as error:
        code = 2
        _print_error(_of_system(error))
    except (KeyboardInterrupt, typer.Abort):
        code = 130
    if stopped:
        code = 128 + stopped[0].number
        _print_stopped(stopped[0].number, stopped[0].kept)
    elif code == 130:
        _print_error("interrupted")
    sys.exit(code)


def _of_system(error: OSError) -> str:
    """What the system says, of which file, and what to do."""
    where = f"{error.filename}: " if error.filename is not None else ""
    what = f"{where}{error.strerror or error}"
    if error.errno in DISK - {errno.EROFS}:
        return f"{what}. Make room and run it again: what is finished is kept"
    if error.errno in (errno.EROFS, errno.EACCES, errno.EPERM):
        return f"{what}. Choose a folder that can be written, or correct its permissions"
    return what


def _print_stopped(number: int, kept: str) -> None:
    by = "interrupted" if number == signal.SIGINT else f"stopped by {signal.Signals(number).name}"
    _print_error(f"{by}; {kept}")


def _print_error(text: str) -> None:
    typer.secho(f"earmark: {' '.join(text.split())}", fg="red", err=True)
