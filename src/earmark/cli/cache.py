"""``earmark cache``: a dataset at 16 kHz, resampled once."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

_SHOWN = 10  # failures named one by one


def cache(
    data: Annotated[Path, typer.Argument(help="Folder of the dataset, or its .yaml description.")],
    out: Annotated[
        Path, typer.Option(help="Folder of the copy; new, or begun before, and not in the dataset.")
    ],
    format: Annotated[
        str, typer.Option(help="flac; or wav, twice the size and read many times as fast.")
    ] = "flac",
    workers: Annotated[
        int, typer.Option(min=0, help="Processes; 0 takes one per available core.")
    ] = 0,
    verify: Annotated[
        bool, typer.Option("--verify", help="Only check the copy: decode all of it and compare.")
    ] = False,
) -> None:
    """Copy a dataset with its recordings at 16 kHz, mono, 16 bit, so that training reads faster.

    Recordings of any rate, format and number of channels become FLAC of the same name, label files
    are copied, folders stay: the copy is a dataset itself, to be given to `--data`. Where DESED's
    folders lie in two copies (`weak` and `weak_16k`), the 16-kHz one is taken. Every file is
    decoded again and compared before it takes its place. Run it again to go on where it stopped,
    or to follow changes of the dataset; recordings that cannot be read are listed, and the exit
    code is 1.

    Examples:
    - `earmark cache ~/DESED/dataset --out data/desed16k`
    - `earmark train mini --data data/desed16k --out runs/mine`
    - `earmark cache ~/DESED/dataset --out data/desed16k --verify`
    """
    from earmark.cli.progress import counting
    from earmark.core.errors import ConfigError
    from earmark.core.parallel import available_cores
    from earmark.prepare.cache import FORMATS, failures_table, verify_cache, write_cache

    chosen = next((name for name in FORMATS if name == format), None)
    if chosen is None:
        raise ConfigError(f"--format: {format!r} is none of {', '.join(FORMATS)}")
    processes = workers or available_cores()
    if verify:
        with counting("files") as progress:
            files, faults = verify_cache(out, workers=processes, progress=progress)
        typer.echo(f"{out}: {files - len(faults):,} of {files:,} files are as they were written")
        _tell(faults, "Run `earmark cache` again to make these anew.")
        return
    with counting("recordings") as progress:
        report = write_cache(data, out, format=chosen, workers=processes, progress=progress)
    table = out.with_name(f"{out.name}-failures.tsv")
    table.unlink(missing_ok=True)
    if report.failed:
        text = "".join(f"{line}\n" for line in failures_table(report.failed))
        table.write_text(text, encoding="utf-8")
    typer.echo(_summary(out, report))
    _tell(report.failed, f"All are in {table}; mend or remove them and run this again.")


def _tell(faults: dict[str, str], hint: str) -> None:
    """Name what failed, some of it, and exit with 1; nothing where nothing did."""
    if not faults:
        return
    for name, reason in sorted(faults.items())[:_SHOWN]:
        typer.secho(f"{name}: {reason}", fg="red", err=True)
    more = f"and {len(faults) - _SHOWN:,} more. " if len(faults) > _SHOWN else ""
    typer.secho(f"{more}{len(faults):,} failed. {hint}", fg="red", err=True)
    raise typer.Exit(1)


def _summary(out: Path, report: Any) -> str:
    """What was done, in a few lines."""
    recordings = report.made + report.kept
    gib = 2**30
    lines = [
        f"{out}: {recordings:,} recordings ({report.made:,} made, {report.kept:,} there before), "
        f"{report.seconds / 3600:.1f} h; {report.bytes_before / gib:.2f} GiB became "
        f"{report.bytes_after / gib:.2f} GiB; {report.copied:,} label files"
    ]
    if report.superseded:
        lines.append(f"{report.superseded:,} recordings have a 16-kHz copy in a _16k folder: used")
    if report.removed:
        lines.append(f"{len(report.removed):,} files removed, their source is gone")
    if report.limited:
        lines.append(f"{report.limited:,} recordings had peaks beyond full scale, limited")
    if report.ignored:
        lines.append(f"{report.ignored:,} files of other kinds left out")
    lines.append(f"use it: earmark train mini --data {report.use} --out runs/mine")
    return "\n".join(lines)
