"""``earmark doctor``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from earmark.cli.console import write_json
from earmark.cli.options import JsonFile, Workers
from earmark.cli.progress import counting

if TYPE_CHECKING:
    from earmark.prepare.doctor.examine import Diagnosis

_SHOWN = 3
_COLOURS = {"error": "red", "warning": "yellow", "info": "cyan"}


def doctor(
    data: Annotated[
        Path, typer.Argument(help="Dataset: a folder in DESED's layout, or a YAML description.")
    ],
    json_file: JsonFile = None,
    exclude: Annotated[
        Path | None,
        typer.Option(
            help="Write the training clips to leave out to this file, for --set data.exclude=FILE."
        ),
    ] = None,
    workers: Workers = 0,
    content: Annotated[
        bool,
        typer.Option("--content/--no-content", help="Decode the recordings, or read headers only."),
    ] = True,
    cache: Annotated[
        bool,
        typer.Option("--cache/--no-cache", help="Skip recordings that have not changed."),
    ] = True,
) -> None:
    """Check a dataset: what is missing, damaged, mislabelled or leaks, and how to fix it.

    The dataset is not changed. Recordings are checked in parallel and remembered by path, size and
    time, so that an interrupted or repeated run continues where it was.

    Exit code: 0 no errors (there may be warnings), 1 errors found, 2 no such dataset.

    Examples:
    - `earmark doctor data/own`
    - `earmark doctor data.yaml --json report.json --exclude exclude.tsv`
    """
    from earmark.core.files import write_lines
    from earmark.core.parallel import available_cores
    from earmark.prepare.doctor.examine import examine
    from earmark.prepare.doctor.recordings import default_cache

    console = Console()
    with counting("recordings") as progress:
        diagnosis = examine(
            data,
            content=content,
            workers=workers or available_cores(),
            cache=default_cache(data) if cache else None,
            progress=progress,
        )
    _print(console, diagnosis)
    if json_file is not None:
        write_json(json_file, diagnosis.to_dict())
    if exclude is not None:
        rows = ["\t".join(row) for row in diagnosis.exclude]
        write_lines(exclude, ["filename\tsource\treason", *rows])
        console.print(f"{len(rows)} clips to exclude: --set data.exclude={exclude}")
    if not diagnosis.healthy:
        raise typer.Exit(1)


def _print(console: Console, diagnosis: Diagnosis) -> None:
    """The subsets, then the findings, worst first."""
    from earmark.prepare.doctor.catalogue import KINDS

    published = ["in DESED"] if diagnosis.desed else []
    table = Table("subset", "labels", "listed", "found", "readable", "hours", *published)
    for subset in diagnosis.subsets:
        usual = "–".join(f"{n:,}" for n in sorted({*(subset.published or ())}))
        table.add_row(
            subset.name,
            subset.kind,
            f"{subset.listed:,}" if subset.kind != "unlabelled" else "",
            f"{subset.found:,}",
            f"{subset.usable:,}",
            f"{subset.seconds / 3600:.2f}",
            *([usual] if published else []),
        )
    console.print(table)
    for subset in diagnosis.subsets:
        if subset.labels:
            counts = ", ".join(f"{escape(name)} {n:,}" for name, n in subset.labels.items())
            console.print(f"[bold]{subset.name}[/]: {counts}")
    for finding in diagnosis.findings:
        kind, colour = KINDS[finding.kind], _COLOURS[finding.severity]
        of = f" in {finding.subset}" if finding.subset else ""
        console.print(
            f"[{colour}]{finding.severity}[/] {len(finding.places):,} {escape(kind.title)}{of} "
            f"[dim]({finding.kind})[/]"
        )
        for place in finding.places[:_SHOWN]:
            where = f"{place.file}:{place.line}" if place.line else place.file
            detail = f": {place.detail}" if place.detail else ""
            console.print(f"    {escape(where + detail)}", soft_wrap=True)
        if len(finding.places) > _SHOWN:
            console.print(f"    … and {len(finding.places) - _SHOWN:,} more (--json names all)")
        console.print(f"    [green]hint:[/] {escape(kind.hint)}")
    state = "[green]no errors[/]" if diagnosis.healthy else "[red]errors found[/]"
    depth = "" if diagnosis.content else ", headers only"
    console.print(
        f"{state}; {diagnosis.recordings:,} recordings ({diagnosis.inspected:,} checked now"
        f"{depth}), fingerprint {diagnosis.fingerprint or 'none: the dataset cannot be used'}"
    )
