"""Random crops out of any folder of audio: a survey of what is there, and a seeded stream.

Crop number n is a pure function of (recordings, seed, n), whoever reads it and in which order, so
that a resumed run and several processes read what one uninterrupted process would have read.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from earmark.core.audio.audio import audio_info, load_excerpt
from earmark.core.audio.folders import folder_content
from earmark.core.errors import AudioError, DataError, EarmarkError
from earmark.core.files import write_faults as write_faults
from earmark.core.parallel import Progress, tracked
from earmark.core.timeline import SAMPLE_RATE, resampled_length, samples_to_seconds

MOST_IN_A_ROW = 50
"""So many recordings in a row that cannot be read end a run: the disk is gone, or all is broken."""


@dataclass(frozen=True)
class Survey:
    """What a survey found.

    Attributes:
        paths: Usable recordings, in a fixed order.
        samples: [R] their lengths at 16 kHz.
        faults: What cannot be used, and why.
        fingerprint: 16 hexadecimal digits over names, lengths and rates of the usable ones.
        others: Files of the folders that are no recordings, and why.
    """

    paths: tuple[Path, ...]
    samples: NDArray[np.int64]
    faults: dict[Path, str]
    fingerprint: str
    others: Mapping[Path, str] = field(default_factory=dict)

    @property
    def hours(self) -> float:
        """How much there is."""
        return samples_to_seconds(int(self.samples.sum())) / 3600.0


def survey(
    folders: Sequence[str | Path],
    shortest: int,
    progress: Progress | None = None,
    workers: int = 8,
) -> Survey:
    """Read the header of every recording below some folders.

    Args:
        folders: Searched through all their sub-folders; rates and lengths may be mixed.
        shortest: Samples at 16 kHz below which a recording is left aside.
        progress: Called with files done and files in all.
        workers: Threads.

    Raises:
        AudioError: A folder is not there.
        DataError: No recording can be used.
    """
    contents = [(Path(folder), folder_content(folder)) for folder in folders]
    named = [(folder, path) for folder, content in contents for path in content.recordings]
    others = {path: why for _, content in contents for path, why in content.others.items()}
    digest, paths, samples, faults = hashlib.sha256(), [], [], dict[Path, str]()
    with ThreadPoolExecutor(workers) as pool:
        found = pool.map(_measure, (path for _, path in named))
        pairs = zip(named, found, strict=True)
        for (folder, path), result in tracked(pairs, len(named), progress):
            if isinstance(result, str):
                faults[path] = result
            elif result[0] < shortest:
                seconds = samples_to_seconds(shortest)
                faults[path] = f"the recording is shorter than {seconds:g} s"
            else:
                name = path.relative_to(folder).as_posix()
                digest.update(f"{name}\t{result[0]}\t{result[1]}\n".encode())
                paths.append(path)
                samples.append(result[0])
    if not paths:
        _nothing_usable(folders, faults)
    lengths = np.array(samples, dtype=np.int64)
    return Survey(tuple(paths), lengths, faults, digest.hexdigest()[:16], others)


def _measure(path: Path) -> tuple[int, int] | str:
    """Samples at 16 kHz and the file's own rate, or what is wrong."""
    try:
        info = audio_info(path)
    except AudioError as error:
        return _reason(error)
    return resampled_length(info.samples, info.sample_rate, SAMPLE_RATE), info.sample_rate


def _reason(error: EarmarkError) -> str:
    return error.what if error.hint is None else f"{error.what}. {error.hint}"


def _nothing_usable(folders: Sequence[str | Path], faults: dict[Path, str]) -> None:
    where = ", ".join(str(folder) for folder in folders)
    if not faults:
        raise DataError("no recording in it", where=where, hint="Give a folder with audio files")
    path, reason = next(iter(faults.items()))
    raise DataError(
        f"none of its {len(faults)} recordings can be used: {path}: {reason}", where=where
    )


@dataclass(frozen=True)
class Crop:
    """One crop of the stream.

    Attributes:
        number: Its place in the stream.
        waveform: [S] float32 at 16 kHz, zero-padded at the end.
        samples: How many of them are sound.
        source: Its recording.
        faults: Recordings that were to be read before it and could not be.
    """

    number: int
    waveform: NDArray[np.float32]
    samples: int
    source: str = ""
    faults: tuple[tuple[Path, str], ...] = ()


class CropStream:
    """Crops by number, without end.

    Recordings are walked in seeded permutations; one that holds k windows counts k times, so that
    each second is drawn about as often as any other. Every crop starts at a random place, and a
    recording that cannot be decoded after all is replaced by a random other one.

    Args:
        recordings: Of `survey`.
        window: Samples of a crop.
        seed: Of the order and the places.
    """

    def __init__(self, recordings: Survey, window: int, seed: int) -> None:
        self.recordings, self.window, self.seed = recordings, window, seed
        windows = np.maximum(1, np.rint(recordings.samples / window)).astype(np.int64)
        self._ends = np.cumsum(windows)  # unit u belongs to the first recording with end > u
        self._order: tuple[int, NDArray[np.int64]] = (-1, np.empty(0, dtype=np.int64))
        self._broken: dict[int, str] = {}

    @property
    def units(self) -> int:
        """Crops of one walk through all recordings."""
        return int(self._ends[-1])

    def __getitem__(self, number: int) -> Crop:
        """Crop ``number`` (0, 1, …).

        Raises:
            DataError: Many recordings in a row cannot be read.
        """
        faults: list[tuple[Path, str]] = []
        for attempt in range(MOST_IN_A_ROW):
            rng = np.random.default_rng([self.seed, number, attempt])
            recording = self._recording(number, attempt, rng)
            path = self.recordings.paths[recording]
            if recording not in self._broken:
                try:
                    return self._read(number, recording, rng, tuple(faults))
                except AudioError as error:
                    self._broken[recording] = _reason(error)
            faults.append((path, self._broken[recording]))
        path, reason = faults[-1]
        raise DataError(
            f"{MOST_IN_A_ROW} recordings in a row could not be read; the last one: {reason}",
            where=path,
            hint="Check that the disk is there",
        )

    def _recording(self, number: int, attempt: int, rng: np.random.Generator) -> int:
        """Which recording an attempt reads."""
        unit = int(rng.integers(self.units))
        if attempt == 0:
            walk, place = divmod(number, self.units)
            if self._order[0] != walk:
                order = np.random.default_rng([self.seed, walk]).permutation(self.units)
                self._order = walk, order
            unit = int(self._order[1][place])
        return int(np.searchsorted(self._ends, unit, side="right"))

    def _read(
        self,
        number: int,
        recording: int,
        rng: np.random.Generator,
        faults: tuple[tuple[Path, str], ...],
    ) -> Crop:
        length = int(self.recordings.samples[recording])
        first = int(rng.integers(max(1, length - self.window + 1)))
        path = self.recordings.paths[recording]
        sound = load_excerpt(path, first, min(length, self.window))
        waveform = np.zeros(self.window, dtype=np.float32)
        waveform[: len(sound)] = sound
        return Crop(number, waveform, len(sound), str(path), faults)
