"""The review page: look at what was found in recordings, listen, correct it, take the labels away.

A page is a folder: ``index.html``, and ``page/`` with all that it loads. A browser opens it as a
file, without a server or the network; what it needs of a long recording it loads when it is shown.
Names of recordings and classes may hold anything: they reach the page as data and are shown as
text, never as markup.
"""

from __future__ import annotations

import base64
import hashlib
import json
import mimetypes
import shutil
import tempfile
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from earmark.core.errors import ConfigError, EarmarkError, optional_package
from earmark.core.event import Event
from earmark.core.files import write_text
from earmark.core.folders import refuse_foreign
from earmark.core.locking import only_writer
from earmark.core.parallel import Progress
from earmark.deliver.pages.judging import MISS, judge
from earmark.deliver.pages.scripts import asset, rendered, script_json, styles
from earmark.deliver.pages.sounds import SOUND_KINDS, SoundKind, write_sound
from earmark.deliver.pages.tiles import BANDS, COLUMNS, LOWEST, SCORES, TILE, ZOOM, write_scores
from earmark.detect.detector import Result

INDEX, FOLDER = "index.html", "page"
_TRACKS = 12  # classes whose scores are shown although nothing of them was found
_MOST_TRACKS = 60
_SCRIPT, _STYLE = "review.js", "review.css"
_FIRST = "// The review page."  # how the script begins


@dataclass(frozen=True)
class ReviewItem:
    """A recording of a page.

    Attributes:
        path: The file.
        name: What it is called in tables.
        detect: Finds its events; called with a callback for frames done and frames in total.
        truth: Its true events; None if they are not known.
        labelled: Classes it was annotated for; all when None.
        channel: The channel to be shown, the first being 1; the mean of all when None.
    """

    path: Path
    name: str
    detect: Callable[[Progress], Result]
    truth: tuple[Event, ...] | None = None
    labelled: Collection[str] | None = None
    channel: int | None = None


@dataclass
class ReviewPage:
    """What a page holds.

    Attributes:
        file: What to open.
        recordings: How many it shows.
        seconds: Their length.
        events: How many were found in them.
        failures: Those that could not be read, with the reason.
    """

    file: Path
    recordings: int = 0
    seconds: float = 0.0
    events: int = 0
    failures: dict[Path, str] = field(default_factory=dict)


def write_review(
    out: Path,
    items: Sequence[ReviewItem],
    *,
    title: str,
    labels: Sequence[str],
    sound: str = "opus",
    single: bool = False,
    progress: Progress | None = None,
) -> ReviewPage:
    """Writes a review page.

    Args:
        out: The page's folder, which is new, empty or an earlier page; with ``single`` the file.
        items: The recordings.
        title: Shown at the top; the name of the bundle.
        labels: Classes that a reviewer can choose from, beside those of the true events.
        sound: One of ``SOUND_KINDS``.
        single: Whether to write one file that holds everything.
        progress: Called with thousandths of recordings done and in total.

    Raises:
        ConfigError: If the kind of sound is unknown, the file's name is not one of a page, or a
            package is missing.
        DataError: If the folder holds something else.
        EarmarkError: If none of the recordings can be read, or the page cannot be written.
    """
    if sound not in SOUND_KINDS:
        raise ConfigError(
            f"no kind of sound is called {sound!r}", hint=f"Choose {', '.join(SOUND_KINDS)}"
        )
    for package in ("matplotlib", "PIL.Image", "jinja2"):
        optional_package(package, "review pages need", "plot")
    try:
        if single:
            if out.suffix.lower() not in (".html", ".htm"):
                raise ConfigError(
                    "a page of one file must end with .html", where=out,
                    hint="Use --out review.html, or leave out --single",
                )  # fmt: skip
            with tempfile.TemporaryDirectory() as scratch:
                page, data = _write_parts(
                    Path(scratch), items, title, labels, SOUND_KINDS[sound], progress
                )
                write_text(out, _document(title, data, _inlined(Path(scratch))))
            page.file = out
            return page
        with only_writer(out):
            _claim(out)
            page, data = _write_parts(out, items, title, labels, SOUND_KINDS[sound], progress)
            write_text(out / FOLDER / "data.js", f"EARMARK.open({data});\n")
            write_text(out / INDEX, _document(title))
    except OSError as error:
        raise EarmarkError(f"cannot be written ({error.strerror})", where=out) from None
    return page


def _claim(out: Path) -> None:
    """Makes the folder ours: new, empty, or an earlier page, finished or not, which goes."""
    script = out / FOLDER / _SCRIPT
    if script.is_file() and script.read_text("utf-8", "replace").startswith(_FIRST):
        refuse_foreign(out, "review page", (INDEX, FOLDER))
        (out / INDEX).unlink(missing_ok=True)
        shutil.rmtree(out / FOLDER)
    refuse_foreign(out, "review page")
    # First, so that a page that was stopped is known as one.
    write_text(out / FOLDER / _SCRIPT, asset(_SCRIPT))
    write_text(out / FOLDER / _STYLE, styles(_STYLE))


def _write_parts(
    root: Path,
    items: Sequence[ReviewItem],
    title: str,
    labels: Sequence[str],
    kind: SoundKind,
    progress: Progress | None,
) -> tuple[ReviewPage, str]:
    """Writes what belongs to the recordings; returns what the page is told of them, as JSON."""
    page = ReviewPage(root / INDEX)
    recordings: list[dict[str, Any]] = []
    for number, item in enumerate(items):

        def step(done: int, total: int, number: int = number) -> None:
            if progress is not None:  # finding events is about half of the work
                progress(1000 * number + 500 * done // max(1, total), 1000 * len(items))

        folder = root / FOLDER / str(len(recordings))
        folder.mkdir(parents=True)
        try:
            recordings.append(_recording(item, folder, kind, step, page))
        except EarmarkError as error:
            page.failures[item.path] = str(error)
            shutil.rmtree(folder)
        if progress is not None:
            progress(1000 * (number + 1), 1000 * len(items))
    if not recordings:
        reason = next(iter(page.failures.values()), "there are none")
        raise EarmarkError(f"no recording can be shown: {reason}")
    known = [event[2] for one in recordings for event in (one["truth"] or ())]
    content: dict[str, Any] = {
        "title": title,
        "labels": sorted({*labels, *known}, key=str.casefold),
        "media": kind.media,
        "tile": TILE,
        "zoom": ZOOM,
        "rates": [COLUMNS, SCORES],
        "bands": [BANDS, LOWEST],
        "recordings": recordings,
    }
    # The key of a reviewer's work in the browser: equal pages share it, whatever their place.
    told = json.dumps(content, sort_keys=True).encode()
    content["digest"] = hashlib.sha256(told).hexdigest()[:32]
    return page, script_json(content)


def _recording(
    item: ReviewItem, folder: Path, kind: SoundKind, progress: Progress, page: ReviewPage
) -> dict[str, Any]:
    """Writes the files of a recording; returns what the page is told of it."""
    result = item.detect(progress)
    sound = write_sound(item.path, folder, kind, item.channel)
    tracks = _tracks(result, item.truth or ())
    columns = [result.table.labels.index(label) for label in tracks]
    key = f"{FOLDER}/{folder.name}"
    levels = write_scores(folder, key, result.table, columns)
    truth = None if item.truth is None else sorted(item.truth)
    kinds, others = judge(result.found, truth or (), item.labelled if truth is not None else ())
    page.recordings += 1
    page.seconds += sound.seconds
    page.events += len(result.found)
    return {
        "name": item.name,
        "key": key,
        "seconds": round(sound.seconds, 6),
        "top": sound.rate / 2,
        "levels": [sound.levels, levels],
        "tracks": tracks,
        "sound": [[round(first, 6), round(last, 6), name] for first, last, name in sound.pieces],
        "found": [
            [*_times(event), event.event_label, _score(event), word]
            for event, word in zip(result.found, kinds, strict=True)
        ],
        "truth": None
        if truth is None
        else [
            [*_times(event), event.event_label, int(word == MISS)]
            for event, word in zip(truth, others, strict=True)
        ],
    }


def _times(event: Event) -> tuple[float, float]:
    return round(event.onset, 6), round(event.offset, 6)


def _score(event: Event) -> float | None:
    return None if event.score is None else round(event.score, 4)


def _tracks(result: Result, truth: Iterable[Event]) -> list[str]:
    """Classes whose scores are shown: those with events, then those with the highest peaks."""
    table = result.table
    active = {event.event_label for event in (*result.found, *truth)}
    peaks = dict(zip(table.labels, np.max(table.values, axis=0).tolist(), strict=True))
    ranked = sorted(table.labels, key=lambda label: (label not in active, -peaks[label]))
    count = max(_TRACKS, sum(label in active for label in table.labels))
    chosen = set(ranked[: min(count, _MOST_TRACKS)])
    return [label for label in table.labels if label in chosen]


def _inlined(root: Path) -> Mapping[str, str]:
    """Name → content of all files of a page, as data that a script holds."""
    found = {}
    for path in sorted((root / FOLDER).rglob("*")):
        name = path.relative_to(root).as_posix()
        if path.suffix == ".js":
            found[name] = path.read_text("utf-8")
        elif path.is_file():
            media = mimetypes.guess_type(path.name)[0] or "application/octet-stream"
            found[name] = f"data:{media};base64,{base64.b64encode(path.read_bytes()).decode()}"
    return found


def _document(title: str, data: str = "", files: Mapping[str, str] | None = None) -> str:
    """The page's HTML; with all its files in it, if they are given."""
    return rendered(
        "review.html",
        title=title,
        folder=FOLDER,
        css=styles(_STYLE) if files is not None else "",
        js=asset(_SCRIPT) if files is not None else "",
        data=data,
        files=None if files is None else script_json(files),
    )
