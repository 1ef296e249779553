"""Sound files opened and decoded: what libsndfile reads, and what FFmpeg does if PyAV is there."""

from __future__ import annotations

import io
import os
import stat
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
import soundfile
from numpy.typing import NDArray

from earmark.core.audio.containers import COPY_AGAIN, announces_frames, check_whole, several
from earmark.core.audio.media import UNKNOWN_LENGTH, MediaFile, MediaKind, media_kind, other_codec
from earmark.core.audio.sizes import FileWindow, flac_length_unknown, wav_header
from earmark.core.errors import AudioError

_KINDS = "Earmark reads WAV, FLAC, OGG and MP3, and with PyAV what FFmpeg does"
_UNSUPPORTED_ENCODING = 4  # libsndfile's number for a container it knows with a codec it does not
_MP3_SLACK = 2 * 1152  # an MP3 encoder's own count may be off by its delay
LOWEST_RATE, HIGHEST_RATE = 1_000, 1_000_000
"""Samples a second that a recording may have."""
MOST_AT_ONCE = 2**22
"""Values in one call; libsndfile fails above 2^24."""


@dataclass(frozen=True)
class Recording:
    """A file that is being decoded.

    Attributes:
        file: The decoder.
        name: For messages.
        announced: Samples per channel that the header promises; None where it does not know.
    """

    file: soundfile.SoundFile | MediaFile
    name: str
    announced: int | None

    @property
    def estimate(self) -> int | None:
        """About how many samples per channel there are, if that is known without decoding."""
        if isinstance(self.file, MediaFile):
            return self.file.estimate
        return int(self.file.frames) if self.file.frames < UNKNOWN_LENGTH else None


@contextmanager
def opened(source: str | os.PathLike[str] | BinaryIO) -> Iterator[Recording]:
    """A sound file, checked for truncation by its container's header."""
    if isinstance(source, str | os.PathLike):
        with _opened_path(Path(source)) as raw, _decoder(raw, os.fspath(source)) as recording:
            yield recording
        return
    name = str(getattr(source, "name", "the file object"))
    if not (hasattr(source, "read") and hasattr(source, "seekable")):
        raise AudioError(
            f"a {type(source).__name__} is no audio",
            hint="Give a path, a binary file object or (samples, sample_rate)",
        )
    if not source.seekable():
        raise AudioError(
            "the file object cannot be read twice", where=name, hint="Read it into io.BytesIO first"
        )
    with _decoder(source, name) as recording:
        yield recording


def _opened_path(path: Path) -> BinaryIO:
    if path.is_dir():
        raise AudioError("a folder, not a recording", where=path, hint="Name a file in it")
    try:
        mode = path.stat().st_mode
        if not stat.S_ISREG(mode):
            raise AudioError(
                "not a file but a pipe, a device or a socket",
                where=path,
                hint="Copy what it gives into a file, or use `earmark listen --stdin`",
            )
        return io.BufferedReader(_File(path))
    except FileNotFoundError:
        raise AudioError("no such file", where=path, hint="Check the path") from None
    except OSError as error:
        raise AudioError(f"cannot be opened ({error.strerror})", where=path) from None


class _File(io.FileIO):
    """A file in which no seek fails: headers lead decoders before its beginning, too."""

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Move, at least to the beginning."""
        try:
            return super().seek(offset, whence)
        except OSError:
            return super().seek(0)


@contextmanager
def _decoder(raw: BinaryIO, name: str) -> Iterator[Recording]:
    """The decoder of a file, read from its start."""
    if raw.seek(0, os.SEEK_END) == 0:
        raise AudioError("the file is empty (0 bytes)", where=name, hint=COPY_AGAIN)
    check_whole(raw, name)
    if joined := several(raw):
        raise AudioError(
            f"several {joined} one behind the other",
            where=name,
            hint="Decode each on its own, or join their audio with an editor",
        )
    with closing(_sound_file(raw, name)) as file:
        if file.frames == 0:
            raise AudioError(
                "the recording has no samples", where=name, hint="Record it again, or leave it out"
            )
        if not LOWEST_RATE <= file.samplerate <= HIGHEST_RATE:
            raise AudioError(
                f"its header says {file.samplerate:,} samples a second, which no audio has",
                where=name,
                hint="Write the file again with its true rate",
            )
        yield Recording(file, name, _announced(raw, file))


def _sound_file(raw: BinaryIO, name: str) -> soundfile.SoundFile | MediaFile:
    """The decoder that knows the file."""
    try:
        plain = _unfinished_wav(raw)
    except (RuntimeError, TypeError, ValueError, OverflowError) as error:
        problem = f"not a recording ({reason(error)})"
        raise AudioError(problem, where=name, hint=_KINDS) from None
    if plain is not None:
        return plain
    if flac_length_unknown(raw):
        raw.seek(0)
        return MediaFile(raw, name, MediaKind("FLAC that does not say how long it is", "flac"))
    raw.seek(0)
    try:
        return soundfile.SoundFile(raw)
    except (RuntimeError, TypeError, ValueError) as error:
        kind = media_kind(raw)
        if kind is None and getattr(error, "code", None) == _UNSUPPORTED_ENCODING:
            kind = other_codec(raw)
        if kind is None:
            problem = f"not a recording ({reason(error)})"
            raise AudioError(problem, where=name, hint=_KINDS) from None
    raw.seek(0)
    return MediaFile(raw, name, kind)


def _unfinished_wav(raw: BinaryIO) -> soundfile.SoundFile | None:
    """The decoder of a WAV file whose size was never filled in, or wrapped round; else None."""
    size = raw.seek(0, os.SEEK_END)
    raw.seek(0)
    head = raw.read(12)
    if head[:4] != b"RIFF" or head[8:] != b"WAVE":
        return None
    header = wav_header(raw, size)
    if header is None or header.subtype is None or not header.channels:
        return None
    raw.seek(header.claim.start - 4)
    written = int.from_bytes(raw.read(4), "little")
    length = size - header.claim.start if header.claim.stated is None else header.claim.stated
    if written == header.claim.stated or written >= 2**31 - 2**16 or length <= 0:
        return None  # libsndfile reads those as they are
    return soundfile.SoundFile(
        FileWindow(raw, header.claim.start, length), samplerate=header.sample_rate,
        channels=header.channels, format="RAW", subtype=header.subtype, endian="LITTLE",
    )  # fmt: skip


def _announced(raw: BinaryIO, file: soundfile.SoundFile | MediaFile) -> int | None:
    if file.frames >= UNKNOWN_LENGTH:
        return None
    if _is_mp3(file):
        position = raw.tell()
        known = announces_frames(raw)
        raw.seek(position)
        return int(file.frames) if known else None
    return int(file.frames)


def _is_mp3(file: soundfile.SoundFile | MediaFile) -> bool:
    return file.format in ("MP3", "MPEG")


def decoded(recording: Recording, size: int) -> Iterator[NDArray[np.float32]]:
    """Blocks [s, channels] of a file, up to the end that its header promises."""
    file, count = recording.file, 0
    size = min(size, MOST_AT_ONCE // file.channels)
    while True:
        try:
            block = file.read(size, dtype="float32", always_2d=True)
        except (RuntimeError, ValueError) as error:
            raise broken(recording, count, reason(error)) from None
        if len(block) == 0:
            break
        count += len(block)
        yield block
    slack = _MP3_SLACK if _is_mp3(file) else 0
    if recording.announced is not None and count < recording.announced - slack:
        announced = recording.announced / file.samplerate
        raise broken(recording, count, f"its header says {announced:.3f} s")
    if count == 0:
        raise AudioError("the recording has no samples", where=recording.name, hint=COPY_AGAIN)


def broken(recording: Recording, count: int, reason: str) -> AudioError:
    """The error for a file that breaks off after ``count`` samples."""
    return AudioError(
        f"the file is truncated or damaged: it breaks off after "
        f"{count / recording.file.samplerate:.3f} s ({reason})",
        where=recording.name,
        hint=COPY_AGAIN,
    )


def reason(error: Exception) -> str:
    """What libsndfile says, in a line."""
    text = getattr(error, "error_string", None) or str(error)
    return str(text).removeprefix("Error : ").rstrip(". \n") or type(error).__name__


def decoded_part(recording: Recording, first: int, count: int) -> NDArray[np.float32]:
    """Samples [s, channels] of a file, s ≤ count."""
    try:
        if first:
            recording.file.seek(first)
        blocks, size = [], max(1, MOST_AT_ONCE // recording.file.channels)
        while count > 0:
            block = recording.file.read(min(count, size), dtype="float32", always_2d=True)
            if len(block) == 0:
                break
            blocks.append(block)
            count -= len(block)
    except (RuntimeError, ValueError) as error:
        raise broken(recording, first, reason(error)) from None
    if not blocks:
        raise broken(recording, first, "nothing follows")
    return np.concatenate(blocks)
