"""Where a stream's audio comes from: a file, raw samples in a pipe, a microphone."""

from __future__ import annotations

import logging
import os
import queue
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from earmark.core.audio.audio import audio_info, read_blocks
from earmark.core.errors import AudioError, ConfigError, EarmarkError

Source = tuple[int, Callable[[], Iterator[NDArray[Any]]]]
"""Samples per second, and what gives the blocks [s] or [s, channels] when it is called."""

SAMPLES = {"u8": "u1", "s16le": "<i2", "s32le": "<i4", "f32le": "<f4"}
"""Kinds of raw samples, as ffmpeg names them."""

_log = logging.getLogger(__name__)


def file_source(path: Path, seconds: float) -> Source:
    """A recording in blocks of so many seconds, as fast as it can be read; its channels' mean.

    Raises:
        AudioError: If it cannot be read.
    """
    rate = audio_info(path).sample_rate
    return rate, lambda: read_blocks(path, rate, seconds)


def pipe_source(pipe: BinaryIO, rate: int, format: str, channels: int, seconds: float) -> Source:
    """Raw samples as they come, until the pipe is closed; a torn last sample is left out.

    Raises:
        ConfigError: If the format is unknown.
    """
    if format not in SAMPLES:
        raise ConfigError(
            f"no samples are called {format!r}", hint=f"Known are {', '.join(SAMPLES)}"
        )
    kind = np.dtype(SAMPLES[format])
    frame = kind.itemsize * channels
    most = max(1, int(rate * seconds)) * frame

    def blocks() -> Iterator[NDArray[Any]]:
        rest = b""
        # Of a pipe what is there, without waiting for a whole block.
        while data := os.read(pipe.fileno(), most):
            data = rest + data
            whole = len(data) // frame * frame
            rest = data[whole:]
            if whole:
                yield np.frombuffer(data[:whole], dtype=kind).reshape(-1, channels)

    return rate, blocks


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
