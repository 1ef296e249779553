"""Where a stream's audio comes from: a file, raw samples in a pipe, a microphone."""

from __future__ import annotations

import logging
import os
import queue
import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from earmark.core.audio.audio import audio_info
from earmark.core.audio.decoding import decoded, opened
from earmark.core.errors import AudioError, ConfigError, EarmarkError

Source = tuple[int, Callable[[], Iterator[NDArray[Any]]]]
"""Samples per second, and what gives the blocks [s] or [s, channels] when it is called."""

SAMPLES = {"u8": "u1", "s16le": "<i2", "s32le": "<i4", "f32le": "<f4"}
"""Kinds of raw samples, as ffmpeg names them."""

OTHER_FILES = {b"fLaC": "FLAC", b"OggS": "Ogg", b"RF64": "RF64", b"FORM": "AIFF", b"caff": "CAF"}
"""Files by their first bytes that are no raw samples."""

_log = logging.getLogger(__name__)


def file_source(path: Path, seconds: float) -> Source:
    """A recording in blocks [s, channels] of so many seconds, as fast as it can be read.

    Raises:
        AudioError: If it cannot be read.
    """
    rate = audio_info(path).sample_rate

    def blocks() -> Iterator[NDArray[Any]]:
        with opened(path) as recording:
            yield from decoded(recording, max(1, int(seconds * rate)))

    return rate, blocks


def pipe_source(pipe: BinaryIO, rate: int, format: str, channels: int, seconds: float) -> Source:
    """Samples as they come, until the pipe is closed; a torn last sample is left out.

    They are raw, or a WAV file, whose header then says what they are.

    Raises:
        ConfigError: If the format is unknown.
        AudioError: If another kind of file comes, or a WAV file that is not read so.
    """
    if format not in SAMPLES:
        raise ConfigError(
            f"no samples are called {format!r}", hint=f"Known are {', '.join(SAMPLES)}"
        )
    begun = _read(pipe, 12)
    if begun[:4] in OTHER_FILES:
        raise AudioError(
            f"standard input is a {OTHER_FILES[begun[:4]]} file, not raw samples",
            hint="Name the file instead of --stdin, or pipe it through ffmpeg -i - -f s16le -",
        )
    if begun[:4] == b"RIFF" and begun[8:] == b"WAVE":
        format, channels, rate = _wave_header(pipe)
        begun = b""
    kind = np.dtype(SAMPLES[format])
    frame = kind.itemsize * channels
    most = max(1, int(rate * seconds)) * frame

    def blocks() -> Iterator[NDArray[Any]]:
        rest = begun
        # Of a pipe what is there, without waiting for a whole block.
        while data := _some(pipe, most):
            data = rest + data
            whole = len(data) // frame * frame
            rest = data[whole:]
            if whole:
                yield np.frombuffer(data[:whole], dtype=kind).reshape(-1, channels)

    return rate, blocks


def _read(pipe: BinaryIO, count: int) -> bytes:
    """So many bytes, or all there are."""
    data = b""
    while len(data) < count and (more := _some(pipe, count - len(data))):
        data += more
    return data


def _some(pipe: BinaryIO, most: int) -> bytes:
    """What is there, up to so many bytes; nothing at the end."""
    try:
        return os.read(pipe.fileno(), most)
    except OSError as error:  # a folder, or one that is open for writing only
        raise AudioError(
            f"standard input cannot be read ({error.strerror or error})", hint="Pipe audio into it"
        ) from None


def _wave_header(pipe: BinaryIO) -> tuple[str, int, int]:
    """Format, channels and rate of a WAV file in a pipe, read up to its first sample.

    Its sizes are not asked for: a program that writes into a pipe does not know them.
    """
    told = None
    while len(chunk := _read(pipe, 8)) == 8:
        name, size = chunk[:4], int.from_bytes(chunk[4:], "little")
        if name == b"data":
            break
        if not all(32 <= letter < 127 for letter in name) or size > 2**20:
            break  # nothing that a header has
        content = _read(pipe, size + size % 2)
        if name == b"fmt ":
            told = struct.unpack_from("<HHI6xH", content.ljust(16, b"\0"))
            if told[0] == 0xFFFE and len(content) >= 26:  # extensible: the kind stands further on
                told = (int.from_bytes(content[24:26], "little"), *told[1:])
    if told is None or name != b"data":
        raise AudioError("the WAV file on standard input has a broken header")
    kind, channels, rate, bits = told
    format = {(1, 8): "u8", (1, 16): "s16le", (1, 32): "s32le", (3, 32): "f32le"}.get((kind, bits))
    if format is None or not 1 <= channels <= 64 or rate < 1:
        raise AudioError(
            f"the WAV file on standard input has {bits} bits of kind {kind} in {channels} channels "
            f"at {rate} Hz, which is not read from a pipe",
            hint="Name the file instead of --stdin, or pipe it through ffmpeg -i - -f s16le -",
        )
    return format, channels, rate


def microphone_source(device: str | None, rate: int, seconds: float) -> Source:
    """A sound device, until the consumer ends.

    Args:
        device: Name or number; the system's input when None.
        rate: Samples per second to ask for; where the device refuses, it is its own.
        seconds: Of a block.

    Raises:
        EarmarkError: If the package for it is not installed.
        AudioError: If there is no such device.
    """
    sounddevice = _sounddevice()
    chosen: Any = int(device) if device is not None and device.isdecimal() else device
    try:
        try:
            sounddevice.check_input_settings(device=chosen, samplerate=rate)
        except sounddevice.PortAudioError:
            rate = int(sounddevice.query_devices(chosen, "input")["default_samplerate"])
        channels = int(sounddevice.query_devices(chosen, "input")["max_input_channels"])
    except (sounddevice.PortAudioError, ValueError) as error:
        raise AudioError(
            f"no microphone ({error})",
            hint="Plug one in, name it with --microphone, or use --stdin or a file",
        ) from None

    def blocks() -> Iterator[NDArray[Any]]:
        waiting: queue.SimpleQueue[NDArray[np.float32]] = queue.SimpleQueue()

        def take(data: NDArray[np.float32], frames: int, time: Any, status: Any) -> None:
            if status:
                _log.warning("the sound device lost audio (%s): later times are early", status)
            waiting.put(data.copy())  # its memory is used again

        with sounddevice.InputStream(
            device=chosen,
            samplerate=rate,
            channels=min(channels, 2),
            dtype="float32",
            blocksize=int(rate * seconds),
            callback=take,
        ):
            while True:
                yield waiting.get()

    return rate, blocks


def _sounddevice() -> Any:
    try:
        import sounddevice
    except (ModuleNotFoundError, OSError) as error:
        what = "the package sounddevice" if isinstance(error, ModuleNotFoundError) else "PortAudio"
        raise EarmarkError(
            f"a microphone needs {what}, which is not installed",
            hint="pip install 'earmark[microphone]' (and libportaudio2 on Debian), or use --stdin",
        ) from None
    return sounddevice
