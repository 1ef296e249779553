"""A soundbank: a folder of isolated recordings by class, handed out by split.

``CLASS/`` holds the recordings of a class, ``background/`` (and folders in it) those of the
backgrounds, whatever their suffixes; the classes may also lie in ``foreground/``, as Scaper has
them. A ``manifest.csv`` may say which split each file serves; without one the recordings are
divided by a stable hash of their names. Pieces of one recording (``NAME-1.wav``, ``NAME-2.wav``)
always stay together.
"""

from __future__ import annotations

import hashlib
import re
from collections import OrderedDict
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np

from earmark.core.audio.audio import load_audio
from earmark.core.audio.folders import why_no_recording
from earmark.core.errors import AudioError, DataError
from earmark.core.tables.rows import check_label, read_table
from earmark.core.timeline import samples_to_seconds, seconds_to_samples
from earmark.synth.loudness import DEFAULT_GATE, EnergyGate, active_parts
from earmark.synth.supplier import (
    LONGEST_EVENT,
    SHORTEST_EVENT,
    SPLITS,
    Samples,
    SoundOrigin,
    TracingSupplier,
)

_CROSSFADE = seconds_to_samples(0.25)
_EDGE_FADE = seconds_to_samples(0.005)


BACKGROUND = "background"
FOREGROUND = "foreground"

#: Names of splits in a manifest, and what Earmark calls them.
MANIFEST_SPLITS: Mapping[str, str] = {
    "train-synthetic": "synthetic",
    "train-real": "real",
    "validation": "validation",
    "test": "test",
}
#: Fraction of the recordings each split gets when no manifest says so.
SPLIT_FRACTIONS: Mapping[str, float] = {
    "synthetic": 0.4, "real": 0.3, "validation": 0.1, "test": 0.2,
}  # fmt: skip

#: Class (or ``background``), split, recording, and one of its files.
Row = tuple[str, str, str, Path]


class Soundbank(TracingSupplier):
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
        self._files: dict[tuple[str, str], dict[str, tuple[Path, ...]]] = {}
        for label, split, name, path in sorted(_soundbank_files(self.folder, needed)):
            own = self._files.setdefault((label, split), {})
            own[name] = (*own.get(name, ()), path)
        classes = {label for label, _ in self._files}
        self.labels = tuple(sorted(classes - {BACKGROUND}))
        if not self.labels:
            raise DataError(
                "the soundbank has no class",
                where=self.folder,
                hint="It needs a folder of recordings for each class.",
            )
        if BACKGROUND not in classes:
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
        for (label, split), recordings in self._files.items():
            for name, files in recordings.items():
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
        return self._files.get((label, split), {})

    def traced_event(
        self, label: str, split: str, rng: np.random.Generator
    ) -> tuple[Samples, SoundOrigin]:
        """Draw one event: a sounding stretch of a recording, drawn recording by recording.

        Args:
            label: One of ``labels``.
            split: One of ``SPLITS``.
            rng: Source of all randomness.

        Returns:
            Samples [S] at 16 kHz, peak at most 1, ``SHORTEST_EVENT`` to ``LONGEST_EVENT`` long,
            and where they were taken from.

        Raises:
            DataError: The class has no recording in the split, or the recording is silent.
            AudioError: The recording cannot be read.
        """
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

    def traced_background(
        self, split: str, samples: int, rng: np.random.Generator
    ) -> tuple[Samples, SoundOrigin]:
        """Draw a stretch of background, lengthened by cross-faded pieces where it is short.

        Args:
            split: One of ``SPLITS``.
            samples: Length wanted.
            rng: Source of all randomness.

        Returns:
            Samples [samples] of one recording, peak at most 1, and where they begin in it.

        Raises:
            DataError: The split has no background, or the drawn one is silent.
            AudioError: The recording cannot be read.
        """
        path, recording = self._draw(BACKGROUND, split, rng)
        if not np.any(recording):
            raise DataError("the background is silent", where=path, hint="Leave it out.")
        if recording.size >= samples:
            start = int(rng.integers(recording.size - samples + 1))
            stretch = recording[start : start + samples]
        elif self._lengthen == "loop":
            start = int(rng.integers(recording.size))
            stretch = _joined(recording, samples, start, lambda: 0)
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


def _soundbank_files(folder: Path, needed: Collection[str]) -> Iterator[Row]:
    """The files of a soundbank, as its ``manifest.csv`` says or else divided by their names."""
    manifest = folder / "manifest.csv"
    return _listed(manifest) if manifest.exists() else _divided(folder, needed)


def divide_recordings(
    classes: Mapping[str, Sequence[str]], needed: Collection[str] = SPLITS
) -> dict[str, str]:
    """Assign recordings to splits by a stable hash of their names.

    A recording that serves several classes goes to one split for all of them. Classes with few
    recordings choose first; one with fewer than four has none for the last of synthetic, real,
    test and validation.

    Args:
        classes: Class → names of its recordings.
        needed: Splits in which every class needs a recording. The division is the same whichever
            they are, so that no recording changes sides when more splits are asked for later.

    Returns:
        Name of a recording → split.

    Raises:
        DataError: A class has no recording left for one of the splits needed.
    """
    assigned: dict[str, str] = {}
    for label in sorted(classes, key=lambda name: (len(set(classes[name])), name)):
        names = sorted(set(classes[label]), key=_stable_hash)
        counts = dict.fromkeys(SPLIT_FRACTIONS, 0)
        for name in names:
            if name in assigned:
                counts[assigned[name]] += 1
        for name in names:
            if name not in assigned:
                assigned[name] = _neediest(counts, len(names))
                counts[assigned[name]] += 1
        lacking = [split for split in SPLITS if split in needed and not counts[split]]
        if lacking:
            raise DataError(
                f"class {label!r} has {len(names)} recordings, too few to keep the splits apart: "
                f"none is left for {', '.join(lacking)}",
                hint="Add recordings (files NAME-1, NAME-2 count as pieces of one recording "
                "NAME), write a manifest.csv with event_label, file and split, or make no clips "
                "of these splits.",
            )
    return assigned


def _listed(path: Path) -> Iterator[Row]:
    """The files that a manifest lists; each must exist."""
    split_of: dict[str, str] = {}
    table = read_table(path)
    lacking = {"event_label", "file", "split"} - set(table.columns)
    if lacking:
        raise DataError(f"the manifest lacks the columns {sorted(lacking)}", where=path)
    for line, row in table:
        where = f"{path}:{line}"
        split = MANIFEST_SPLITS.get(row["split"])
        if split is None:
            raise DataError(
                f"unknown split {row['split']!r}",
                where=where,
                hint=f"Splits are {', '.join(MANIFEST_SPLITS)}.",
            )
        audio = path.parent / row["file"]
        if not audio.is_file():
            raise DataError(f"listed file {row['file']!r} does not exist", where=where)
        name = row.get("recording") or recording_name(audio)
        if split_of.setdefault(name, split) != split:
            raise DataError(f"recording {name!r} is in two splits", where=where)
        label = check_label(row["event_label"], where)
        yield BACKGROUND if label.lower() == BACKGROUND else label, split, name, audio


def _divided(folder: Path, needed: Collection[str]) -> Iterator[Row]:
    """The files of the folders, divided by the names of the recordings."""
    audio = _files_by_class(folder)
    names = {label: [recording_name(path) for path in paths] for label, paths in audio.items()}
    try:
        split_of = divide_recordings(names, needed)
    except DataError as error:
        raise DataError(error.what, where=folder, hint=error.hint) from None
    for label, paths in audio.items():
        for path in paths:
            name = recording_name(path)
            yield label, split_of[name], name, path


def _files_by_class(folder: Path) -> dict[str, list[Path]]:
    """Class (or ``background``) → its files, sorted."""
    classes = _folders(folder)
    inner = [one for one in classes if one.name.lower() == FOREGROUND]
    if inner:  # Scaper's layout: anything but the backgrounds beside it is no class
        classes = [one for one in classes if one.name.lower() == BACKGROUND]
        classes += [one for outer in inner for one in _folders(outer)]
    audio: dict[str, list[Path]] = {}
    for own in classes:
        behind = own.name.lower() == BACKGROUND
        label = BACKGROUND if behind else own.name
        inside = own.rglob("*") if behind else own.iterdir()
        found = sorted(p for p in inside if p.is_file() and not _why_left_out(p))
        if not found:
            raise DataError(
                f"class {label!r} has no recording",
                where=own,
                hint="Add some, or remove it",
            )
        audio[label] = found
    return audio


def _why_left_out(path: Path) -> str:
    return "hidden" if path.name.startswith(".") else why_no_recording(path)


def _folders(folder: Path) -> list[Path]:
    return sorted(p for p in folder.iterdir() if p.is_dir() and not p.name.startswith("."))


def recording_name(path: Path) -> str:
    """The recording a file is a piece of: its stem without a trailing ``-NUMBER``."""
    return re.sub(r"(?<=.)-\d+$", "", path.stem)


def _stable_hash(name: str) -> bytes:
    return hashlib.sha256(name.encode()).digest()


def _neediest(counts: Mapping[str, int], total: int) -> str:
    """The split furthest below its fraction; an empty one before all others."""
    lacking = {split: SPLIT_FRACTIONS[split] * total - counts[split] for split in SPLITS}
    return max(SPLITS, key=lambda split: (counts[split] == 0, lacking[split]))
