"""``earmark suggest``: what to label next."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from rich.console import Console

from earmark.cli.console import exit_if_failed, note, say
from earmark.cli.options import DetectionOptions, argument, option, with_options

if TYPE_CHECKING:
    from earmark.core.naming import RecordingNames

_BUDGET = re.compile(r"(\d+(?:\.\d+)?)\s*(s|m|min|h)")
_SECONDS = {"s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0}


@dataclass(frozen=True, kw_only=True)
class SuggestOptions(DetectionOptions):
    """Options of ``earmark suggest``."""

    audio: list[str] = argument(..., "Unlabelled recordings, folders of them, or patterns.")
    out: Path = option(..., "Write clips, table and page to this folder.", "--out", "-o")
    budget: str = option(
        "30m", "Suggest so much to label: seconds, minutes or hours.", metavar="90s|30m|1.5h"
    )
    by: Literal["diversity", "both"] = option(
        "diversity",
        "Choose what is unlike everything chosen before (diversity), or times how unsure the "
        "bundle is of it (both).",
    )
    length: float = option(10.0, "Seconds of a stretch.", min=1)
    labels: list[Path] | None = option(
        None,
        "Labels there are, in any format that import-labels reads: recordings they name are "
        "left out; may be repeated.",
    )
    data: list[Path] | None = option(
        None,
        "Datasets: what they have labels of, or are scored on, is left out; may be repeated.",
    )
    skip: list[Path] | None = option(
        None, "Tables of earlier suggestions: their stretches are left out; may be repeated."
    )
    seed: int = option(0, "Seed of the projection of embeddings.", min=0)
    channels: str = option(
        "mean", "Use the mean of all channels, the first, or channel N.", metavar="mean|first|N"
    )
    sound: Literal["opus", "mp3", "flac"] = option(
        "opus", "Compress the page's sound as opus, mp3 (any browser plays it) or flac."
    )


@with_options
def suggest(options: SuggestOptions) -> None:
    """Find what to label next: the stretches of recordings that would teach a bundle most.

    Of recordings without labels it takes stretches, each unlike those before it, up to --budget.
    OUT/page/index.html opens in a browser, with the bundle's labels filled in: correct them, tick
    that a clip is labelled completely, export the table, and import it with OUT/clips. What is
    labelled already and what is tested on is never suggested: name it with --labels, --data and, of
    earlier suggestions, --skip. See docs/suggest.md.

    Examples:
    - `earmark suggest home recordings --budget 30m --out next`
    - `earmark suggest runs/own recordings --budget 1h --out next --data data/own`
    - `earmark suggest runs/own recordings --out more --data data/own --skip next/suggested.tsv`
    """
    from earmark.cli.progress import counting
    from earmark.core.audio.folders import left_out
    from earmark.core.errors import ConfigError
    from earmark.core.naming import RecordingNames, readable
    from earmark.deliver.batch import DetectorSettings
    from earmark.deliver.recordings import named_recordings
    from earmark.deliver.suggest import read_pool
    from earmark.deliver.suggest import suggest as choose
    from earmark.deliver.suggest_folder import (
        CLIPS,
        TABLE,
        named_as,
        read_stretches,
        write_suggestions,
    )

    console, seconds = Console(), parse_budget(options.budget)
    if options.channels in ("each", "auto"):
        raise ConfigError("a stretch has one channel", hint="Use --channels mean, first or N")
    others: dict[Path, str] = {}
    named = named_recordings(options.audio, others)
    for text in left_out(others):
        note(console, text)
    names = RecordingNames.of_files(named)
    named = _unlabelled(console, options, named, names)
    earlier = read_stretches(options.skip or ())
    skipped = named_as(earlier, names.match(earlier)) if earlier else {}
    settings = DetectorSettings(
        options.bundle, options.channels, tuple(options.classes or ()), options.detecting
    )  # fmt: skip
    detector = settings.load()
    with counting("listening") as bar:
        pool = read_pool(
            detector, named, length=options.length, skipped=skipped, seed=options.seed,
            progress=bar,
        )  # fmt: skip
    if not pool.embedded:
        note(console, "this bundle has no encoder that runs once over a recording: what is unlike "
             "what is told by its scores")  # fmt: skip
    chosen = choose(pool, seconds, options.by)
    with counting("cutting, and filling in labels") as bar:
        page = write_suggestions(
            options.out, chosen, detector, title=f"{options.bundle}: to label",
            sound=options.sound, progress=bar,
        )  # fmt: skip
    total = sum(one.candidate.offset - one.candidate.onset for one in chosen)
    say(
        console,
        f"{len(chosen)} of {len(pool.candidates)} stretches, {total / 60:.1f} minutes, "
        f"{page.events} events filled in: open {page.file} in a browser; {options.out / TABLE} "
        f"says why",
    )
    say(console, f"then: earmark import-labels labels.tsv --audio {options.out / CLIPS} --out DATA")
    failures = {readable(str(path)): readable(why) for path, why in pool.failures.items()}
    exit_if_failed(failures, "The others were looked at")


def parse_budget(text: str) -> float:
    """Seconds of a budget.

    Raises:
        ConfigError: It is none.
    """
    from earmark.core.errors import ConfigError

    found = _BUDGET.fullmatch(text.strip())
    if found is None or not float(found[1]) > 0:
        raise ConfigError(f"--budget {text!r} is no time", hint="Use 90s, 30m or 1.5h")
    return float(found[1]) * _SECONDS[found[2]]


def _unlabelled(
    console: Console, options: SuggestOptions, named: Mapping[Path, str], names: RecordingNames
) -> dict[Path, str]:
    """The recordings that no labels and no data set know."""
    from earmark.core.errors import ConfigError
    from earmark.core.formats import READERS, format_of, read_events
    from earmark.data.manifest import load_manifest
    from earmark.deliver.suggest import labelled_already

    left = dict(named)
    single = next(iter(named.values())) if len(named) == 1 else None
    for file in options.labels or ():
        format = format_of(file)
        table = read_events(file, format, recording=single if format in READERS else None)
        known = set(names.match(dict.fromkeys(table["filename"]), where=file).values())
        gone = [path for path, name in left.items() if name in known]
        left = {path: name for path, name in left.items() if name not in known}
        if gone:
            note(console, f"{file}: {len(gone)} recordings are labelled, and left out")
    for data in options.data or ():
        out, _ = labelled_already(left, load_manifest(data))
        for path in out:
            del left[path]
        if out:
            note(console, f"{data}: {len(out)} recordings are labelled or tested on, and left out")
    if not left:
        raise ConfigError(
            "every recording is labelled already or tested on",
            hint="Give recordings that are not labelled yet",
        )
    return left
