"""A recording's sound and spectrogram for a page, made in one pass over the file."""

from __future__ import annotations

import tempfile
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile
from numpy.typing import NDArray

from earmark.core.audio.audio import audio_info, read_blocks
from earmark.core.audio.decoding import reason
from earmark.core.errors import EarmarkError
from earmark.core.parallel import available_cores
from earmark.core.timeline import samples_to_seconds, seconds_to_samples
from earmark.deliver.pages.tiles import Spectrogram

PIECE, OVERLAP = 300.0, 20.0
"""Seconds from one piece of sound to the next, and how far each reaches into the next."""
_RATES = (16_000, 24_000)  # of Opus, up to what a page shows


@dataclass(frozen=True)
class SoundKind:
    """How sound is compressed: what libsndfile takes, and what a browser calls it."""

    suffix: str
    media: str
    format: str
    subtype: str
    level: float
    mode: str | None = None


SOUND_KINDS = {
    "opus": SoundKind("ogg", "audio/ogg", "OGG", "OPUS", 0.85),
    "mp3": SoundKind("mp3", "audio/mpeg", "MP3", "MPEG_LAYER_III", 0.6, "CONSTANT"),
    "flac": SoundKind("flac", "audio/flac", "FLAC", "PCM_16", 0.8),
}
"""Kinds of compressed sound by name.

MP3 has a constant rate, so that browsers find times exactly, and one at which its header has room
for the encoder's delay: without that they play it late.
"""


@dataclass(frozen=True)
class PageSound:
    """What was written of a recording.

    Attributes:
        seconds: Its length.
        rate: Samples per second of the sound that was written.
        levels: Levels of its spectrogram.
        pieces: First and last second and file of each piece of sound.
    """

    seconds: float
    rate: int
    levels: int
    pieces: tuple[tuple[float, float, str], ...]


def write_sound(path: Path, folder: Path, kind: SoundKind, channel: int | None = None) -> PageSound:
    """Writes pieces of compressed sound, ``a{number}``, and the tiles of the spectrogram.

    Args:
        path: The recording, which becomes one channel at 16 or 24 kHz.
        folder: Where; it is there.
        kind: How the sound is compressed.
        channel: Which channel, the first being 1; the mean of all when None.

    Raises:
        AudioError: If the recording cannot be read.
        EarmarkError: If its sound cannot be written.
    """
    rate = next((r for r in _RATES if r >= audio_info(path).sample_rate), _RATES[-1])
    workers = max(1, min(4, available_cores()))
    pieces: list[tuple[float, float, str]] = []
    total = 0
    with tempfile.TemporaryFile() as store, ThreadPoolExecutor(workers) as pool:
        spectrogram = Spectrogram(rate, store)
        writing: deque[Future[None]] = deque()

        def blocks() -> Iterator[NDArray[np.float32]]:
            nonlocal total
            for block in read_blocks(path, rate, 30.0, channel):
                spectrogram.push(block)
                total += len(block)
                yield block

        for number, samples in enumerate(_pieces(blocks(), rate)):
            begin, name = number * PIECE, f"a{number}.{kind.suffix}"
            pieces.append((begin, begin + samples_to_seconds(len(samples), rate), name))
            writing.append(pool.submit(write_piece, folder / name, samples, rate, kind))
            if len(writing) > workers:
                writing.popleft().result()
        spectrogram.finish()
        levels = spectrogram.draw(folder)
        for one in writing:
            one.result()
    return PageSound(samples_to_seconds(total, rate), rate, levels, tuple(pieces))


def _pieces(blocks: Iterator[NDArray[np.float32]], rate: int) -> Iterator[NDArray[np.float32]]:
    """The sound in stretches that overlap; what would lie in an overlap alone is no piece."""
    step, more = seconds_to_samples(PIECE, rate), seconds_to_samples(OVERLAP, rate)
    held = np.zeros(0, dtype=np.float32)
    first = True
    for block in blocks:
        held = np.concatenate([held, block])
        while len(held) >= step + more:
            yield held[: step + more]
            held, first = held[step:], False
    if first or len(held) > more:
        yield held


def write_piece(path: Path, samples: NDArray[np.float32], rate: int, kind: SoundKind) -> None:
    """Writes sound [s] as one file.

    Raises:
        EarmarkError: If it cannot be written.
    """
    try:
        with soundfile.SoundFile(
            path, "w", rate, 1, kind.subtype, format=kind.format, compression_level=kind.level,
            bitrate_mode=kind.mode,
        ) as file:  # fmt: skip
            for start in range(0, len(samples), rate):  # libsndfile's encoders take no more at once
                file.write(np.clip(samples[start : start + rate], -1.0, 1.0))
    except soundfile.LibsndfileError as error:
        raise EarmarkError(
            f"sound cannot be written as {kind.subtype} ({reason(error)})",
            where=path,
            hint="Make room on the disk, or choose another --sound",
        ) from None
