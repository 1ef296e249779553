"""A soundbank: a folder of isolated recordings by class, handed out by split.

``CLASS/*.wav`` or ``*.flac`` holds the recordings of a class, ``background/`` (and folders in it)
those of the backgrounds; the classes may also lie in ``foreground/``, as Scaper has them. A
``manifest.csv`` may say which split each file serves; without one the recordings are divided by a
stable hash of their names. Pieces of one recording (``NAME-1.wav``, ``NAME-2.wav``) always stay
together.
"""

from __future__ import annotations

import hashlib
import logging
from collections import OrderedDict
from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from earmark.core.audio.audio import load_audio
from earmark.core.errors import AudioError, DataError
from earmark.core.timeline import samples_to_seconds, seconds_to_samples
from earmark.synth.loudness import FRAME, frame_power, runs
from earmark.synth.soundbank_files import BACKGROUND, soundbank_files
from earmark.synth.supplier import LONGEST_EVENT, SHORTEST_EVENT, SPLITS, Samples, SoundOrigin

logger = logging.getLogger(__name__)


_EMPHASIS = np.float32(0.97)
_CROSSFADE = seconds_to_samples(0.25)
_EDGE_FADE = seconds_to_samples(0.005)


@dataclass(frozen=True)
class EnergyGate:
    """An energy gate with hysteresis; levels are dB relative to the recording's loudest frame.

    A frame opens the gate above ``hold_db`` + ``hysteresis_db`` and keeps it open above
    ``hold_db``; gaps up to ``hangover`` seconds are bridged. Above a steady noise floor the gate
    rises ``floor_margin_db`` over it, though never beyond ``highest_hold_db``, so that the room's
    hiss around a bark is no part of the bark while a steady sound is kept whole.
    """

    hold_db: float = -35.0
    highest_hold_db: float = -25.0
    floor_margin_db: float = 3.0
    hysteresis_db: float = 10.0
    hangover: float = 0.4


DEFAULT_GATE = EnergyGate()


def active_parts(samples: Samples, gate: EnergyGate = DEFAULT_GATE) -> list[tuple[int, int]]:
    """Find the stretches of a recording in which something sounds.

    Args:
        samples: Recording [S] at 16 kHz.
        gate: When it counts as sounding.

    Returns:
        Half-open sample ranges, in order, each on the gate's 10-ms grid (the last one may end at
        S); empty for silence.
    """
    if samples.size == 0:
        return []
    # The ear cares little about rumble; without pre-emphasis a hum before a sound opens the gate.
    emphasised = samples - _EMPHASIS * np.append(samples[:1], samples[:-1])
    power = frame_power(emphasised)  # [T]
    if not np.any(power):
        return []
    with np.errstate(divide="ignore"):
        levels = 10 * np.log10(power / power.max())  # -inf for digital silence
    floor = float(np.percentile(levels, 10, method="lower"))  # -inf cannot be interpolated
    hold = max(gate.hold_db, min(floor + gate.floor_margin_db, gate.highest_hold_db))
    bridge = seconds_to_samples(gate.hangover) // FRAME
    # A run that is never loud enough to open the gate does not count, nor bridge a gap.
    opened = np.zeros(levels.size, dtype=np.bool_)
    for start, stop in runs(levels >= hold):
        opened[start:stop] = levels[start:stop].max() >= hold + gate.hysteresis_db
    return [(a * FRAME, min(b * FRAME, samples.size)) for a, b in runs(opened, bridge)]


class Soundbank:
    """A supplier of sounds from a folder of recordings.

    Args:
        folder: ``CLASS/*.wav|flac`` and ``background/``, optionally ``manifest.csv`` with columns
            ``event_label``, ``file`` and ``split`` (train-synthetic, train-real, validation or
            test), and ``recording`` for pieces of one recording.
        cache_mib: Decoded recordings kept in memory, at most.
        gate: What counts as the sounding part of a recording.
        needed: Splits in which every class must have a recording.
        events: ``active`` hands out one sounding stretch of a recording, ``whole`` all of it,
            then of any length.
        lengthen: How a background that is too short is made longer: ``crossfade`` joins random
            stretches of it, ``loop`` repeats it in order.

    Attributes:
        labels: Classes of the folder, sorted.
        folder: The folder.

    Raises:
        DataError: The folder is missing or has no class or no background, the manifest does not
            fit it, or a class has too few recordings to divide.
    """

    def __init__(
        self,
        folder: str | Path,
        *,
        cache_mib: float = 256.0,
        gate: EnergyGate = DEFAULT_GATE,
        needed: Collection[str] = SPLITS,
        events: Literal["active", "whole"] = "active",
        lengthen: Literal["crossfade", "loop"] = "crossfade",
    ) -> None:
        self.folder = Path(folder)
        if not self.folder.is_dir():
            raise DataError("no such soundbank folder", where=self.folder)
        self._files = soundbank_files(self.folder, needed)
        self.labels = tuple(sorted(name for name in self._files if name != BACKGROUND))
        if not self.labels:
            raise DataError(
                "the soundbank has no class",
                where=self.folder,
                hint="It needs a folder of .wav or .flac files for each class.",
            )
        if BACKGROUND not in self._files:
            raise DataError(
                "the soundbank has no backgrounds",
                where=self.folder,
                hint="It needs a folder background/ with recordings in which no class sounds.",
            )
        self._gate, self._events, self._lengthen = gate, events, lengthen
        self._cache = _AudioCache(round(cache_mib * 2**20))

    def __getstate__(self) -> dict[str, Any]:
        """All but the decoded audio, which each process reads for itself."""
        return {**self.__dict__, "_cache": _AudioCache(self._cache.budget)}

    @property
    def fingerprint(self) -> str:
        """A short hash of which files serve which split, and of their sizes."""
        digest = hashlib.sha256()
        for label, splits in sorted(self._files.items()):
            for split, recordings in sorted(splits.items()):
                for name, files in sorted(recordings.items()):
                    for path in files:
                        entry = (label, split, name, path.name, path.stat().st_size)
                        digest.update(repr(entry).encode())
        return digest.hexdigest()[:16]

    def recordings(self, label: str, split: str) -> dict[str, tuple[Path, ...]]:
        """Recordings of a class (or ``background``) in a split, each with its files.

        Raises:
            DataError: There is none.
        """
        found = self.recordings_of(label, split)
        if not found:
            raise DataError(
                f"the soundbank has no recording of {label!r} for the split {split!r}",
                where=self.folder,
                hint=f"Its classes are {', '.join(self.labels)}; add recordings or rows to its "
                "manifest.csv.",
            )
        return found

    def recordings_of(self, label: str, split: str) -> dict[str, tuple[Path, ...]]:
        """The same, empty where there is none."""
        return self._files.get(label, {}).get(split, {})

    def event(self, label: str, split: str, rng: np.random.Generator) -> Samples:
        """Draw one event: a sounding stretch of a recording, drawn recording by recording.

        Args:
            label: One of ``labels``.
            split: One of ``SPLITS``.
            rng: Source of all randomness.

        Returns:
            Samples [S] at 16 kHz, peak at most 1, ``SHORTEST_EVENT`` to ``LONGEST_EVENT`` long.

        Raises:
            DataError: The class has no recording in the split, or the recording is silent.
            AudioError: The recording cannot be read.
        """
        return self.traced_event(label, split, rng)[0]

    def traced_event(
        self, label: str, split: str, rng: np.random.Generator
    ) -> tuple[Samples, SoundOrigin]:
        """As ``event``, with where the event was taken from."""
        path, samples = self._draw(label, split, rng)
        shortest = seconds_to_samples(SHORTEST_EVENT)
        if self._events == "whole":
            if not np.any(samples):
                raise DataError(f"a recording of {label!r} is silent", where=path)
            start, stop = 0, samples.size
        else:
            start, stop = self._active_part(path, samples, rng)
        event = samples[start:stop].copy()
        _fade_edges(event, start > 0, stop < samples.size)
        shortage = shortest - event.size
        if shortage > 0:  # the whole recording is shorter than any event
            event = np.pad(event, (0, shortage))
        return event / max(1.0, float(np.max(np.abs(event)))), self._origin(path, start)

    def _active_part(
        self, path: Path, samples: Samples, rng: np.random.Generator
    ) -> tuple[int, int]:
        """One sounding stretch of a recording, neither too short nor too long."""
        parts = active_parts(samples, self._gate)
        if not parts:
            raise DataError("the recording is silent", where=path, hint="Leave it out.")
        shortest, longest = seconds_to_samples(SHORTEST_EVENT), seconds_to_samples(LONGEST_EVENT)
        # A fragment is an event only where there is nothing longer.
        parts = [part for part in parts if part[1] - part[0] >= shortest] or parts
        start, stop = parts[int(rng.integers(len(parts)))]
        start, stop = _at_least(start, stop, samples.size, shortest)
        if stop - start > longest:
            start = int(rng.integers(start, stop - longest + 1))
            stop = start + longest
        return start, stop

    def background(self, split: str, samples: int, rng: np.random.Generator) -> Samples:
        """Draw a stretch of background, lengthened by cross-faded pieces where it is short.

        Args:
            split: One of ``SPLITS``.
            samples: Length wanted.
            rng: Source of all randomness.

        Returns:
            Samples [samples] of one recording, peak at most 1.

        Raises:
            DataError: The split has no background, or the drawn one is silent.
            AudioError: The recording cannot be read.
        """
        return self.traced_background(split, samples, rng)[0]

    def traced_background(
        self, split: str, samples: int, rng: np.random.Generator
    ) -> tuple[Samples, SoundOrigin]:
        """As ``background``, with where its beginning was taken from."""
        path, recording = self._draw(BACKGROUND, split, rng)
        if not np.any(recording):
            raise DataError("the background is silent", where=path, hint="Leave it out.")
        if recording.size >= samples:
            start = int(rng.integers(recording.size - samples + 1))
            stretch = recording[start : start + samples]
        elif self._lengthen == "loop":
            start = int(rng.integers(recording.size))
            stretch = _looped(recording, samples, start)
        else:
            start, stretch = _lengthened(recording, samples, rng)
        if not np.any(stretch):  # a pause longer than the stretch: take the loudest one
            start = max(0, min(int(np.argmax(np.abs(recording))), recording.size - samples))
            stretch = recording[start : start + samples]
        scaled = stretch / np.float32(max(1.0, float(np.max(np.abs(stretch)))))
        return scaled, self._origin(path, start)

    def _origin(self, path: Path, start: int) -> SoundOrigin:
        return SoundOrigin(path.relative_to(self.folder).as_posix(), samples_to_seconds(start))

    def _draw(self, label: str, split: str, rng: np.random.Generator) -> tuple[Path, Samples]:
        """One file of a class: first a recording, then one of its pieces.

        So a recording that was cut into many pieces is not heard more often.
        """
        pieces = list(self.recordings(label, split).values())
        files = pieces[int(rng.integers(len(pieces)))]
        path = files[int(rng.integers(len(files)))]
        return path, self._cache.load(path)


class _AudioCache:
    """Decoded files in memory, the least recently used dropped beyond a budget in bytes."""

    def __init__(self, budget: int) -> None:
        self.budget = budget
        self._held: OrderedDict[Path, Samples] = OrderedDict()
        self._bytes = 0

    def load(self, path: Path) -> Samples:
        if path in self._held:
            self._held.move_to_end(path)
            return self._held[path]
        samples = load_audio(path)
        if samples.size == 0:
            raise AudioError("the recording is empty", where=path)
        samples.flags.writeable = False
        self._held[path] = samples
        self._bytes += samples.nbytes
        while self._bytes > self.budget and len(self._held) > 1:
            self._bytes -= self._held.popitem(last=False)[1].nbytes
        return samples


def _at_least(start: int, stop: int, size: int, shortest: int) -> tuple[int, int]:
    """Widen a range to a least length within [0, size], evenly where there is room."""
    lack = shortest - (stop - start)
    if lack <= 0:
        return start, stop
    start = max(0, min(start - lack // 2, size - shortest))
    return start, min(size, start + shortest)


def _fade_edges(event: Samples, head: bool, tail: bool) -> None:
    """Fade the edges that were cut out of a longer recording, against clicks."""
    size = min(_EDGE_FADE, event.size // 2)
    ramp = np.linspace(0, 1, size, dtype=np.float32)
    if head:
        event[:size] *= ramp
    if tail:
        event[event.size - size :] *= ramp[::-1]


def _lengthened(recording: Samples, samples: int, rng: np.random.Generator) -> tuple[int, Samples]:
    """Join random stretches of a short recording: where the first begins, and the samples."""
    first = int(rng.integers(recording.size // 2 + 1))

    def draw() -> int:
        return int(rng.integers(recording.size // 4 + 1))

    return first, _joined(recording, samples, first, draw)


def _looped(recording: Samples, samples: int, start: int) -> Samples:
    """Repeat a short recording from a start."""
    return _joined(recording, samples, start, lambda: 0)


def _joined(recording: Samples, samples: int, first: int, following: Callable[[], int]) -> Samples:
    """Stretches from ``first``, then from each ``following``, to the recording's end.

    Each fades in while the one before it fades out, at equal power.
    """
    fade = min(_CROSSFADE, recording.size // 4)
    first = min(first, recording.size - fade)
    phase = np.linspace(0, np.pi / 2, fade, dtype=np.float32)
    result = np.zeros(samples, dtype=np.float32)
    piece = recording[first:].copy()
    position = 0
    while True:
        room = samples - position
        result[position : position + piece.size] += piece[:room]
        if piece.size >= room:
            return result
        end = position + piece.size
        position = end - fade  # the next piece fades in while this one fades out
        result[position:end] -= piece[piece.size - fade :] * (1 - np.cos(phase))
        piece = recording[following() :].copy()
        piece[:fade] *= np.sin(phase)
