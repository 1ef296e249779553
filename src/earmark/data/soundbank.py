"""A soundbank: a folder of isolated recordings by class, handed out by split.

``CLASS/*.wav`` or ``*.flac`` holds the recordings of a class, ``background/`` those of the
backgrounds. A ``manifest.csv`` may say which split each file serves; without one the recordings
are divided by a stable hash of their names. Pieces of one recording (``NAME-1.wav``,
``NAME-2.wav``) always stay together.
"""

from __future__ import annotations

import csv
import hashlib
import logging
import re
from collections import OrderedDict, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from earmark.core.audio import load_audio
from earmark.core.errors import AudioError, DataError
from earmark.core.timeline import seconds_to_samples
from earmark.data.activity import FRAME, frame_power, runs
from earmark.data.supplier import LONGEST_EVENT, SHORTEST_EVENT, SPLITS

logger = logging.getLogger(__name__)

Samples = NDArray[np.float32]

SUFFIXES = (".wav", ".flac")
BACKGROUND = "background"

#: Names of splits in a manifest, and what Earmark calls them.
MANIFEST_SPLITS: Mapping[str, str] = {
    "train-synthetic": "synthetic",
    "train-real": "real",
    "validation": "validation",
    "test": "test",
}
#: Share of the recordings each split gets when no manifest says so.
SPLIT_SHARES: Mapping[str, float] = {
    "synthetic": 0.4, "real": 0.3, "validation": 0.1, "test": 0.2,
}  # fmt: skip

_EMPHASIS = np.float32(0.97)
_CROSSFADE = seconds_to_samples(0.25)
_EDGE_FADE = seconds_to_samples(0.005)


@dataclass(frozen=True)
class Gate:
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


DEFAULT_GATE = Gate()


def active_parts(samples: Samples, gate: Gate = DEFAULT_GATE) -> list[tuple[int, int]]:
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


def divide_recordings(classes: Mapping[str, Sequence[str]]) -> dict[str, str]:
    """Assign recordings to splits by a stable hash of their names.

    A recording that serves several classes goes to one split for all of them. Classes with few
    recordings choose first.

    Args:
        classes: Class → names of its recordings.

    Returns:
        Name of a recording → split.

    Raises:
        DataError: A class has no recording left for one of the splits.
    """
    assigned: dict[str, str] = {}
    for label in sorted(classes, key=lambda name: (len(set(classes[name])), name)):
        names = sorted(set(classes[label]), key=_stable_hash)
        counts = dict.fromkeys(SPLIT_SHARES, 0)
        for name in names:
            if name in assigned:
                counts[assigned[name]] += 1
        for name in names:
            if name not in assigned:
                assigned[name] = _neediest(counts, len(names))
                counts[assigned[name]] += 1
        if not all(counts.values()):
            raise DataError(
                f"class {label!r} has {len(names)} recordings, too few to keep the four splits "
                "apart",
                mend="Add recordings (files NAME-1, NAME-2 count as pieces of one recording "
                "NAME), or write a manifest.csv with event_label, file and split.",
            )
    return assigned


class Soundbank:
    """A supplier of sounds from a folder of recordings.

    Args:
        folder: ``CLASS/*.wav|flac`` and ``background/``, optionally ``manifest.csv`` with columns
            ``event_label``, ``file`` and ``split`` (train-synthetic, train-real, validation or
            test), and ``recording`` for pieces of one recording.
        cache_mib: Decoded recordings kept in memory, at most.
        gate: What counts as the sounding part of a recording.

    Attributes:
        labels: Classes of the folder, sorted.
        folder: The folder.

    Raises:
        DataError: The folder is missing or has no class or no background, the manifest does not
            fit it, or a class has too few recordings to divide.
    """

    def __init__(
        self, folder: str | Path, *, cache_mib: float = 256.0, gate: Gate = DEFAULT_GATE
    ) -> None:
        self.folder = Path(folder)
        if not self.folder.is_dir():
            raise DataError("no such soundbank folder", where=self.folder)
        manifest = self.folder / "manifest.csv"
        # class → split → recording → its files
        self._files = (
            _read_manifest(manifest) if manifest.is_file() else _divide_folder(self.folder)
        )
        self.labels = tuple(sorted(name for name in self._files if name != BACKGROUND))
        if not self.labels:
            raise DataError(
                "the soundbank has no class",
                where=self.folder,
                mend="It needs a folder of .wav or .flac files for each class.",
            )
        if BACKGROUND not in self._files:
            raise DataError(
                "the soundbank has no backgrounds",
                where=self.folder,
                mend="It needs a folder background/ with recordings in which no class sounds.",
            )
        self._gate = gate
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
        found = self._files.get(label, {}).get(split)
        if not found:
            raise DataError(
                f"the soundbank has no recording of {label!r} for the split {split!r}",
                where=self.folder,
                mend=f"Its classes are {', '.join(self.labels)}; add recordings or rows to its "
                "manifest.csv.",
            )
        return found

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
        samples = self._draw(label, split, rng)
        parts = active_parts(samples, self._gate)
        if not parts:
            raise DataError(f"a recording of {label!r} is silent", where=self.folder / label)
        shortest, longest = seconds_to_samples(SHORTEST_EVENT), seconds_to_samples(LONGEST_EVENT)
        # A fragment is an event only where there is nothing longer.
        parts = [part for part in parts if part[1] - part[0] >= shortest] or parts
        start, stop = parts[int(rng.integers(len(parts)))]
        start, stop = _at_least(start, stop, samples.size, shortest)
        if stop - start > longest:
            start = int(rng.integers(start, stop - longest + 1))
            stop = start + longest
        event = samples[start:stop].copy()
        _fade_edges(event, start > 0, stop < samples.size)
        shortage = shortest - event.size
        if shortage > 0:  # the whole recording is shorter than any event
            event = np.pad(event, (0, shortage))
        return event / max(1.0, float(np.max(np.abs(event))))

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
        recording = self._draw(BACKGROUND, split, rng)
        if not np.any(recording):
            raise DataError("a background is silent", where=self.folder / BACKGROUND)
        if recording.size >= samples:
            start = int(rng.integers(recording.size - samples + 1))
            stretch = recording[start : start + samples]
        else:
            stretch = _lengthen(recording, samples, rng)
        if not np.any(stretch):  # a pause longer than the stretch: take the loudest one
            start = max(0, min(int(np.argmax(np.abs(recording))), recording.size - samples))
            stretch = recording[start : start + samples]
        return stretch / np.float32(max(1.0, float(np.max(np.abs(stretch)))))

    def _draw(self, label: str, split: str, rng: np.random.Generator) -> Samples:
        """One file of a class: first a recording, then one of its pieces.

        So a recording that was cut into many pieces is not heard more often.
        """
        pieces = list(self.recordings(label, split).values())
        files = pieces[int(rng.integers(len(pieces)))]
        return self._cache.load(files[int(rng.integers(len(files)))])


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


Files = dict[str, dict[str, dict[str, tuple[Path, ...]]]]


def _read_manifest(path: Path) -> Files:
    """Class → split → recording → files, as the manifest says; every file must exist."""
    gathered: defaultdict[tuple[str, str, str], list[Path]] = defaultdict(list)
    split_of: dict[str, str] = {}
    with path.open(newline="", encoding="utf-8-sig") as file:
        reader = csv.DictReader(file)
        lacking = {"event_label", "file", "split"} - set(reader.fieldnames or ())
        if lacking:
            raise DataError(f"the manifest lacks the columns {sorted(lacking)}", where=path)
        for row in reader:
            where = f"{path}:{reader.line_num}"
            split = MANIFEST_SPLITS.get((row["split"] or "").strip())
            if split is None:
                raise DataError(
                    f"unknown split {row['split']!r}",
                    where=where,
                    mend=f"Splits are {', '.join(MANIFEST_SPLITS)}.",
                )
            audio = path.parent / row["file"]
            if not audio.is_file():
                raise DataError(f"listed file {row['file']!r} does not exist", where=where)
            name = row.get("recording") or recording_name(audio)
            if split_of.setdefault(name, split) != split:
                raise DataError(f"recording {name!r} is in two splits", where=where)
            label = row["event_label"]
            label = BACKGROUND if label.lower() == BACKGROUND else label
            gathered[label, split, name].append(audio)
    return _nested(gathered)


def _divide_folder(folder: Path) -> Files:
    """Class → split → recording → files, divided by the names of the recordings."""
    audio: dict[str, list[Path]] = {}
    for part in sorted(folder.iterdir()):
        if not part.is_dir() or part.name.startswith("."):
            continue
        label = BACKGROUND if part.name.lower() == BACKGROUND else part.name
        found = sorted(path for path in part.iterdir() if path.suffix.lower() in SUFFIXES)
        if not found:
            raise DataError(
                f"class {label!r} has no .wav or .flac file", where=part, mend="Fill or remove it."
            )
        audio[label] = found
    names = {label: [recording_name(path) for path in paths] for label, paths in audio.items()}
    try:
        split_of = divide_recordings(names)
    except DataError as error:
        raise DataError(error.what, where=folder, mend=error.mend) from None
    gathered: defaultdict[tuple[str, str, str], list[Path]] = defaultdict(list)
    for label, paths in audio.items():
        for path in paths:
            name = recording_name(path)
            gathered[label, split_of[name], name].append(path)
    return _nested(gathered)


def recording_name(path: Path) -> str:
    """The recording a file is a piece of: its stem without a trailing ``-NUMBER``."""
    return re.sub(r"(?<=.)-\d+$", "", path.stem)


def _nested(gathered: Mapping[tuple[str, str, str], list[Path]]) -> Files:
    files: Files = {}
    for (label, split, name), paths in sorted(gathered.items()):
        files.setdefault(label, {}).setdefault(split, {})[name] = tuple(sorted(paths))
    return files


def _stable_hash(name: str) -> bytes:
    return hashlib.sha256(name.encode()).digest()


def _neediest(counts: Mapping[str, int], total: int) -> str:
    """The split furthest below its share; an empty one before all others."""
    return max(
        SPLITS, key=lambda split: (counts[split] == 0, SPLIT_SHARES[split] * total - counts[split])
    )


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


def _lengthen(recording: Samples, samples: int, rng: np.random.Generator) -> Samples:
    """Join random stretches of a short recording with equal-power cross-fades."""
    fade = min(_CROSSFADE, recording.size // 4)
    phase = np.linspace(0, np.pi / 2, fade, dtype=np.float32)
    result = np.zeros(samples, dtype=np.float32)
    shift = int(rng.integers(recording.size // 2 + 1))
    piece = recording[shift:].copy()
    position = 0
    while True:
        room = samples - position
        result[position : position + piece.size] += piece[:room]
        if piece.size >= room:
            return result
        end = position + piece.size
        position = end - fade  # the next piece fades in while this one fades out
        result[position:end] -= piece[piece.size - fade :] * (1 - np.cos(phase))
        piece = recording[int(rng.integers(recording.size // 4 + 1)) :].copy()
        piece[:fade] *= np.sin(phase)
