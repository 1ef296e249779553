"""The command line: thin commands; each imports what it needs when it runs."""

from __future__ import annotations

import sys

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
from earmark.cli.listen import listen
from earmark.cli.pretrain import pretrain
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
app.command("synth")(synth)
app.command("import-labels")(import_labels)
app.command("cache")(cache)
app.command("pretrain")(pretrain)
app.command("doctor")(doctor)
app.command("train")(train)
app.command("recipes")(recipes)
app.command("evaluate")(evaluate)
app.command("score")(score)
app.command("tune")(tune)
app.command("detect")(detect)
app.command("listen")(listen)
app.command("import")(import_checkpoint)
app.command("export")(export)
app.command("demo")(demo)


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
    try:
        app()
    except EarmarkError as error:
        typer.secho(f"earmark: {error}", fg="red", err=True)
        sys.exit(2)
    except KeyboardInterrupt:
        typer.secho("earmark: interrupted", fg="red", err=True)
        sys.exit(130)
