"""``earmark import-labels``: a dataset out of annotated recordings."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from rich.console import Console

    from earmark.core.event import Event
    from earmark.prepare.importing.importer import Import
    from earmark.prepare.importing.settings import ImportSettings

_SHOWN = 5  # of each kind of oddity, on a terminal; files have all
_COLUMNS = ("onset", "offset", "duration", "label", "filename")


def import_labels(
    labels: Annotated[
        list[Path], typer.Argument(help="Label files, or folders that are searched for them.")
    ],
    out: Annotated[Path, typer.Option(help="Folder of the dataset; new, or begun before.")],
    audio: Annotated[
        list[Path] | None,
        typer.Option(help="Folder of the recordings; by default beside the label files."),
    ] = None,
    format: Annotated[
        str | None,
        typer.Option(help="audacity, raven, elan, elan-tab, csv, tsv …; else told from each file."),
    ] = None,
    columns: Annotated[
        str | None,
        typer.Option(
            metavar="A=B,…",
            help="A table's columns: onset=Begin,offset=End,label=Species,filename=File "
            "(duration= instead of offset=). For ELAN label=tier or label=value.",
        ),
    ] = None,
    encoding: Annotated[
        str | None, typer.Option(help="Of label files that are not Unicode: latin-1, cp1252 …")
    ] = None,
    class_map: Annotated[
        Path | None,
        typer.Option("--map", help="YAML: classes: {Dog: [bark, woof]}, drop: [noise], rest: …"),
    ] = None,
    rename: Annotated[
        list[str] | None,
        typer.Option(metavar="OLD=NEW", help="Rename or merge a class; may be repeated."),
    ] = None,
    drop: Annotated[
        list[str] | None, typer.Option(help="Leave out a class; may be repeated.")
    ] = None,
    rest: Annotated[
        str | None,
        typer.Option(help="Names the map has no place for: error, keep (without --map), drop."),
    ] = None,
    regions: Annotated[
        Path | None,
        typer.Option(help="Table filename, onset, offset of what was annotated; else all was."),
    ] = None,
    region_label: Annotated[
        str | None,
        typer.Option(help="Label that marks what was annotated, in the label files themselves."),
    ] = None,
    unlisted: Annotated[
        str,
        typer.Option(help="Recordings without a label file: unlabelled, empty (no events), skip."),
    ] = "unlabelled",
    points: Annotated[
        float | None,
        typer.Option(min=0, help="Seconds for labels without a length; 0 leaves them out."),
    ] = None,
    seconds: Annotated[float, typer.Option(help="Length of a clip.")] = 10.0,
    hop: Annotated[
        float | None, typer.Option(help="From one clip's start to the next; less overlaps.")
    ] = None,
    shortest: Annotated[
        float, typer.Option(min=0, help="A last clip shorter than this is left out.")
    ] = 1.0,
    least: Annotated[
        float, typer.Option(min=0, help="Seconds a cut must leave of an event to keep the rest.")
    ] = 0.1,
    whole: Annotated[
        bool, typer.Option("--whole", help="Leave validation and test recordings uncut.")
    ] = False,
    split: Annotated[
        str, typer.Option(metavar="A,B,C", help="Shares of train, validation, test recordings.")
    ] = "0.7,0.15,0.15",
    split_file: Annotated[
        Path | None, typer.Option(help="Table filename, split: divide as it says.")
    ] = None,
    group: Annotated[
        str | None,
        typer.Option(metavar="REGEX", help="Recordings in which it finds the same stay together."),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of the division.")] = 0,
    rate: Annotated[
        str, typer.Option(help="Samples per second of the clips, or 'original'.")
    ] = "16000",
    skip_missing: Annotated[
        bool, typer.Option("--skip-missing", help="Leave out labels whose recording is not there.")
    ] = False,
    workers: Annotated[
        int, typer.Option(min=0, help="Processes; 0 takes one per available core.")
    ] = 0,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only say what would be done.")
    ] = False,
) -> None:
    """Make a dataset out of recordings that were labelled in Audacity, Raven, ELAN or a table.

    Recordings are cut into clips with their labels and divided by recording into training,
    validation and test: no recording is on two sides, and every class is on each as far as it
    goes. A label file without recording names is of the recording of its own name (`a.txt`,
    `a_labels.txt`, `a.Table.1.selections.txt` of `a.wav`). A labelled recording counts as annotated
    completely, unless --regions or --region-label say what was; the rest, and recordings without a
    label file, become unlabelled training clips.

    What falls on a cut, is merged or left out is counted, and listed in `import/` in the dataset.
    Run it again to go on where it stopped. Recordings that cannot be read are named, the rest is
    imported, and the exit code is 1.

    Examples:
    - `earmark import-labels recordings --out data/own --dry-run`
    - `earmark import-labels recordings --out data/own --rename woof=Dog --drop noise --whole`
    - `earmark import-labels notes.csv --audio wavs --out data/own
      --columns onset=Begin,offset=End,label=Species,filename=File`
    - `earmark import-labels recordings --out data/own --region-label annotated --map classes.yaml`
    """
    from rich.console import Console

    from earmark.cli.progress import counting
    from earmark.core.config import parse_settings
    from earmark.core.parallel import available_cores
    from earmark.prepare.importing.annotations import Reading
    from earmark.prepare.importing.class_map import load_class_map
    from earmark.prepare.importing.importer import read_import
    from earmark.prepare.importing.settings import ImportSettings
    from earmark.prepare.importing.writing import write_import

    named = _pairs(columns)
    label_column = named.pop("label", None)
    settings = parse_settings(
        ImportSettings,
        {
            **{"seconds": seconds, "hop": hop, "shortest": shortest, "least": least},
            **{"whole": whole, "rate": _rate(rate), "points": points, "unlisted": unlisted},
            **{"region_label": region_label, "group": group, "seed": seed, **_shares(split)},
        },
    )
    job = read_import(
        labels,
        audio or [],
        Reading(format, named, label_column, encoding),
        load_class_map(class_map, rename or [], drop or [], rest),
        settings,
        regions=regions,
        splits=split_file,
        skip_missing=skip_missing,
    )
    console = Console()
    _tell(console, job, settings)
    failed = dict(job.gathered.unreadable)
    if dry_run:
        console.print("nothing was written (--dry-run)")
        _fail(failed)
        return
    with counting("clips") as progress:
        failed |= write_import(
            out,
            job.prepared,
            job.plan,
            job.record,
            workers=workers or available_cores(),
            progress=progress,
        )
    console.print(f"{out}: look at {out / 'import'}, then", soft_wrap=True)
    console.print(f"  earmark doctor {out}", soft_wrap=True)
    console.print(f"  earmark train mini --data {out} --out runs/own", soft_wrap=True)
    _fail(failed)


def _fail(failed: dict[str, str]) -> None:
    """Name recordings that could not be read, and exit with 1; nothing where there are none."""
    for name, reason in sorted(failed.items()):
        typer.secho(f"{name}: {reason}", fg="red", err=True)
    if failed:
        typer.secho(f"{len(failed):,} recordings could not be read", fg="red", err=True)
        raise typer.Exit(1)


def _pairs(text: str | None) -> dict[str, str]:
    """``onset=Begin,label=Species`` as a mapping."""
    from earmark.core.errors import ConfigError

    found: dict[str, str] = {}
    for item in (text or "").split(","):
        name, _, column = (part.strip() for part in item.partition("="))
        if not item.strip():
            continue
        if name not in _COLUMNS or not column:
            raise ConfigError(
                f"--columns: {item.strip()!r} is not NAME=COLUMN",
                hint=f"Names are {', '.join(_COLUMNS)}",
            )
        found[name] = column
    return found


def _shares(text: str) -> dict[str, float]:
    from earmark.core.errors import ConfigError
    from earmark.prepare.importing.splitting import SPLITS

    parts = text.split(",")
    try:
        shares = [float(part) for part in parts]
    except ValueError:
        shares = []
    if len(shares) != len(SPLITS):
        raise ConfigError(
            f"--split: {text!r} is not three numbers",
            hint=f"Give the shares of {', '.join(SPLITS)}, as 0.7,0.15,0.15",
        )
    return dict(zip(SPLITS, shares, strict=True))


def _rate(text: str) -> int | None:
    from earmark.core.errors import ConfigError

    if text == "original":
        return None
    if not text.isdecimal():
        raise ConfigError(f"--rate: {text!r} is neither a whole number nor 'original'")
    return int(text)


def _tell(console: Console, job: Import, settings: ImportSettings) -> None:
    """Say what there is and what happens to it."""
    console.print(_classes(job))
    for line in _clips(job):
        console.print(line, soft_wrap=True, highlight=False)
    for line in _oddities(job, settings):
        console.print(f"[yellow]note:[/] {line}", soft_wrap=True, highlight=False)


def _classes(job: Import) -> Any:
    """Events and seconds by class and split, with the names each class was made of."""
    from rich.markup import escape
    from rich.table import Table

    from earmark.prepare.importing.writing import clips_by_split

    splits = clips_by_split(job.plan)
    splits.pop("unlabelled", None)
    table = Table("class", *(f"{name}: events" for name in splits), "seconds", "names")
    labels = sorted({new for new, _ in job.changes.classes.values() if new is not None})
    for label in labels:
        events = {
            name: [event for clip in clips for event in clip.events if event.event_label == label]
            for name, clips in splits.items()
        }
        total = sum(event.offset - event.onset for own in events.values() for event in own)
        names = [old for old, (new, _) in job.changes.classes.items() if new == label]
        shown = "" if names == [label] else ", ".join(names)
        counts = (f"{len(own):,}" for own in events.values())
        table.add_row(escape(label), *counts, f"{total:,.1f}", escape(shown))
    return table


def _clips(job: Import) -> Iterator[str]:
    """Recordings and clips of each split."""
    from earmark.prepare.importing.writing import clips_by_split

    splits = list(job.plan.splits.values())
    for name, clips in clips_by_split(job.plan).items():
        minutes = sum(clip.seconds for clip in clips) / 60
        count = splits.count(name)
        recordings = f"{count:,} recording{'' if count == 1 else 's'}"
        of = "" if name == "unlabelled" else f" of {recordings}"
        empty = sum(not clip.events for clip in clips)
        without = "" if name == "unlabelled" else f", {empty:,} of them without an event"
        yield f"{name}: {len(clips):,} clips{of}, {minutes:,.1f} min{without}"


def _oddities(job: Import, settings: ImportSettings) -> Iterator[str]:
    """What a user should know."""
    changes, plan = job.changes, job.plan
    dropped = {old: count for old, (new, count) in changes.classes.items() if new is None}
    if dropped:
        yield "left out by the class map: " + _some(f"{n} ({c})" for n, c in dropped.items())
    cut = {(key, one.event) for key, one in plan.cuts}
    if cut:
        short = sum(not one.kept for _, one in plan.cuts)
        yield (
            f"{len(cut):,} events fall on a cut; {short:,} rests shorter than {settings.least:g} s "
            f"were left out (import/cuts.tsv): {_some(map(_event, sorted(cut)))}"
        )
    if plan.lost:
        yield (
            f"{len(plan.lost):,} events are in no clip: not in an annotated stretch, or in a rest "
            f"that is too short (import/lost.tsv): {_some(map(_event, plan.lost))}"
        )
    if changes.merged:
        yield f"{changes.merged:,} events overlapped one of their own class and were joined with it"
    if changes.trimmed:
        yield (
            f"{len(changes.trimmed):,} events ended after their recording and were trimmed: "
            f"{_some(map(_event, changes.trimmed))}"
        )
    if changes.points:
        what = f"got {settings.points:g} s" if settings.points else "were left out"
        yield f"{changes.points:,} labels without a length {what}"
    if plan.left_out >= 0.5:
        yield f"{plan.left_out:,.0f} s of recordings are in no clip"
    yield from _files(job)
    yield from _absent_classes(job)


def _files(job: Import) -> Iterator[str]:
    """What of files and recordings did not fit together."""
    from earmark.prepare.importing.importer import unannotated

    bare = unannotated(job.gathered.recordings)
    if bare:
        yield f"{len(bare):,} recordings have no label file: {_some(bare)}"
    if job.gathered.missing:
        yield (
            f"labels of {len(job.gathered.missing):,} recordings that are not there were left out: "
            f"{_some(job.gathered.missing)}"
        )
    if job.gathered.aside:
        yield f"no label files: {_some(path.name for path in job.gathered.aside)}"


def _absent_classes(job: Import) -> Iterator[str]:
    """Classes that a split lacks, and names that differ by case or spaces only."""
    from earmark.prepare.importing.writing import clips_by_split

    labels = {new for new, _ in job.changes.classes.values() if new is not None}
    for name, clips in clips_by_split(job.plan).items():
        lacking = sorted(labels - {event.event_label for clip in clips for event in clip.events})
        if lacking and name != "unlabelled":
            yield f"{name} has no event of {_some(lacking)}: label more recordings of these"
    alike: dict[str, list[str]] = {}
    for label in sorted(labels):
        alike.setdefault("".join(label.casefold().replace("_", " ").split()), []).append(label)
    for names in alike.values():
        if len(names) > 1:
            yield f"{' and '.join(names)} are different classes (--rename OLD=NEW merges them)"


def _event(entry: tuple[str, Event]) -> str:
    key, event = entry
    return f"{event.event_label} {event.onset:.2f}–{event.offset:.2f} s in {key}"


def _some(items: Any) -> str:
    from rich.markup import escape

    listed = list(items)
    more = ", …" if len(listed) > _SHOWN else ""
    return escape(", ".join(listed[:_SHOWN]) + more)
