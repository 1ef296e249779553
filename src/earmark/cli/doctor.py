"""``earmark doctor``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

_SHOWN = 3
_COLOURS = {"error": "red", "warning": "yellow", "info": "cyan"}


def doctor(
    data: Annotated[
        Path, typer.Argument(help="Dataset: folder in DESED's layout, or YAML that describes it.")
    ],
    json_: Annotated[
        Path | None, typer.Option("--json", help="Write everything found, every file named.")
    ] = None,
    exclude: Annotated[
        Path | None,
        typer.Option(help="Write the training clips to leave out, for --set data.exclude=FILE."),
    ] = None,
    workers: Annotated[
        int, typer.Option(min=0, help="Processes; 0 takes one per available core.")
    ] = 0,
    content: Annotated[
        bool,
        typer.Option("--content/--no-content", help="Decode the recordings, or read headers only."),
    ] = True,
    cache: Annotated[
        bool,
        typer.Option("--cache/--no-cache", help="Remember recordings that have not changed."),
    ] = True,
) -> None:
    """Examine a dataset: what is missing, damaged, mislabelled or leaks, and how to mend it.

    Nothing of the dataset is changed. Recordings are looked at in parallel and remembered by path,
    size and time, so that an interrupted or repeated run goes on where it was.

    Exit code: 0 no errors (there may be warnings), 1 errors found, 2 no such dataset.

    Examples:
    - `earmark doctor ~/DESED/dataset`
    - `earmark doctor data.yaml --json report.json --exclude exclude.tsv`
    """
    import json

    from rich.console import Console

    from earmark.cli.progress import counting
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
    if json_ is not None:
        text = json.dumps(diagnosis.to_dict(), indent=1, ensure_ascii=False) + "\n"
        json_.write_text(text, encoding="utf-8")
    if exclude is not None:
        rows = ["\t".join(row) for row in diagnosis.exclude]
        write_lines(exclude, ["filename\tsource\treason", *rows])
        console.print(f"{len(rows)} clips to exclude: --set data.exclude={exclude}")
    if not diagnosis.healthy:
        raise typer.Exit(1)


def _print(console: Any, diagnosis: Any) -> None:
    """The parts, then the findings, worst first."""
    from rich.markup import escape
    from rich.table import Table

    from earmark.prepare.doctor.catalogue import KINDS

    table = Table("part", "labels", "listed", "there", "readable", "hours", "DESED has")
    for part in diagnosis.parts:
        usual = (
            "" if part.published is None else "–".join(f"{n:,}" for n in sorted({*part.published}))
        )
        table.add_row(
            part.name,
            part.kind,
            f"{part.listed:,}" if part.kind != "unlabelled" else "",
            f"{part.found:,}",
            f"{part.usable:,}",
            f"{part.seconds / 3600:.2f}",
            usual,
        )
    console.print(table)
    for part in diagnosis.parts:
        if part.labels:
            counts = ", ".join(f"{escape(name)} {n:,}" for name, n in part.labels.items())
            console.print(f"[bold]{part.name}[/]: {counts}")
    for finding in diagnosis.findings:
        kind, colour = KINDS[finding.kind], _COLOURS[finding.severity]
        of = f" in {finding.part}" if finding.part else ""
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
        f"{state}; {diagnosis.recordings:,} recordings ({diagnosis.inspected:,} looked at now"
        f"{depth}), fingerprint {diagnosis.fingerprint or 'none: it cannot be used'}"
    )
