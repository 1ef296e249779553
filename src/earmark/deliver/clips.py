"""Found events cut out of their recordings, each as a sound file."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile
from numpy.typing import NDArray

from earmark.core.audio.decoding import decoded, opened
from earmark.core.audio.decoding import reason as reason_of
from earmark.core.errors import ConfigError, EarmarkError
from earmark.core.event import Event
from earmark.core.files import write_whole
from earmark.core.naming import without_suffix
from earmark.core.timeline import seconds_to_samples
from earmark.deliver.journal import Record

BANDS = 4
"""Bands of score, of equal width from 0 to 1, that random choice draws from."""
_UNFIT = re.compile(r'[\x00-\x1f\x7f<>:"/\\|?*\u2028\u2029]+')
_LONGEST = 60  # characters of a name in the name of a file
_SUBTYPES = ("PCM_16", "PCM_24", "PCM_32", "FLOAT", "DOUBLE")  # that a WAV file holds as they are


@dataclass(frozen=True)
class ClipSettings:
    """Which events become clips.

    Attributes:
        folder: Where the clips go, those of each class in a folder of its own.
        top: The so many events of each class with the highest scores; all when None.
        random: So many of each class and band of scores (quarters from 0 to 1), drawn at random.
        seed: Of that draw.
        padding: Seconds before and after an event that its clip holds too.

    Raises:
        ConfigError: If both ways to choose are asked for, or a number makes no sense.
    """

    folder: Path
    top: int | None = None
    random: int | None = None
    seed: int = 0
    padding: float = 0.5

    def __post_init__(self) -> None:
        if self.top is not None and self.random is not None:
            raise ConfigError("clips are the top or random ones, not both", hint="Choose one")
        if not 0 <= self.padding < float("inf"):
            raise ConfigError(f"clips padded by {self.padding} s", hint="Use 0 or more")


@dataclass(frozen=True)
class EventClip:
    """An event to be cut out.

    Attributes:
        record: Its recording.
        channel: The channel it was found in, the first being 1; 0 for all together.
        event: The event.
    """

    record: Record
    channel: int
    event: Event


def chosen_clips(records: Sequence[Record], settings: ClipSettings) -> list[EventClip]:
    """The events that become clips, in the order of recordings and time."""
    every = [
        EventClip(record, track.channel, event)
        for record in records
        for track in record.tracks
        for event in track.events
    ]
    if settings.top is None and settings.random is None:
        return every
    groups: defaultdict[tuple[str, int], list[int]] = defaultdict(list)
    for number, clip in enumerate(every):
        score = clip.event.score or 0.0
        band = 0 if settings.random is None else min(BANDS - 1, max(0, int(score * BANDS)))
        groups[clip.event.event_label, band].append(number)
    rng = np.random.default_rng(settings.seed)
    kept: set[int] = set()
    for _, numbers in sorted(groups.items()):
        if settings.random is None:
            ranked = sorted(numbers, key=lambda number: -(every[number].event.score or 0.0))
            kept.update(ranked[: settings.top])
        else:
            count = min(settings.random, len(numbers))
            kept.update(rng.choice(numbers, count, replace=False).tolist())
    return [clip for number, clip in enumerate(every) if number in kept]


def write_clips(
    records: Sequence[Record], settings: ClipSettings
) -> tuple[list[Path], dict[Path, str]]:
    """Cuts events out of their recordings, as WAV files of the recording's rate and channels.

    Each recording is decoded once, to the end of its last clip, in constant memory. A clip is
    called after its recording, class, onset and score.

    Args:
        records: What was found.
        settings: Which events, and where to.

    Returns:
        The clips, and recordings that could not be read with the reason.
    """
    own: defaultdict[Path, list[tuple[EventClip, Path]]] = defaultdict(list)
    written: list[Path] = []
    failures: dict[Path, str] = {}
    taken: set[str] = set()
    for clip in chosen_clips(records, settings):
        own[Path(clip.record.path)].append((clip, _path(clip, settings.folder, taken)))
    for path, clips in own.items():
        try:
            written += _cut(path, clips, settings.padding)
        except EarmarkError as error:
            failures[path] = str(error)
        except OSError as error:
            raise EarmarkError(
                f"cannot be written ({error.strerror})", where=settings.folder
            ) from None
    return written, failures


def _cut(path: Path, clips: Sequence[tuple[EventClip, Path]], padding: float) -> list[Path]:
    """Writes the clips of a recording."""
    written: list[Path] = []
    with opened(path) as recording:
        rate = int(recording.file.samplerate)
        subtype = recording.file.subtype if recording.file.subtype in _SUBTYPES else "PCM_16"
        waiting = [
            (
                max(0, seconds_to_samples(clip.event.onset - padding, rate)),
                max(1, seconds_to_samples(clip.event.offset + padding, rate)),
                clip,
                target,
            )
            for clip, target in clips
        ]
        waiting.sort(key=lambda one: one[:2])
        parts: dict[Path, list[NDArray[np.float32]]] = {}
        begin = 0
        for block in decoded(recording, rate * 10):
            end = begin + len(block)
            left = []
            for first, last, clip, target in waiting:
                if first < end and last > begin:
                    part = block[max(0, first - begin) : last - begin]
                    own = part if not clip.channel else part[:, clip.channel - 1 : clip.channel]
                    parts.setdefault(target, []).append(own.copy())
                if last <= end:
                    _write(target, parts.pop(target, []), rate, subtype)
                    written.append(target)
                else:
                    left.append((first, last, clip, target))
            waiting, begin = left, end
            if not waiting:
                break
        for _, _, _, target in waiting:
            if target in parts:  # its padding reaches beyond the end
                _write(target, parts.pop(target), rate, subtype)
                written.append(target)
    return written


def _write(path: Path, parts: Sequence[NDArray[np.float32]], rate: int, subtype: str) -> None:
    samples = np.concatenate(parts)

    def write(draft: Path) -> None:
        try:
            soundfile.write(draft, samples, rate, subtype, format="WAV")
        except soundfile.LibsndfileError as error:
            raise EarmarkError(f"cannot be written ({reason_of(error)})", where=path) from None

    write_whole(path, write, flush=False)


def _path(clip: EventClip, folder: Path, taken: set[str]) -> Path:
    """The file of a clip: ``Dog/yard_Dog_0h01m02.345s_0.87.wav``; each has its own."""
    onset, _, label, score = clip.event
    milliseconds = round(onset * 1000)
    seconds, milliseconds = divmod(milliseconds, 1000)
    hours, minutes = divmod(seconds // 60, 60)
    parts = [
        _fit(without_suffix(clip.record.filename).replace("/", "-")),
        *([f"ch{clip.channel}"] if clip.channel else []),
        _fit(label),
        f"{hours}h{minutes:02d}m{seconds % 60:02d}.{milliseconds:03d}s",
        *([] if score is None else [f"{score:.2f}"]),
    ]
    stem, number = "_".join(parts), 1
    name = stem
    while f"{_fit(label)}/{name}".casefold() in taken:
        number += 1
        name = f"{stem}_{number}"
    taken.add(f"{_fit(label)}/{name}".casefold())
    return folder / _fit(label) / f"{name}.wav"


def _fit(name: str) -> str:
    """A name as part of a file's name on any system."""
    return _UNFIT.sub("_", name)[:_LONGEST].strip(" .") or "_"
