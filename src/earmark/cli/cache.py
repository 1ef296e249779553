"""``earmark cache``: a dataset at 16 kHz, resampled once."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from earmark.cli.console import exit_if_failed
from earmark.cli.options import Workers
from earmark.cli.progress import counting


def cache(
    data: Annotated[
        Path, typer.Argument(help="Dataset: a folder in DESED's layout, or a YAML description.")
    ],
    out: Annotated[
        Path,
        typer.Option(
            "--out",
            "-o",
            help="Write the copy to this folder outside the dataset; an unfinished copy is "
            "continued.",
        ),
    ],
    audio_format: Annotated[
        Literal["flac", "wav"],
        typer.Option(help="Format of the copies; wav is twice the size and much faster to read."),
    ] = "flac",
    workers: Workers = 0,
    verify: Annotated[
        bool, typer.Option("--verify", help="Only decode and compare the whole copy.")
    ] = False,
) -> None:
    """Copy a dataset with its recordings at 16 kHz, mono, 16 bit, so that training reads faster.

    Recordings of any rate, format and number of channels become FLAC files of the same name, label
    files are copied, folders are kept: the copy is a dataset itself, for `--data`. Where DESED's
    folders exist twice (`weak` and `weak_16k`), the 16-kHz one is used. Every file is decoded again
    and compared before it is kept. Run it again to continue, or to follow changes of the dataset;
    recordings that cannot be read are listed, and the exit code is 1.

    Examples:
    - `earmark cache ~/DESED/dataset --out data/desed16k`
    - `earmark train mini --data data/desed16k --out runs/mine`
    - `earmark cache ~/DESED/dataset --out data/desed16k --verify`
    """
    from earmark.core.files import write_faults
    from earmark.core.parallel import available_cores
    from earmark.prepare.cache import verify_cache, write_cache

    processes = workers or available_cores()
    if verify:
        with counting("files") as progress:
            files, faults = verify_cache(out, workers=processes, progress=progress)
        typer.echo(f"{out}: {files - len(faults):,} of {files:,} files are as they were written")
        hint = "Run `earmark cache` again to rewrite these files"
        exit_if_failed(dict(sorted(faults.items())), hint)
        return
    with counting("recordings") as progress:
        report = write_cache(data, out, format=audio_format, workers=processes, progress=progress)
    table = out.with_name(f"{out.name}-failures.tsv")
    write_faults(report.failed, table)
    typer.echo(_summary(out, report))
    hint = f"All are listed in {table}; repair or remove them and run this again"
    exit_if_failed(dict(sorted(report.failed.items())), hint)


def _summary(out: Path, report: Any) -> str:
    """What was done, in a few lines."""
    from earmark.core.audio.folders import left_out

    recordings = report.made + report.kept
    gib = 2**30
    lines = [
        f"{out}: {recordings:,} recordings ({report.made:,} new, {report.kept:,} kept), "
        f"{report.seconds / 3600:.1f} h; {report.bytes_before / gib:.2f} GiB became "
        f"{report.bytes_after / gib:.2f} GiB; {report.copied:,} label files"
    ]
    if report.superseded:
        lines.append(
            f"the 16-kHz copies in _16k folders were used for {report.superseded:,} recordings"
        )
    if report.removed:
        lines.append(f"{len(report.removed):,} files removed because their source is gone")
    if report.limited:
        lines.append(f"{report.limited:,} recordings had peaks beyond full scale, limited")
    if report.ignored:
        lines += left_out(report.ignored)
    lines.append(f"use it: earmark train mini --data {report.use} --out runs/mine")
    return "\n".join(lines)
