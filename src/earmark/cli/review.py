"""``earmark review``: a page on which people listen to what was found, and correct it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from rich.console import Console

from earmark.cli.console import exit_if_failed, note, say
from earmark.cli.options import DetectionOptions, argument, option, with_options

if TYPE_CHECKING:
    from earmark.core.event import Event
    from earmark.core.parallel import Progress
    from earmark.deliver.pages.review import ReviewItem
    from earmark.detect.detector import Detector, Result


@dataclass(frozen=True, kw_only=True)
class ReviewOptions(DetectionOptions):
    """Options of ``earmark review``."""

    audio: list[str] | None = argument(
        None, "Recordings, folders of them, or patterns such as 'rec/**/*.wav'."
    )
    out: Path = option(
        ..., "Write the page to this folder; with --single, to this .html file.", "--out", "-o"
    )
    truth: Path | None = option(
        None, "True events, in any format that import-labels reads: shows what was missed."
    )
    data: Path | None = option(
        None, "Review the clips of a dataset, with their labels as truth, instead of AUDIO."
    )
    split: str = option("validation", "With --data: which split.")
    sound: Literal["opus", "mp3", "flac"] = option(
        "opus", "Compress the sound as opus, mp3 (any browser plays it) or flac (lossless)."
    )
    single: bool = option(
        False, "Write one file that holds everything; for minutes, not hours.", "--single"
    )
    channels: str = option(
        "mean",
        "Detect in, show and play the mean of all channels, the first, or channel N.",
        metavar="mean|first|N",
    )


@with_options
def review(options: ReviewOptions) -> None:
    """Make a page to look at, listen to and correct what a bundle finds in recordings.

    OUT/index.html opens in a browser as it is, without a server or the network: spectrogram, scores
    and events of every recording, a list of events to accept, reject, relabel, move and add to, by
    keyboard or mouse. The browser keeps the work; export it as a table that `earmark import-labels`
    and `earmark score` read, or as Audacity labels. With --truth or --data the page tells hits,
    misses, false alarms and confusions. See docs/review.md.

    Examples:
    - `earmark review home kitchen.wav street/ --out page`
    - `earmark review runs/own night.flac --truth night.txt --out page`
    - `earmark review home --data data/own --split test --out errors`
    - `earmark review home doorbell.wav --single --out doorbell.html`
    """
    from earmark.cli.progress import counting
    from earmark.core.errors import ConfigError
    from earmark.core.naming import readable
    from earmark.deliver.batch import DetectorSettings
    from earmark.deliver.pages.review import write_review

    if bool(options.audio) == (options.data is not None) or (options.truth and options.data):
        raise ConfigError(
            "recordings or --data, not both or neither",
            hint="Name recordings, with --truth or without, or a dataset with --data",
        )
    if options.channels in ("each", "auto"):
        raise ConfigError("a page shows one channel", hint="Use --channels mean, first or N")
    console = Console()
    settings = DetectorSettings(
        options.bundle, options.channels, tuple(options.classes or ()), options.detecting
    )  # fmt: skip
    detector = settings.load()
    items = _of_data(console, options, detector) if options.data else None
    items = _of_audio(console, options, detector) if items is None else items
    with counting("reviewing recordings") as bar:
        page = write_review(
            options.out, items, title=options.bundle, labels=detector.labels, sound=options.sound,
            single=options.single, progress=bar,
        )  # fmt: skip
    size = sum(path.stat().st_size for path in _files(page.file, single=options.single))
    say(
        console,
        f"{page.events} event{'s' * (page.events != 1)} in {page.recordings} "
        f"recording{'s' * (page.recordings != 1)} ({page.seconds:.1f} s), {size / 1e6:.1f} MB: "
        f"open {page.file} in a browser",
    )
    failures = {readable(str(path)): readable(why) for path, why in page.failures.items()}
    exit_if_failed(failures, "The page shows the others")


def _files(index: Path, *, single: bool) -> list[Path]:
    return [index] if single else [path for path in index.parent.rglob("*") if path.is_file()]


def _finder(detector: Detector, path: Path, name: str) -> Callable[[Progress], Result]:
    return lambda progress: detector.detect(path, filename=name, progress=progress)


def _of_audio(console: Console, options: ReviewOptions, detector: Detector) -> list[ReviewItem]:
    from earmark.core.audio.folders import left_out
    from earmark.deliver.pages.review import ReviewItem
    from earmark.deliver.recordings import named_recordings

    others: dict[Path, str] = {}
    named = named_recordings(options.audio or [], others)
    for text in left_out(others):
        note(console, text)
    truth = None if options.truth is None else _truth(console, options.truth, named)
    return [
        ReviewItem(
            path, name, _finder(detector, path, name),
            None if truth is None else tuple(truth.get(name, ())), channel=detector.channel,
        )
        for path, name in named.items()
    ]  # fmt: skip


def _truth(console: Console, file: Path, named: Mapping[Path, str]) -> dict[str, list[Event]]:
    """True events by the names of the recordings."""
    from earmark.core.event import Event
    from earmark.core.formats import READERS, format_of, read_events
    from earmark.core.naming import RecordingNames

    single = next(iter(named.values())) if len(named) == 1 else None
    format = format_of(file)
    table = read_events(file, format, recording=single if format in READERS else None)
    found = RecordingNames.of_files(named).match(dict.fromkeys(table["filename"]), where=file)
    truth: dict[str, list[Event]] = {}
    columns = (table[name] for name in ("filename", "onset", "offset", "event_label"))
    for listed, onset, offset, label in zip(*columns, strict=True):
        if listed in found:
            truth.setdefault(found[listed], []).append(Event(float(onset), float(offset), label))
    lost = set(table["filename"]) - found.keys()
    if lost:
        note(console, f"{file}: labels of {len(lost)} recordings that are not reviewed here")
    return truth


def _of_data(console: Console, options: ReviewOptions, detector: Detector) -> list[ReviewItem]:
    from earmark.deliver.pages.review import ReviewItem
    from earmark.detect.evaluate import load_split

    assert options.data is not None
    evaluation, notes = load_split(options.data, options.split)
    for text in notes:
        note(console, text)
    named = [(path, evaluation.name_of(path)) for path in evaluation.clips]
    return [
        ReviewItem(
            path, name, _finder(detector, path, name), tuple(evaluation.events.get(name, ())),
            evaluation.labelled, detector.channel,
        )
        for path, name in named
    ]  # fmt: skip
