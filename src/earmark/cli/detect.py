"""``earmark detect``: the events of files and folders, continuing where it stopped."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import (
    BarColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Table

from earmark.cli.options import DetectionPrecision

if TYPE_CHECKING:
    from earmark.deliver.batch import DetectorSettings, Report
    from earmark.deliver.journal import Record

FORMATS_BY_DEFAULT = "tsv,json,audacity"
_ROWS = 40  # of the table printed for a single recording
_FAILURES = 20  # told one by one
_LONG = 10_000  # frames of a recording that gets a bar of its own, some ten minutes


def detect(
    bundle: Annotated[str, typer.Argument(help="A shipped bundle, a folder, or a Hub id.")],
    audio: Annotated[
        list[str], typer.Argument(help="Recordings, folders of them, patterns like 'rec/**/*.wav'.")
    ],
    out: Annotated[str, typer.Option("--out", "-o", help="Folder for what is found.")],
    formats: Annotated[
        str | None,
        typer.Option(
            "--format",
            help="Event files, separated by commas: tsv, csv, json, jsonl, audacity, raven, elan, "
            f"webvtt; {FORMATS_BY_DEFAULT} if none. Of a fleet: parquet, or tsv.",
        ),
    ] = None,
    scores: Annotated[
        str, typer.Option("--scores", help="Score tables too: tsv, csv, npz, parquet.")
    ] = "",
    plot: Annotated[
        bool | None,
        typer.Option(
            "--plot/--no-plot", help="Picture of each recording; by default of a single one."
        ),
    ] = None,
    threshold: Annotated[
        float | None, typer.Option(help="Score above which a class is heard; the bundle's if none.")
    ] = None,
    channels: Annotated[
        str, typer.Option(help="mean of all channels, first, the number of one, or each by itself.")
    ] = "mean",
    device: Annotated[
        str, typer.Option(help="cpu, cuda, cuda:1, mps; auto takes a CUDA GPU if there is one.")
    ] = "auto",
    precision: DetectionPrecision = "32-true",
    batch_size: Annotated[
        int | None, typer.Option(min=1, help="Windows per call of the network.")
    ] = None,
    hop_seconds: Annotated[
        float | None, typer.Option(help="Time between windows, in seconds; half a window if none.")
    ] = None,
    workers: Annotated[
        int | None,
        typer.Option(
            min=1, help="Processes: by default one whose threads use every core; of a fleet all."
        ),
    ] = None,
    threads: Annotated[
        int, typer.Option(min=0, help="Threads of all processes together; 0 takes every core.")
    ] = 0,
    fresh: Annotated[
        bool, typer.Option("--fresh/--resume", help="Do again what was done before.")
    ] = False,
    engine: Annotated[
        str, typer.Option(help="local, or ray: many machines, URLs in and out (docs/scale.md).")
    ] = "local",
    shard_size: Annotated[
        int, typer.Option(min=1, help="Of a fleet: recordings a worker does and writes at once.")
    ] = 32,
) -> None:
    """Finds the events of recordings of any length.

    Writes the events of each recording into the folder OUT, those of all together into
    `events.tsv`, and lengths and counts into `recordings.tsv`. What was done before with the same
    bundle and options is not done again, even if the recording was moved or renamed. A recording
    that cannot be read does not stop the others; it is named at the end and in `failures.tsv`, and
    the exit code is 1. docs/batches.md tells all of it.

    Examples:
    - `earmark detect mini kitchen.wav --out found`
    - `earmark detect mini recordings/ 'more/**/*.flac' --out found --format csv,raven --workers 4`
    - `earmark detect mini array.wav --out found --channels each --scores tsv`
    - `earmark detect model.onnx s3://nights/2026/ --out s3://found/2026 --engine ray`
    """
    options = {
        "device": device,
        "precision": precision,
        "batch_size": batch_size,
        "hop_seconds": hop_seconds,
    }
    from earmark.core.parallel import available_cores
    from earmark.deliver.batch import DetectorSettings, Job, run_batch
    from earmark.deliver.outputs import Outputs
    from earmark.deliver.recordings import find_recordings

    settings = DetectorSettings(bundle, threshold, channels, options)
    if engine != "local":
        more = bool(scores or plot or fresh)
        _detect_fleet(engine, audio, settings, out, formats, workers, shard_size, more)
        return
    console, errors = Console(), Console(stderr=True)
    folder, workers = Path(out), workers or 1
    outputs = Outputs.named(folder, formats or FORMATS_BY_DEFAULT, scores, picture=False)
    recordings = find_recordings(audio)
    drawn = len(recordings) == 1 and _can_draw() if plot is None else plot
    if drawn:
        _check_matplotlib()
    outputs = Outputs(folder, outputs.events, outputs.scores, drawn)
    each = max(1, (threads or available_cores()) // workers)
    detector = settings.load(each if threads or workers > 1 else None)
    job = Job(settings, outputs, settings.key(detector), detector.threads)
    with _Bars(errors) as bars:
        report = run_batch(
            recordings, job, detector=detector, workers=workers, fresh=fresh, watcher=bars
        )
    _print(console, folder, len(recordings), report)
    _tell(errors, folder, report.failures)
    if report.failures:
        raise typer.Exit(1)


def _detect_fleet(
    engine: str,
    audio: list[str],
    settings: DetectorSettings,
    out: str,
    formats: str | None,
    workers: int | None,
    shard_size: int,
    more: bool,
) -> None:
    """Leaves the work to many machines."""
    from earmark.cli.fleet import detect_fleet
    from earmark.core.errors import ConfigError
    from earmark.deliver.fleets.fleet import FleetJob

    if engine != "ray":
        raise ConfigError(f"no engine is called {engine!r}", hint="Choose local or ray")
    if more:
        raise ConfigError(
            "a fleet writes tables of events alone", hint="Leave out --scores, --plot"
        )
    job = FleetJob(settings, out, formats or "parquet", workers, shard_size)
    if detect_fleet(audio, job):
        raise typer.Exit(1)


def _can_draw() -> bool:
    return find_spec("matplotlib") is not None


def _check_matplotlib() -> None:
    from earmark.deliver.pictures.view import require_matplotlib

    require_matplotlib()


class _Bars:
    """How far a batch is: all recordings, and each long one."""

    def __init__(self, console: Console) -> None:
        self._bar = Progress(
            TextColumn("[bold]{task.description}"),
            BarColumn(bar_width=30),
            TextColumn("{task.percentage:>3.0f} %"),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            console=console,
            transient=True,
        )
        self._all: TaskID | None = None
        self._own: dict[Path, TaskID] = {}

    def __enter__(self) -> _Bars:
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


def _print(console: Console, out: Path, given: int, report: Report) -> None:
    """Prints what was found: all of it for one recording, counts for many."""
    records = report.records
    if given == 1:
        for record in records:
            _print_events(console, record)
    tracks = [track for record in records for track in record.tracks]
    count = sum(len(track.events) for track in tracks)
    seconds = sum(record.tracks[0].duration for record in records)
    console.print(
        f"{count} event{'s' * (count != 1)} in {len(records)} recording{'s' * (len(records) != 1)}"
        f" ({seconds:.1f} s)"
        + (f", {report.before} of them done before" if report.before else "")
        + (f", {len(report.failures)} failed" if report.failures else "")
        + f": {escape(str(out / 'events.tsv'))}",
        soft_wrap=True,
        highlight=False,
    )


def _print_events(console: Console, record: Record) -> None:
    from earmark.deliver.outputs import channel_label
    from earmark.deliver.recordings import readable

    for track in record.tracks:
        title = channel_label(readable(Path(record.path).name), track.channel)
        table = Table(title=escape(title), title_justify="left")
        for heading in ("onset (s)", "offset (s)"):
            table.add_column(heading, justify="right")
        table.add_column("event")
        table.add_column("score", justify="right")
        for onset, offset, label, score in track.events[:_ROWS]:
            table.add_row(f"{onset:.3f}", f"{offset:.3f}", escape(label), f"{score:.2f}")
        if len(track.events) > _ROWS:
            table.caption = f"{_ROWS} of {len(track.events)} events; all are in the files"
        console.print(table)


def _tell(errors: Console, out: Path, failures: Mapping[Path, str]) -> None:
    """Names what failed, some of it."""
    from earmark.deliver.recordings import readable

    for path, reason in list(failures.items())[:_FAILURES]:
        told = reason if path.name in reason else f"{path}: {reason}"
        errors.print(f"[red]failed:[/red] {escape(readable(told))}", soft_wrap=True)
    more = len(failures) - _FAILURES
    if more > 0:
        errors.print(f"[red]and {more} more:[/red] {escape(str(out / 'failures.tsv'))}")
