"""``earmark summary``: how much of what was found, and when."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from earmark.cli.console import can_plot, note, say
from earmark.cli.options import OUTPUT, argument, option, with_options

if TYPE_CHECKING:
    from earmark.deliver.summary import Activity

CLOCK = "Clock"
_ROWS = 40


@dataclass(frozen=True, kw_only=True)
class SummaryOptions:
    """Options of ``earmark summary``."""

    events: list[Path] = argument(
        ..., "Folders that earmark detect wrote, or files of events in any format it reads."
    )
    out: Path = option(..., "Write tables and picture to this folder.", "--out", "-o")
    format: Literal["tsv", "csv"] = option("tsv", "Format of the tables.", panel=OUTPUT)
    plot: bool | None = option(
        None, "Draw the activity over the day (PNG); by default if matplotlib is installed.",
        "--plot/--no-plot", panel=OUTPUT,
    )  # fmt: skip
    time_pattern: str | None = option(
        None,
        "Form of the time in names without their ending, as of strptime; * is any text. Known "
        "without it: YYYYMMDD_HHMMSS, AudioMoth's eight hexadecimal digits.",
        panel=CLOCK, metavar="'*_%y%m%d-%H%M'",
    )  # fmt: skip
    time_column: str | None = option(
        None, "Column of the tables that says when the recording began, instead of its name.",
        panel=CLOCK,
    )  # fmt: skip
    timezone: str | None = option(
        None, "Zone of the clock, e.g. Europe/Berlin; by default times stay as written.",
        panel=CLOCK,
    )  # fmt: skip
    written_in: str | None = option(
        None,
        "Zone of the times that say none; by default that of --timezone. AudioMoth's hexadecimal "
        "names are UTC.",
        panel=CLOCK,
    )  # fmt: skip


@with_options
def summary(options: SummaryOptions) -> None:
    """Count events and their seconds by class, recording, hour and day.

    Writes `by_class`, `by_recording`, `by_hour` and `by_day` as tables, and `activity.png`, the
    activity over the time of day. An event counts in the hour in which it begins, its seconds in
    the hours in which they are. From folders of earmark detect the tables also have the seconds
    that were recorded, and recordings without events. See docs/summary.md.

    Examples:
    - `earmark summary found --out summary`
    - `earmark summary found/events.tsv --out summary --format csv`
    - `earmark summary found --out summary --timezone Europe/Berlin`
    - `earmark summary found --out summary --time-pattern 'site*_%y%m%d-%H%M'`
    """
    from earmark.core.clock_times import TimePattern, zone_of
    from earmark.core.errors import EarmarkError
    from earmark.core.locking import only_writer
    from earmark.deliver.pictures.view import require_matplotlib
    from earmark.deliver.summary import read_found, summarise

    console = Console()
    plot = can_plot() if options.plot is None else options.plot
    if plot:
        require_matplotlib()
    zone = None if options.timezone is None else zone_of(options.timezone)
    written_in = None if options.written_in is None else zone_of(options.written_in)
    pattern = None if options.time_pattern is None else TimePattern(options.time_pattern)
    found = read_found(options.events, time_column=options.time_column, pattern=pattern)
    of_names = pattern if options.time_column is None else None
    activity = summarise(found, pattern=of_names, zone=zone, written_in=written_in)
    try:
        with only_writer(options.out):
            written = _write(options, activity, plot=plot)
    except OSError as error:
        raise EarmarkError(f"cannot be written ({error.strerror})", where=options.out) from None
    _print(console, activity, len(found.events))
    say(console, ", ".join(map(str, written)))


def _write(options: SummaryOptions, activity: Activity, *, plot: bool) -> list[Path]:
    """Writes tables and picture; returns the files."""
    from earmark.deliver.summary import write_summary

    written = write_summary(options.out, activity, options.format)
    picture = options.out / "activity.png"
    if not plot or not (activity.by_hour or activity.recorded):
        picture.unlink(missing_ok=True)  # of an earlier summary
        return written
    from earmark.deliver.pictures.activity import plot_activity

    plot_activity(picture, activity)
    return [*written, picture]


def _print(console: Console, activity: Activity, recordings: int) -> None:
    table = Table("class", title=f"{recordings} recordings", title_justify="left")
    table.add_column("events", justify="right")
    table.add_column("seconds", justify="right")
    for label in activity.classes[:_ROWS]:
        one = activity.by_class[label,]
        table.add_row(escape(label), str(one.events), f"{one.seconds:.1f}")
    if len(activity.classes) > _ROWS:
        table.caption = f"{_ROWS} of {len(activity.classes)} classes; all are in the files"
    console.print(table)
    undated = activity.undated
    if undated:
        note(
            console,
            f"{len(undated)} of {recordings} recordings do not say when they began, e.g. "
            f"{undated[0]}: not counted by hour and day; --time-pattern or --time-column tells",
        )
    if len(undated) < recordings:
        say(console, f"clock times: {activity.zone}")
