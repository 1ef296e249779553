"""``earmark detect``: the events of files and folders, continuing where it stopped."""

from __future__ import annotations

import hashlib
import json
import os
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table

from earmark import __version__
from earmark.core.errors import AudioError, ConfigError, EarmarkError

if TYPE_CHECKING:
    from earmark.detect.detector import Detector, Result

JOURNAL = "detect.jsonl"
COMBINED = "events.tsv"
_ROWS = 40  # of the table printed for a single recording

Found = list[tuple[float, float, str, float]]


def detect(
    bundle: Annotated[str, typer.Argument(help="A shipped bundle, a folder, or a Hub id.")],
    audio: Annotated[list[Path], typer.Argument(help="Recordings and folders of them.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for what is found.")],
    formats: Annotated[
        str, typer.Option("--format", help="Kinds of event files, separated by commas.")
    ] = "tsv,json,audacity",
    plot: Annotated[
        bool | None,
        typer.Option(
            "--plot/--no-plot", help="Picture of each recording; by default of a single one."
        ),
    ] = None,
    threshold: Annotated[
        float | None, typer.Option(help="Score above which a class is heard; the bundle's if none.")
    ] = None,
    batch_size: Annotated[int, typer.Option(min=1, help="Windows per call of the network.")] = 8,
    hop_seconds: Annotated[
        float | None, typer.Option(help="Time between windows, in seconds; half a window if none.")
    ] = None,
) -> None:
    """Finds the events of recordings of any length.

    Writes the events of each recording, and of all together `events.tsv`, into the folder OUT.
    Recordings done before with the same bundle and options are not done again. A recording that
    cannot be read does not stop the others; it is named at the end, and the exit code is 1.
    """
    console, errors = Console(), Console(stderr=True)
    kinds = _kinds(formats)
    recordings = find_recordings(audio)
    detector = _load(bundle, threshold, batch_size, hop_seconds)
    job = Job(
        kinds=kinds,
        picture=len(recordings) == 1 and _can_draw() if plot is None else plot,
        key=_key(detector, hop_seconds),
    )
    if job.picture:
        _check_matplotlib()
    journal = Journal(_folder(out) / JOURNAL)
    work = _plan(recordings, journal, job)
    failures = _work_through(work, detector, job, journal, errors)
    records = [journal.done[path] for path in work if path not in failures]
    _write_combined(out / COMBINED, records)
    _report(console, out, work, records, failures)
    for path, reason in failures.items():
        errors.print(f"[red]failed:[/red] {escape(_reason(path, reason))}", soft_wrap=True)
    if failures:
        raise typer.Exit(1)


@dataclass(frozen=True)
class Job:
    """What is to be made of each recording, and the key of everything that decides its events."""

    kinds: tuple[str, ...]
    picture: bool
    key: str

    def outputs(self, name: str) -> list[str]:
        """Names of the files of a recording whose files are called ``name``."""
        from earmark.core.events import FORMATS

        files = [f"{name}{FORMATS[kind].suffix}" for kind in self.kinds]
        return [*files, f"{name}.png"] if self.picture else files


@dataclass(frozen=True)
class Record:
    """A recording that is done: what it was, under which key, its files' name and its events."""

    path: str
    size: int
    modified: int
    key: str
    name: str
    duration: float
    events: Found


@dataclass(frozen=True)
class Task:
    """A recording to be done or done before, and what its files are called."""

    name: str
    done: bool


class Journal:
    """The recordings done so far, one JSON object a line; a torn last line is ignored.

    Args:
        path: The file; made with the first record.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.done: dict[Path, Record] = {}
        text = path.read_text(encoding="utf-8", errors="replace") if path.is_file() else ""
        for line in text.splitlines():
            try:
                fields = json.loads(line)
                fields["events"] = [tuple(event) for event in fields["events"]]
                record = Record(**fields)
            except (ValueError, TypeError, KeyError):
                continue  # written half when the machine stopped: that recording is done again
            self.done[Path(record.path)] = record
        self._torn = bool(text) and not text.endswith("\n")

    def add(self, record: Record) -> None:
        """Records that a recording's files are all written."""
        with self.path.open("a", encoding="utf-8") as file:
            line = json.dumps(asdict(record), ensure_ascii=False)
            file.write(("\n" if self._torn else "") + line + "\n")
            file.flush()
            os.fsync(file.fileno())
        self._torn = False
        self.done[Path(record.path)] = record


def find_recordings(audio: Iterable[Path]) -> list[Path]:
    """Lists the recordings named or inside the folders named, each once, as full paths.

    Raises:
        AudioError: If a path does not exist or a folder holds no recording.
    """
    from earmark.core.audio import list_audio

    found: dict[Path, None] = {}
    for path in audio:
        if path.is_dir():
            inside = list_audio(path)
            if not inside:
                raise AudioError("no recordings in this folder", where=path)
            found.update(dict.fromkeys(map(_full, inside)))
        elif path.exists():
            found[_full(path)] = None
        else:
            raise AudioError("no such file or folder", where=path, mend="Check the path")
    return list(found)


def _full(path: Path) -> Path:
    """The full path; links are kept, for they may be what gives recordings their names."""
    return Path(os.path.normpath(path.absolute()))


def _kinds(formats: str) -> tuple[str, ...]:
    from earmark.core.events import FORMATS

    kinds = tuple(dict.fromkeys(kind.strip() for kind in formats.split(",") if kind.strip()))
    unknown = [kind for kind in kinds if kind not in FORMATS]
    if unknown or not kinds:
        raise ConfigError(
            f"no event format is called {', '.join(map(repr, unknown)) or 'nothing'}",
            mend=f"Known formats: {', '.join(FORMATS)}",
        )
    return kinds


def _load(
    bundle: str, threshold: float | None, batch_size: int, hop_seconds: float | None
) -> Detector:
    from earmark.detect.detector import Detector

    detector = Detector.from_pretrained(bundle, batch_size=batch_size, hop_seconds=hop_seconds)
    if threshold is not None:
        detector.postprocess = detector.postprocess.with_threshold(threshold)
    return detector


def _key(detector: Detector, hop_seconds: float | None) -> str:
    """What decides a recording's events, as 16 hexadecimal digits."""
    settings = [
        __version__,
        detector.fingerprint,
        detector.labels,
        detector.postprocess.to_dict(),
        hop_seconds,
    ]
    return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:16]


def _folder(out: Path) -> Path:
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise EarmarkError(
            f"cannot be made a folder ({error.strerror})", where=out, mend="Choose another --out"
        ) from None
    return out


def _can_draw() -> bool:
    return find_spec("matplotlib") is not None


def _check_matplotlib() -> None:
    from earmark.deliver.view import require_matplotlib

    require_matplotlib()


def file_names(recordings: Sequence[Path], taken: Mapping[str, Path]) -> dict[Path, str]:
    """Chooses what each recording's files are called, so that none overwrites another's.

    A recording keeps the name it had before. Otherwise it is its stem; where several have that,
    the whole name with the folders that tell them apart; where that is taken, more folders.

    Args:
        recordings: Full paths.
        taken: Names in use, with the recording each belongs to.

    Returns:
        Recording → name without extension, unique whatever the file system makes of case.
    """
    chosen = {path: name for name, path in taken.items()}
    used = {name.casefold() for name in [*taken, Path(JOURNAL).stem, Path(COMBINED).stem]}
    stems = Counter(path.stem.casefold() for path in recordings)
    shown = shown_names(recordings)
    for path in recordings:
        if path in chosen:
            continue
        parts = [part.strip("\\/:") for part in path.parts]
        first = len(Path(shown[path]).parts)
        longer = ["__".join(parts[-count:]) for count in range(first, len(parts) + 1)]
        names = longer if stems[path.stem.casefold()] > 1 else [path.stem, *longer]
        digest = hashlib.sha256(str(path).encode()).hexdigest()[:16]
        chosen[path] = next(n for n in [*names, digest] if n.casefold() not in used)
        used.add(chosen[path].casefold())
    return {path: chosen[path] for path in recordings}


def shown_names(recordings: Sequence[Path]) -> dict[Path, str]:
    """Names recordings in the tables: by base name, with as many folders as tell them apart."""
    shown = {path: path.name for path in recordings}
    depth = 1
    while True:
        count = Counter(shown.values())
        same = [path for path in recordings if count[shown[path]] > 1]
        if not same:
            return shown
        depth += 1
        shown |= {path: "/".join(path.parts[-depth:]) for path in same}


def _plan(recordings: Sequence[Path], journal: Journal, job: Job) -> dict[Path, Task]:
    names = file_names(recordings, {r.name: path for path, r in journal.done.items()})
    plan: dict[Path, Task] = {}
    for path in recordings:
        record = journal.done.get(path)
        stamp = (*_stamp(path), job.key)
        same = record is not None and (record.size, record.modified, record.key) == stamp
        there = all((journal.path.parent / file).is_file() for file in job.outputs(names[path]))
        plan[path] = Task(names[path], same and there)
    return plan


def _stamp(path: Path) -> tuple[int, int]:
    status = path.stat()
    return status.st_size, status.st_mtime_ns


def _work_through(
    work: Mapping[Path, Task], detector: Detector, job: Job, journal: Journal, errors: Console
) -> dict[Path, str]:
    """Detects in all recordings not done; returns those that failed, with the reason."""
    failures: dict[Path, str] = {}
    waiting = [path for path, task in work.items() if not task.done]
    bar = Progress(
        TextColumn("[bold]{task.description}"),
        BarColumn(bar_width=30),
        TextColumn("{task.percentage:>3.0f} %"),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        console=errors,
        transient=True,
    )
    with bar:
        total = bar.add_task("recordings", total=len(waiting), visible=len(waiting) > 1)
        for path in waiting:
            current = bar.add_task(escape(path.name), total=None)

            def advance(done: int, frames: int, current: Any = current) -> None:
                bar.update(current, completed=done, total=frames)

            try:
                journal.add(_one(path, work[path], detector, job, journal.path.parent, advance))
            except (EarmarkError, OSError) as error:
                failures[path] = str(error)
            bar.remove_task(current)
            bar.advance(total)
    return failures


def _one(
    path: Path,
    task: Task,
    detector: Detector,
    job: Job,
    out: Path,
    progress: Callable[[int, int], None],
) -> Record:
    """Detects in one recording and writes its files."""
    size, modified = _stamp(path)
    result = detector.detect(path, progress=progress)
    _write_files(out, task.name, path, result, job)
    return Record(
        path=str(path),
        size=size,
        modified=modified,
        key=job.key,
        name=task.name,
        duration=result.duration,
        events=list(result.found),
    )


def _write_files(out: Path, name: str, path: Path, result: Result, job: Job) -> None:
    from earmark.core.events import FORMATS, write_events

    for kind in job.kinds:
        write = partial(write_events, events=result.events, format=kind)
        _whole(out / f"{name}{FORMATS[kind].suffix}", write)
    if job.picture:
        from earmark.deliver.view import plot_detection

        _whole(out / f"{name}.png", lambda draft: plot_detection(draft, path, result))


def _whole(target: Path, write: Callable[[Path], Any]) -> None:
    """Lets a file appear whole or not at all."""
    draft = target.with_name(f".{target.name}.{os.getpid()}.draft")
    try:
        write(draft)
        draft.replace(target)
    finally:
        draft.unlink(missing_ok=True)


def _write_combined(path: Path, records: Sequence[Record]) -> None:
    """Writes the events of all recordings, the recording's name in each row."""
    import pandas as pd

    from earmark.core.events import write_events
    from earmark.detect.detector import RESULT_COLUMNS

    shown = shown_names([Path(record.path) for record in records])
    rows = [(shown[Path(record.path)], *event) for record in records for event in record.events]
    events = pd.DataFrame(rows, columns=list(RESULT_COLUMNS))
    _whole(path, partial(write_events, events=events, format="tsv"))


def _report(
    console: Console,
    out: Path,
    work: Mapping[Path, Task],
    records: Sequence[Record],
    failures: Mapping[Path, str],
) -> None:
    """Prints what was found: all of it for one recording, counts for many."""
    if len(work) == 1 and records:
        console.print(_printed(records[0]))
    before = sum(task.done for task in work.values())
    count = sum(len(record.events) for record in records)
    seconds = sum(record.duration for record in records)
    console.print(
        f"{count} event{'s' * (count != 1)} in {len(records)} recording{'s' * (len(records) != 1)}"
        f" ({seconds:.1f} s)"
        + (f", {before} of them done before" if before else "")
        + (f", {len(failures)} failed" if failures else "")
        + f": {escape(str(out / COMBINED))}",
        soft_wrap=True,
        highlight=False,
    )


def _printed(record: Record) -> Table:
    events = record.events
    table = Table(title=escape(Path(record.path).name), title_justify="left")
    for heading in ("onset (s)", "offset (s)"):
        table.add_column(heading, justify="right")
    table.add_column("event")
    table.add_column("score", justify="right")
    for onset, offset, label, score in events[:_ROWS]:
        table.add_row(f"{onset:.3f}", f"{offset:.3f}", escape(label), f"{score:.2f}")
    if len(events) > _ROWS:
        table.caption = f"{_ROWS} of {len(events)} events; all are in the files"
    return table


def _reason(path: Path, reason: str) -> str:
    return reason if path.name in reason else f"{path}: {reason}"
