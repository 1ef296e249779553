"""``earmark detect``: the events of files and folders, printed or written to a folder."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import typer
from rich.console import Console

from earmark.cli.console import can_plot, exit_if_failed, note, say
from earmark.cli.options import (
    EVENTS,
    NETWORK,
    OUTPUT,
    DetectionOptions,
    argument,
    completing,
    option,
    with_options,
)
from earmark.cli.progress import BatchBars
from earmark.core.errors import ConfigError, LabelError

if TYPE_CHECKING:
    from earmark.deliver.batch import DetectorSettings
    from earmark.deliver.clips import ClipSettings
    from earmark.deliver.fleets.fleet import FleetJob
    from earmark.deliver.fleets.store import Remote
    from earmark.deliver.journal import Record
    from earmark.detect.detector import Detector

_EVENTS = ("tsv", "csv", "json", "jsonl", "audacity", "raven", "elan", "webvtt", "jams", "rttm")
_SCORES = ("tsv", "csv", "npz", "parquet")
_BY_DEFAULT = "tsv,json,audacity"
CLIPS = "Clips"
_ROWS = 40  # of the table printed for a single recording whose files have them all


@dataclass(frozen=True, kw_only=True)
class DetectOptions(DetectionOptions):
    """Options of ``earmark detect``."""

    audio: list[str] = argument(
        ..., "Recordings, folders of them, or patterns such as 'rec/**/*.wav'."
    )
    out: str | None = option(
        None,
        "Write events and tables to this folder, and continue there what was stopped; without it, "
        "events are printed and nothing is written.",
        "--out",
        "-o",
    )
    formats: str | None = option(
        None,
        f"Formats of events, separated by commas: {', '.join(_EVENTS)}; by default {_BY_DEFAULT}. "
        "Without --out the one that is printed; by default a table on a terminal, tsv elsewhere. "
        "With --engine ray: parquet (default) or tsv.",
        "--format",
        panel=OUTPUT,
        metavar="tsv,csv,…",
        autocompletion=completing(*_EVENTS),
    )
    score_formats: str = option(
        "",
        f"Write score tables too, in these formats, each in a folder: {', '.join(_SCORES)}.",
        "--score-format",
        panel=OUTPUT,
        metavar="tsv,npz,…",
        autocompletion=completing(*_SCORES),
    )
    labels_with_score: bool = option(
        False,
        "Write scores behind the classes of Audacity's labels: Dog [0.912].",
        "--labels-with-score",
        panel=OUTPUT,
    )
    plot: bool | None = option(
        None,
        "Draw each recording with its events (PNG, a page for ten minutes); by default only a "
        "single one.",
        "--plot/--no-plot",
        panel=OUTPUT,
    )
    plot_range: str | None = option(
        None,
        "Draw only this range, in seconds or as h:mm:ss.",
        panel=OUTPUT,
        metavar="FROM-TO",
    )
    clips: Path | None = option(
        None,
        "Cut each found event out of its recording, into a sound file in this folder.",
        panel=CLIPS,
    )
    clips_top: int | None = option(
        None, "Only the N events of each class with the highest scores.", panel=CLIPS, min=1
    )
    clips_random: int | None = option(
        None,
        "Only N random events of each class and quarter of scores (0 to .25, to .5, …).",
        panel=CLIPS,
        min=1,
    )
    clips_padding: float = option(0.5, "Seconds before and after each event.", panel=CLIPS, min=0)
    seed: int = option(0, "Seed of --clips-random.", panel=CLIPS, min=0)
    top: int | None = option(
        None,
        "Only the N events of each recording with the highest scores.",
        panel=EVENTS,
        min=1,
        metavar="N",
    )
    channels: str = option(
        "mean",
        "Use the mean of all channels, the first, each by itself, channel N, or auto: the loudest "
        "where the mean would lose sound (channels that cancel, or where it arrives later).",
        metavar="mean|auto|first|each|N",
        autocompletion=completing("mean", "auto", "first", "each"),
    )
    batch_size: int | None = option(
        None,
        "Windows per call of the network; by default what suits the device.",
        panel=NETWORK,
        min=1,
    )
    workers: int | None = option(
        None,
        "Number of processes; by default one that uses every core. With --engine ray one per core "
        "or GPU.",
        min=1,
    )
    threads: int = option(0, "Threads of all processes together; 0 for one per core.", min=0)
    fresh: bool = option(False, "Repeat what is done, or continue from there.", "--fresh/--resume")
    engine: Literal["local", "ray"] = option(
        "local", "ray uses many machines, and reads and writes URLs (docs/scale.md)."
    )
    shard_size: int = option(32, "With --engine ray: recordings per unit of work.", min=1)

    def clip_settings(self) -> ClipSettings | None:
        """Which clips to cut, if any.

        Raises:
            ConfigError: If they cannot be had so.
        """
        from earmark.deliver.clips import ClipSettings

        if self.clips is None:
            if self.clips_top is not None or self.clips_random is not None:
                raise ConfigError("--clips-top and --clips-random need --clips DIR")
            return None
        return ClipSettings(
            self.clips, self.clips_top, self.clips_random, self.seed, self.clips_padding
        )

    def refuse_what_needs_a_folder(self) -> None:
        """Of what is only printed.

        Raises:
            ConfigError: If an option needs --out; it names them.
        """
        needing = {
            "--score-format": self.score_formats,
            "--plot": self.plot,
            "--plot-range": self.plot_range,
            "--fresh": self.fresh,
            "--engine ray": self.engine == "ray",
        }
        named = [name for name, value in needing.items() if value]
        if named:
            verb = "needs" if len(named) == 1 else "need"
            raise ConfigError(f"{' and '.join(named)} {verb} a folder", hint="Add --out DIR")

    def detectors(self) -> tuple[DetectorSettings, Detector, int]:
        """What to detect with, loaded, and in how many processes."""
        from earmark.core.parallel import available_cores

        settings, workers = self.settings(), self.workers or 1
        threads = max(1, (self.threads or available_cores()) // workers)
        return settings, settings.load(threads if self.threads or workers > 1 else None), workers

    def settings(self) -> DetectorSettings:
        """What to detect with."""
        from earmark.deliver.batch import DetectorSettings

        options = {**self.detecting, "batch_size": self.batch_size, "top": self.top}
        classes = tuple(self.classes or ())
        return DetectorSettings(self.bundle, self.channels, classes, options)


@with_options
def detect(options: DetectOptions) -> None:
    """Detect the events in recordings of any length.

    Prints them: on a terminal as a table, to a pipe or file as TSV or as --format says. With
    --out it writes the events of each recording to a folder instead, all events together to
    `events.tsv`, and lengths and counts to `recordings.tsv`; recordings that were processed before
    with the same bundle and options are then skipped, even if they were moved or renamed.

    A recording that cannot be read does not stop the others: it is reported at the end (and in
    `failures.tsv`), and the exit code is 1. See docs/batches.md.

    Examples:
    - `earmark detect home kitchen.wav`
    - `earmark detect home yard.wav --threshold Dog=0.8,default=0.6 --min-duration 0.3`
    - `earmark detect audioset street.wav --classes Speech --classes Dog --format csv > street.csv`
    - `earmark detect home kitchen.wav street/ --out found`
    - `earmark detect mini recordings/ 'more/**/*.flac' --out found --format csv,raven --workers 4`
    - `earmark detect mini array.wav --out found --channels each --score-format tsv`
    - `earmark detect home garden/ --out found --clips found/clips --clips-top 50`
    - `earmark detect model.onnx s3://nights/2026/ --out s3://found/2026 --engine ray`
    """
    if options.out is None:
        options.refuse_what_needs_a_folder()
        _print_found(options)
    elif options.engine == "ray":
        _detect_fleet(options, options.out)
    else:
        _write_found(options, Path(options.out))


def _print_found(options: DetectOptions) -> None:
    """Prints events as they are found; notes and progress go to standard error beside a pipe."""
    from earmark.cli.found import Printer, TablePrinter, TextPrinter, printed_format
    from earmark.core.audio.folders import left_out
    from earmark.core.naming import readable
    from earmark.deliver.batch import detect_each
    from earmark.deliver.recordings import named_recordings

    others: dict[Path, str] = {}
    recordings = named_recordings(options.audio, others)
    each = options.channels == "each"
    kind = printed_format(options.formats, len(recordings) > 1 or each)
    if options.labels_with_score and kind != "audacity":
        raise ConfigError("--labels-with-score is for --format audacity")
    clips = options.clip_settings()
    settings, detector, workers = options.detectors()
    console = Console(stderr=kind is not None)
    printer: Printer
    if kind is None:
        named = len(recordings) > 1 or each
        printer = TablePrinter(console, recordings.values(), detector.labels, named=named)
    else:
        printer = TextPrinter(kind, scored_labels=options.labels_with_score)
    records, failures = [], {}
    with BatchBars() as bars:
        found = detect_each(recordings, settings, detector=detector, workers=workers, watcher=bars)
        with closing(found):
            for path, outcome in found:
                if outcome.record is None:
                    failures[str(path)] = outcome.reason
                    continue
                with bars.hidden():
                    try:
                        printer.add(outcome.record)
                    except LabelError as error:  # of this recording's name: not of the others
                        failures[str(path)] = str(error)
                        continue
                records.append(outcome.record)
    printer.end()
    say(console, _summary(records, 0, len(failures)))
    for text in left_out(others):
        note(console, text)
    if clips is not None:
        failures |= _write_clips(console, records, clips)
    exit_if_failed({readable(path): readable(reason) for path, reason in failures.items()})


def _write_found(options: DetectOptions, folder: Path) -> None:
    """Writes events and tables to a folder, continuing where an earlier run stopped."""
    from earmark.core.audio.folders import left_out
    from earmark.core.naming import readable
    from earmark.deliver.batch import Job, run_batch
    from earmark.deliver.outputs import Outputs
    from earmark.deliver.pictures.view import require_matplotlib
    from earmark.deliver.recordings import named_recordings

    console = Console()
    others: dict[Path, str] = {}
    recordings = named_recordings(options.audio, others)
    shown = _range(options)
    plot = options.plot
    if plot is None:
        plot = shown is not None or (len(recordings) == 1 and can_plot())
    if plot:
        require_matplotlib()
    outputs = Outputs.named(
        folder, options.formats or _BY_DEFAULT, options.score_formats, picture=plot,
        scored_labels=options.labels_with_score, shown=shown,
    )  # fmt: skip
    clips = options.clip_settings()
    settings, detector, workers = options.detectors()
    job = Job(settings, outputs, settings.key(detector), detector.threads)
    with BatchBars() as bars:
        report = run_batch(
            recordings, job, detector=detector, workers=workers, fresh=options.fresh, watcher=bars
        )
    if len(recordings) == 1:
        for record in report.records:
            _print_events(console, record, detector.labels)
    summary = _summary(report.records, report.before, len(report.failures))
    say(console, f"{summary}: {folder / 'events.tsv'}")
    for text in left_out(others):
        note(console, text)
    failures = {str(path): reason for path, reason in report.failures.items()}
    if clips is not None:
        failures |= _write_clips(console, report.records, clips)
    exit_if_failed(
        {readable(path): readable(reason) for path, reason in failures.items()},
        f"See {folder / 'failures.tsv'}",
    )


def _range(options: DetectOptions) -> tuple[float, float] | None:
    """First and last second of --plot-range.

    Raises:
        ConfigError: If it is none, or nothing is to be drawn.
    """
    from earmark.core.tables.rows import is_time, seconds_of

    text = options.plot_range
    if text is None:
        return None
    if options.plot is False:
        raise ConfigError("--plot-range and --no-plot exclude each other")
    times = [float(seconds_of(one.strip())) for one in text.split("-") if is_time(one.strip())]
    if len(times) != 2 or text.count("-") != 1 or not 0 <= times[0] < times[1]:
        raise ConfigError(
            f"--plot-range {text!r} is not FROM-TO", hint="Use e.g. 90-120 or 0:10:00-0:12:30"
        )
    return times[0], times[1]


def _summary(records: Sequence[Record], before: int, failed: int) -> str:
    """What was found, in a line."""
    count = sum(len(track.events) for record in records for track in record.tracks)
    seconds = sum(record.tracks[0].duration for record in records)
    return (
        f"{count} event{'s' * (count != 1)} in {len(records)} recording{'s' * (len(records) != 1)}"
        f" ({seconds:.1f} s)"
        + (f", {before} of them done before" if before else "")
        + (f", {failed} failed" if failed else "")
    )


def _print_events(console: Console, record: Record, labels: Sequence[str]) -> None:
    """Prints the first events of a recording; all are in its files."""
    from earmark.cli.found import TablePrinter

    tracks = [replace(track, events=track.events[:_ROWS]) for track in record.tracks]
    printer = TablePrinter(console, [record.filename], labels, named=True)
    printer.add(replace(record, tracks=tuple(tracks)))
    count = max(len(track.events) for track in record.tracks)
    if count > _ROWS:
        say(console, f"{_ROWS} of {count} events; all are in the files")


def _write_clips(
    console: Console, records: Sequence[Record], settings: ClipSettings
) -> dict[str, str]:
    """Cuts the clips; returns the recordings that could not be read again, with the reason."""
    from earmark.core.locking import only_writer
    from earmark.deliver.clips import write_clips

    with only_writer(settings.folder):
        written, failures = write_clips(records, settings)
    say(console, f"{len(written)} clip{'s' * (len(written) != 1)}: {settings.folder}")
    return {str(path): reason for path, reason in failures.items()}


def _detect_fleet(options: DetectOptions, out: str) -> None:
    """Leaves the work to many machines."""
    from earmark.deliver.fleets.fleet import FleetJob, require_ray
    from earmark.deliver.fleets.store import listed_recordings

    others = (options.score_formats, options.plot, options.fresh, options.clips)
    if any(others) or options.labels_with_score or options.plot_range:
        raise ConfigError(
            "--engine ray writes tables of events only",
            hint="Leave out --score-format, --labels-with-score, --plot, --clips and --fresh",
        )
    job = FleetJob(
        options.settings(), out, options.formats or "parquet", options.workers,
        options.shard_size,
    )  # fmt: skip
    require_ray()
    failed = _run_fleet(listed_recordings(options.audio), job)
    if failed:
        Console(stderr=True).print(
            f"[red]{failed} failed:[/red] see failures/ in {job.out}", soft_wrap=True
        )
        raise typer.Exit(1)


def _run_fleet(recordings: Sequence[Remote], job: FleetJob) -> int:
    """Runs a fleet and prints what it found; returns how many recordings failed."""
    from earmark.cli.progress import counting
    from earmark.deliver.fleets.fleet import ShardDone, run_fleet

    began, before, done = time.monotonic(), 0, []
    with counting("recordings") as progress:
        for event in run_fleet(recordings, job):
            if isinstance(event, ShardDone):
                done.append(event)
            else:
                before = event
            finished = before + sum(shard.recordings + shard.failures for shard in done)
            progress(finished, len(recordings))
    seconds = sum(shard.seconds for shard in done)
    failed = sum(shard.failures for shard in done)
    speed = seconds / max(1e-9, time.monotonic() - began)
    say(
        Console(),
        f"{sum(shard.events for shard in done)} events in "
        f"{sum(shard.recordings for shard in done)} recordings ({seconds / 3600:.2f} hours)"
        + (f", {before} more done before" if before else "")
        + (f", {failed} failed" if failed else "")
        + (f"; {len({shard.worker for shard in done})} workers, {speed:.0f} times real time"
           if done else "")
        + f": {job.out}",
    )  # fmt: skip
    return failed
