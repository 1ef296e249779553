"""``earmark import-labels``: a dataset out of annotated recordings."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from earmark.cli.console import exit_if_failed, note, say
from earmark.cli.options import DryRun, Workers, argument, option, with_options
from earmark.cli.progress import counting

if TYPE_CHECKING:
    from earmark.core.event import Event
    from earmark.prepare.importing.importer import Import
    from earmark.prepare.importing.settings import ImportSettings

_SHOWN = 5  # of each kind of oddity, on a terminal; files have all
_COLUMNS = ("onset", "offset", "duration", "label", "filename")
LabelFormat = Literal[
    "audacity",
    "raven",
    "elan",
    "elan-tab",
    "tsv",
    "csv",
    "headerless",
    "json",
    "jsonl",
    "jams",
    "rttm",
    "textgrid",
    "webvtt",
    "srt",
]
NAMES, CLIPS, DIVISION = "Classes", "Clips", "Training, validation and test"


@dataclass(frozen=True, kw_only=True)
class ImportLabelsOptions:
    """Options of ``earmark import-labels``."""

    labels: list[Path] = argument(..., "Label files, or folders of them.")
    out: Path = option(
        ..., "Write the dataset to this folder; an unfinished one is continued.", "--out", "-o"
    )
    audio: list[Path] | None = option(
        None, "Folder of the recordings, by default beside the label files; may be repeated."
    )
    format: LabelFormat | None = option(
        None, "Format of the label files; by default recognised file by file."
    )
    columns: str | None = option(
        None,
        "Columns of a table: onset=Begin,offset=End,label=Species,filename=File (duration= instead "
        "of offset=). For ELAN: label=tier or label=value.",
        metavar="A=B,…",
    )
    encoding: str | None = option(
        None, "Encoding of label files that are not Unicode: latin-1, cp1252 …"
    )
    class_map: Path | None = option(
        None,
        "YAML file: classes: {Dog: [bark, woof]}, drop: [noise], rest: …",
        "--map",
        panel=NAMES,
    )
    rename: list[str] | None = option(
        None, "Rename or merge a class; may be repeated.", panel=NAMES, metavar="OLD=NEW"
    )
    drop: list[str] | None = option(None, "Leave out a class; may be repeated.", panel=NAMES)
    rest: Literal["error", "keep", "drop"] | None = option(
        None,
        "Names that the map does not have: refuse, keep (as without --map) or drop them.",
        panel=NAMES,
    )
    regions: Path | None = option(
        None, "Table of filename, onset and offset of what was annotated; by default all was."
    )
    region_label: str | None = option(
        None, "Label that marks in the label files what was annotated."
    )
    unlisted: Literal["unlabelled", "empty", "skip"] = option(
        "unlabelled",
        "Recordings without a label file: unlabelled, empty (without events), or skip.",
    )
    points: float | None = option(
        None, "Seconds for labels without a length; 0 leaves them out.", min=0
    )
    skip_missing: bool = option(
        False, "Leave out labels whose recording is missing.", "--skip-missing"
    )
    seconds: float = option(10.0, "Length of a clip in seconds.", panel=CLIPS)
    hop: float | None = option(
        None, "Seconds from one clip to the next; by default the length of a clip.", panel=CLIPS
    )
    shortest: float = option(1.0, "Leave out a last clip with fewer seconds.", panel=CLIPS, min=0)
    least: float = option(
        0.1, "Leave out the rest of a cut event with fewer seconds.", panel=CLIPS, min=0
    )
    whole: bool = option(
        False,
        "Keep recordings of validation and test uncut, and with them their events whole.",
        "--whole",
        panel=CLIPS,
    )
    rate: str = option(
        "16000", "Sample rate of the clips in Hz.", panel=CLIPS, metavar="HZ|original"
    )
    fractions: str = option(
        "0.7,0.15,0.15",
        "Fractions of the recordings for training, validation and test.",
        panel=DIVISION,
        metavar="A,B,C",
    )
    split_file: Path | None = option(
        None, "Table of filename and split; divide the recordings by it.", panel=DIVISION
    )
    group: str | None = option(
        None,
        "Keep recordings together in whose path it matches the same text.",
        panel=DIVISION,
        metavar="REGEX",
    )
    seed: int = option(0, "Seed of the division.", panel=DIVISION, min=0)
    workers: Workers = 0
    dry_run: DryRun = False

    def settings(self) -> ImportSettings:
        """The options that are settings of an import.

        Raises:
            ConfigError: One of them is not usable.
        """
        from earmark.core.config import parse_settings
        from earmark.prepare.importing.settings import ImportSettings

        names = (
            *("seconds", "hop", "shortest", "least", "whole", "points", "unlisted"),
            *("region_label", "group", "seed"),
        )
        own = {name: getattr(self, name) for name in names}
        own |= {"rate": _rate(self.rate), **_fractions(self.fractions)}
        return parse_settings(ImportSettings, own)


@with_options
def import_labels(options: ImportLabelsOptions) -> None:
    """Make a dataset from recordings labelled in Audacity, Raven, ELAN or a table.

    Recordings are cut into clips with their labels and divided by recording into training,
    validation and test: no recording is in two of them, and every class is in each as far as
    possible. A label file without recording names belongs to the recording of the same name
    (`a.txt`, `a_labels.txt`, `a.Table.1.selections.txt` to `a.wav`). A labelled recording counts as
    annotated completely, unless --regions or --region-label limit that; the rest, and recordings
    without a label file, become unlabelled training clips.

    Events that are cut, merged or left out are counted, and listed in `import/` in the dataset.
    Run it again to continue where it stopped. Recordings that cannot be read are reported, the
    others are imported, and the exit code is 1.

    Examples:
    - `earmark import-labels recordings --out data/own --dry-run`
    - `earmark import-labels recordings --out data/own --rename woof=Dog --drop noise --whole`
    - `earmark import-labels notes.csv --audio wavs --out data/own
      --columns onset=Begin,offset=End,label=Species,filename=File`
    - `earmark import-labels recordings --out data/own --region-label annotated --map classes.yaml`
    """
    from earmark.core.parallel import available_cores
    from earmark.prepare.importing.annotations import Reading
    from earmark.prepare.importing.class_map import load_class_map
    from earmark.prepare.importing.importer import read_import
    from earmark.prepare.importing.writing import write_import

    named = _pairs(options.columns)
    label_column = named.pop("label", None)
    settings, out = options.settings(), options.out
    job = read_import(
        options.labels,
        options.audio or [],
        Reading(options.format, named, label_column, options.encoding),
        load_class_map(options.class_map, options.rename or [], options.drop or [], options.rest),
        settings,
        regions=options.regions,
        splits=options.split_file,
        skip_missing=options.skip_missing,
    )
    console = Console()
    console.print(_classes(job))
    for line in _clips(job):
        say(console, line)
    for line in _oddities(job, settings):
        note(console, line)
    failed = dict(job.gathered.unreadable)
    if options.dry_run:
        say(console, "nothing was written (--dry-run)")
    else:
        with counting("clips") as progress:
            failed |= write_import(
                out,
                job,
                workers=options.workers or available_cores(),
                progress=progress,
            )
        say(console, f"{out}: see {out / 'import'}, then")
        say(console, f"  earmark doctor {out}")
        say(console, f"  earmark train mini --data {out} --out runs/own")
    exit_if_failed(dict(sorted(failed.items())), what="recordings could not be read")


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


def _fractions(text: str) -> dict[str, float]:
    from earmark.core.errors import ConfigError
    from earmark.prepare.importing.splitting import SPLITS

    try:
        values = [float(value) for value in text.split(",")]
    except ValueError:
        values = []
    if len(values) != len(SPLITS):
        raise ConfigError(
            f"--fractions: {text!r} is not three numbers",
            hint=f"Use fractions for {', '.join(SPLITS)}, e.g. 0.7,0.15,0.15",
        )
    return dict(zip(SPLITS, values, strict=True))


def _rate(text: str) -> int | None:
    from earmark.core.errors import ConfigError

    if text == "original":
        return None
    if not text.isdecimal():
        raise ConfigError(f"--rate: {text!r} is neither a whole number nor 'original'")
    return int(text)


def _classes(job: Import) -> Table:
    """Labels and seconds by class and split, with the names each class was made of.

    Labels are counted once, as they were annotated, and beside them the pieces that clips have.
    """
    from earmark.prepare.importing.writing import clips_by_split

    splits = clips_by_split(job.plan)
    splits.pop("unlabelled", None)
    table = Table("class", *(f"{name}: labels" for name in splits), "seconds", "names")
    labels = sorted({new for new, _ in job.changes.classes.values() if new is not None})
    for label in labels:
        events = {
            name: [event for clip in clips for event in clip.events if event.event_label == label]
            for name, clips in splits.items()
        }
        total = sum(event.offset - event.onset for own in events.values() for event in own)
        names = [old for old, (new, _) in job.changes.classes.items() if new == label]
        shown = "" if names == [label] else ", ".join(names)
        given = Counter(
            job.plan.splits.get(one.recording.key)
            for one in job.prepared
            for event in one.events
            if event.event_label == label
        )
        counts = (_counted(given[name], len(own)) for name, own in events.items())
        table.add_row(escape(label), *counts, f"{total:,.1f}", escape(shown))
    return table


def _counted(labels: int, pieces: int) -> str:
    return f"{labels:,}" if labels == pieces else f"{labels:,} ({pieces:,} pieces)"


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
        reasons = (f"{path.name} ({why})" for path, why in job.gathered.aside.items())
        yield f"no label files: {_some(reasons)}"
    yield from job.gathered.notes


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
    listed = list(items)
    more = ", …" if len(listed) > _SHOWN else ""
    return ", ".join(listed[:_SHOWN]) + more
