"""What the app does, without its layout: recordings are scored once and decided as often as asked.

A session is one open page. It keeps scores in memory, and names its files, which go with it.
"""

from __future__ import annotations

import shutil
import threading
import time
import zipfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from earmark.core.audio.audio import (
    expected_seconds,
    load_excerpt,
    read_blocks,
    write_audio,
    write_blocks,
)
from earmark.core.errors import AudioError, ConfigError, EarmarkError
from earmark.core.event import Event
from earmark.core.formats import FORMATS, write_events
from earmark.core.formats.base import event_table
from earmark.core.spec import spec_of
from earmark.core.tables.scores import ScoreTable
from earmark.core.timeline import seconds_to_samples
from earmark.deliver.pictures.view import plot_detection, spectrogram_columns
from earmark.detect.detector import Detector, Result
from earmark.detect.postprocess import scores_to_events
from earmark.detect.postprocess_spec import PostProcess

DOWNLOADS = ("tsv", "csv", "json", "audacity", "raven")
"""Formats in which events can be taken away."""
IDLE = 3600.0
"""Seconds after which a session that nobody uses is closed."""
TABLE = ("onset", "offset", "class", "score")
"""Columns of the table of events."""
_RATE = 24_000  # of sound that is made for the page
_PLAYED = frozenset({".wav", ".mp3", ".flac", ".ogg", ".opus", ".m4a", ".mp4", ".webm", ".aac"})
_drawing = threading.Lock()  # matplotlib's fonts are not made for threads

Step = Callable[[float, str], object]
"""Told the fraction that is done and the recording it is at."""


@dataclass(frozen=True)
class AppLimits:
    """What a visitor may ask for.

    Attributes:
        minutes: Length of all recordings of an upload together.
        megabytes: Size of a file.
        files: Recordings of an upload.
        at_once: Uploads that are scored at the same time.
        waiting: Uploads that may wait for that.

    Raises:
        ConfigError: If nothing would be allowed.
    """

    minutes: float = 60.0
    megabytes: int = 500
    files: int = 20
    at_once: int = 1
    waiting: int = 10

    def __post_init__(self) -> None:
        if not self.minutes > 0 or min(self.megabytes, self.files, self.at_once, self.waiting) < 1:
            raise ConfigError("limits of the app must be positive", hint="Use 1 or more")

    def sentence(self) -> str:
        """The limits, as visitors read them."""
        return (
            f"Up to {self.files} recordings at a time, {self.minutes:g} minutes together, "
            f"{self.megabytes} MB a file. {self.at_once} scored at a time, {self.waiting} may wait."
        )


@dataclass(frozen=True)
class HeardRecording:
    """A recording that was scored.

    Attributes:
        path: The file.
        name: What it is called.
        table: Its scores, of all classes.
        power: Its spectrogram, as of `spectrogram_columns`.
    """

    path: Path
    name: str
    table: ScoreTable
    power: NDArray[np.float64]

    @property
    def seconds(self) -> float:
        """Its length."""
        return float(self.table.boundaries[-1])


def hear(
    files: Sequence[Path], detector: Detector, limits: AppLimits, step: Step | None = None
) -> tuple[list[HeardRecording], dict[str, str]]:
    """Scores recordings, as far as the limits allow.

    Args:
        files: The recordings.
        detector: What scores them.
        limits: What is allowed.
        step: Told how it goes.

    Returns:
        Those that were scored, and for each of the others a sentence.

    Raises:
        ConfigError: If there are too many.
    """
    if len(files) > limits.files:
        raise ConfigError(
            f"{len(files)} recordings are more than {limits.files}", hint="Choose fewer at a time"
        )
    heard: list[HeardRecording] = []
    failures: dict[str, str] = {}
    left = limits.minutes * 60.0
    for number, (path, name) in enumerate(zip(files, _names(files), strict=True)):

        def told(fraction: float, number: int = number, name: str = name) -> None:
            if step is not None:
                step((number + fraction) / len(files), name)

        try:
            heard.append(_hear(path, name, detector, limits, left, told))
            left -= heard[-1].seconds
        except EarmarkError as error:
            failures[name] = sentence(error, {path: name})
    return heard, failures


def _hear(
    path: Path,
    name: str,
    detector: Detector,
    limits: AppLimits,
    left: float,
    told: Callable[[float], None],
) -> HeardRecording:
    def refuse_long(seconds: float) -> None:
        if seconds > left + 0.5:
            raise AudioError(
                f"longer than the {limits.minutes:g} minutes that recordings may have together",
                where=name,
                hint="Cut it, choose fewer, or use earmark detect, which has no limit",
            )

    if path.stat().st_size > limits.megabytes * 1e6:
        raise AudioError(f"larger than {limits.megabytes} MB", where=name, hint="Cut it")
    refuse_long(expected_seconds(path))
    frame = spec_of(detector.network).grid.seconds

    def progress(frames: int, total: int) -> None:
        refuse_long(frames * frame)  # what its header said may have been wrong
        told(min(1.0, frames / max(1, total)))

    table = detector.score(path, progress=progress)
    seconds = float(table.boundaries[-1])
    refuse_long(seconds)
    return HeardRecording(path, name, table, spectrogram_columns(path, seconds))


def _names(files: Sequence[Path]) -> list[str]:
    """A name for each file, told apart where several have one."""
    names: list[str] = []
    for path in files:
        name, number = path.name, 2
        while name in names:
            name, number = f"{path.stem} ({number}){path.suffix}", number + 1
        names.append(name)
    return names


def sentence(error: EarmarkError, names: Mapping[Path, str]) -> str:
    """An error as visitors read it: with the recording's name, never with a path of the server."""
    text = str(error)
    for path, name in names.items():
        text = text.replace(str(path), name)
    return " ".join(text.split()).rstrip(".") + "."


@dataclass
class AppSession:
    """An open page.

    Attributes:
        folder: For what is made for it.
        bundle: What its recordings were scored with.
        postprocess: That bundle's post-processing.
        labels: Its classes.
        heard: The recordings.
        thresholds: Class → threshold, where it is not the bundle's own.
        classes: The classes to be shown; all if empty.
        used: When it was last used, as of `time.monotonic`.
    """

    folder: Path
    bundle: str = ""
    postprocess: PostProcess = field(default_factory=PostProcess)
    labels: tuple[str, ...] = ()
    heard: list[HeardRecording] = field(default_factory=list)
    thresholds: dict[str, float] = field(default_factory=dict)
    classes: tuple[str, ...] = ()
    used: float = field(default_factory=time.monotonic)
    _made: int = 0

    def take(self, bundle: str, detector: Detector, heard: Sequence[HeardRecording]) -> None:
        """Takes recordings in place of those it has; thresholds go where the bundle is another."""
        if bundle != self.bundle or detector.labels != self.labels:
            self.thresholds, self.classes = {}, ()
        self.bundle, self.labels = bundle, detector.labels
        self.postprocess, self.heard = detector.postprocess, list(heard)

    def threshold(self, label: str | None) -> float:
        """A class's threshold, in hundredths; of all classes (None) their median."""
        own = [
            self.thresholds.get(one, self.postprocess.for_label(one).threshold)
            for one in (self.labels if label is None else (label,))
        ]
        return round(float(np.median(own)), 2)

    def set_threshold(self, label: str | None, value: float) -> None:
        """Changes the threshold of a class, or of all (None)."""
        for one in self.labels if label is None else (label,):
            self.thresholds[one] = value

    def result(self, number: int) -> Result:
        """The events of a recording with the thresholds as they are; scores are not computed."""
        return decide(self.heard[number], self.postprocess, self.thresholds, self.classes)

    def results(self) -> list[Result]:
        """The events of all recordings."""
        return [self.result(number) for number in range(len(self.heard))]

    def draw(self, number: int) -> Path:
        """Draws a recording with its events; returns the picture."""
        one = self.heard[number]
        file = self._file("picture.png")
        with _drawing:
            return plot_detection(file, one.path, self.result(number), power=one.power)

    def downloads(self) -> dict[str, Path]:
        """Format → file of the events of all recordings."""
        return write_downloads(self._file("events").parent, self.results())

    def sound(self, number: int) -> Path:
        """A recording as a file that browsers play."""
        one = self.heard[number]
        if one.path.suffix.lower() in _PLAYED:
            return one.path
        file = self._file(f"{one.path.stem}.flac")
        write_blocks(file, read_blocks(one.path, _RATE), _RATE)
        return file

    def event_sound(self, number: int, event: Event, padding: float = 0.5) -> Path:
        """An event, with so many seconds around it, as a file that browsers play."""
        first = seconds_to_samples(max(0.0, event.onset - padding), _RATE)
        count = seconds_to_samples(event.offset + padding, _RATE) - first
        file = self._file("event.wav")
        write_audio(file, load_excerpt(self.heard[number].path, first, count, _RATE), _RATE)
        return file

    def _file(self, name: str) -> Path:
        """A new file of the session, in a folder of its own; earlier ones but a few are removed."""
        self._made += 1
        shutil.rmtree(self.folder / str(self._made - 20), ignore_errors=True)
        folder = self.folder / str(self._made)
        folder.mkdir(parents=True)
        return folder / name


def decide(
    heard: HeardRecording,
    postprocess: PostProcess,
    thresholds: Mapping[str, float] | None = None,
    classes: Sequence[str] = (),
) -> Result:
    """Turns kept scores into events.

    Args:
        heard: The recording.
        postprocess: The bundle's.
        thresholds: Class → threshold, where it is another.
        classes: The classes to decide; all if empty.
    """
    table = heard.table
    columns = [n for n, label in enumerate(table.labels) if not classes or label in classes]
    if len(columns) < len(table.labels):
        labels = tuple(table.labels[n] for n in columns)
        table = ScoreTable(table.boundaries, table.values[:, columns], labels)
    own = {
        label: (thresholds or {}).get(label, postprocess.for_label(label).threshold)
        for label in table.labels
    }
    found = scores_to_events(table, postprocess.with_threshold(own))
    return Result(heard.name, heard.seconds, table, tuple(found))


def table_rows(result: Result) -> list[list[str]]:
    """A row of `TABLE` for each event."""
    return [
        [clock(event.onset), clock(event.offset), event.event_label, f"{event.score or 0.0:.2f}"]
        for event in result.found
    ]


def clock(seconds: float) -> str:
    """A time as ``h:mm:ss.ss``."""
    hundredths = round(seconds * 100)
    minutes, rest = divmod(hundredths, 6000)
    return f"{minutes // 60}:{minutes % 60:02}:{rest / 100:05.2f}"


def write_downloads(folder: Path, results: Sequence[Result]) -> dict[str, Path]:
    """Writes events in all formats of `DOWNLOADS`.

    What holds one recording alone becomes a file for each, packed into one, where there are
    several.

    Returns:
        Format → file.
    """
    named = [(result.filename, event) for result in results for event in result.found]
    stem = Path(results[0].filename).stem if len(results) == 1 else "events"
    written: dict[str, Path] = {}
    for kind in DOWNLOADS:
        suffix = FORMATS[kind].suffix
        if len(results) == 1 or not FORMATS[kind].one_recording:
            written[kind] = folder / f"{stem}{suffix}"
            write_events(written[kind], event_table(named, scored=True), kind)
            continue
        written[kind] = folder / f"{kind}.zip"
        with zipfile.ZipFile(written[kind], "w", zipfile.ZIP_DEFLATED) as pack:
            for result in results:
                file = folder / kind / f"{result.filename}{suffix}"
                write_events(file, result.events, kind)
                pack.write(file, file.name)
    return written


class AppSessions:
    """All open pages, by a key of each.

    Args:
        root: Where their folders are made.
    """

    def __init__(self, root: Path) -> None:
        self._root, self._lock = root, threading.Lock()
        self._open: dict[str, AppSession] = {}
        self._count = 0

    def __len__(self) -> int:
        return len(self._open)

    def get(self, key: str) -> AppSession:
        """The session of a page, which is opened if it is not; idle ones are closed."""
        now = time.monotonic()
        with self._lock:
            if key not in self._open:
                self._count += 1
                self._open[key] = AppSession(self._root / str(self._count))
            self._open[key].used = now
            idle = [other for other, one in self._open.items() if now - one.used > IDLE]
        for other in idle:
            self.close(other)
        return self._open[key]

    def close(self, key: str) -> None:
        """Forgets a page, and removes its files but those that another page has too."""
        with self._lock:
            session = self._open.pop(key, None)
            others = {one.path for open in self._open.values() for one in open.heard}
        if session is None:
            return
        shutil.rmtree(session.folder, ignore_errors=True)
        for one in session.heard:
            if one.path not in others:
                one.path.unlink(missing_ok=True)
