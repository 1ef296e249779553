"""Recordings in and out: decode, mix to mono, resample; whole or in blocks.

There is one way in: `read_blocks` decodes and resamples block by block in constant memory, and
`load_audio` joins its blocks, so a recording has the same samples whichever way it is read.
"""

from __future__ import annotations

import logging
import math
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import soundfile
from numpy.typing import NDArray

from earmark.core.audio.channels import ChannelSurvey
from earmark.core.audio.decoding import (
    MOST_AT_ONCE,
    Recording,
    broken,
    decoded,
    decoded_part,
    opened,
    reason,
)
from earmark.core.audio.resampling import channels_of, mono_blocks, resampled, to_mono
from earmark.core.audio.samples import as_samples
from earmark.core.errors import AudioError, ConfigError
from earmark.core.files import refuse_full, undrafted
from earmark.core.timeline import SAMPLE_RATE, samples_to_seconds

_log = logging.getLogger(__name__)

MOST_SAMPLES = 2**28
"""Of a recording held as a whole: a gigabyte, nearly five hours at 16 kHz."""
AudioSource = str | os.PathLike[str] | BinaryIO | tuple[NDArray[Any], int]
"""A path, a seekable binary file object, or ``(samples, sample_rate)``.

Samples are [S] or [S, channels], floats of full scale 1 or whole numbers of their type's scale.
"""


@dataclass(frozen=True)
class AudioInfo:
    """What a recording's header says.

    Attributes:
        samples: Samples per channel.
        sample_rate: Samples per second.
        channels: Number of channels.
        seconds: Duration.
    """

    samples: int
    sample_rate: int
    channels: int
    seconds: float


def load_audio(source: AudioSource, sample_rate: int = SAMPLE_RATE) -> NDArray[np.float32]:
    """Read a whole recording: the mean of its channels, resampled.

    Args:
        source: A path, a seekable binary file object (read from its start), or
            ``(samples, sample_rate)`` with samples [S] or [S, channels].
        sample_rate: Samples per second of the result.

    Returns:
        [S] float32; S is `earmark.core.timeline.resampled_length` of the recording's length.

    Raises:
        AudioError: If the recording is missing, empty, truncated, no audio, or holds samples that
            are not finite.
        ConfigError: If the sample rate is not positive.
    """
    blocks: list[NDArray[np.float32]] = []
    count = 0
    for block in read_blocks(source, sample_rate):
        blocks.append(block)
        count += len(block)
        if count > MOST_SAMPLES:
            raise AudioError(
                f"longer than {samples_to_seconds(MOST_SAMPLES, sample_rate) / 3600:.1f} h, too "
                "long to be held at once",
                where=None if isinstance(source, tuple) else str(source),
                hint="Read it block by block (read_blocks)",
            )
    return blocks[0] if len(blocks) == 1 else np.concatenate(blocks)


def load_int16(source: AudioSource, most: int | None = None) -> NDArray[np.int16]:
    """Read the beginning of a recording as 16-bit numbers at 16 kHz, no more of it than is needed.

    Files that hold such numbers (those of ``earmark cache``) are read as they are, without a way
    through floats, which is half as much work.

    Args:
        source: As for `load_audio`.
        most: Samples to read at most; all by default.

    Returns:
        [S] int16: `to_int16` of what `load_audio` returns, up to ``most``.

    Raises:
        AudioError: As `load_audio`, of what is read.
    """
    if not isinstance(source, tuple):
        with opened(source) as recording:
            if _holds_int16(recording):
                return _stored_int16(recording, most)
    if most is None:
        return to_int16(load_audio(source))
    parts: list[NDArray[np.int16]] = []
    for block in read_blocks(source, SAMPLE_RATE, samples_to_seconds(most) + 1.0):
        parts.append(to_int16(block))
        if sum(map(len, parts)) >= most:
            break
    return np.concatenate(parts)[:most]


def _holds_int16(recording: Recording) -> bool:
    file = recording.file
    kind = (file.samplerate, file.channels, file.subtype)
    return kind == (SAMPLE_RATE, 1, "PCM_16") and recording.announced is not None


def _stored_int16(recording: Recording, most: int | None) -> NDArray[np.int16]:
    """The beginning of a file's own numbers."""
    assert isinstance(recording.file, soundfile.SoundFile)
    announced = recording.announced or 0
    wanted = announced if most is None else min(announced, most)
    if wanted > MOST_SAMPLES:
        raise AudioError("too long to be held at once", where=recording.name)
    blocks: list[NDArray[np.int16]] = []  # a header may promise far more than there is
    count = 0
    while count < wanted:
        try:
            read = recording.file.read(min(MOST_AT_ONCE, wanted - count), dtype="int16")
        except (RuntimeError, ValueError) as error:
            raise broken(recording, count, reason(error)) from None
        if len(read) == 0:
            seconds = samples_to_seconds(announced)
            raise broken(recording, count, f"its header says {seconds:.3f} s")
        count += len(read)
        blocks.append(read)
    return blocks[0] if len(blocks) == 1 else np.concatenate([np.zeros(0, np.int16), *blocks])


def to_int16(samples: NDArray[np.floating[Any]]) -> NDArray[np.int16]:
    """Samples of full scale 1 as 16-bit numbers; what goes beyond is limited."""
    # Scaled here, because libsndfile writes with 32767 and reads with 32768.
    limited: NDArray[np.int16]
    limited = np.clip(np.rint(samples * 32768.0), -32768, 32767).astype(np.int16)
    return limited


def audio_info(source: AudioSource) -> AudioInfo:
    """Length, rate and channels of a recording, from its header where that knows the length.

    Raises:
        AudioError: If the recording is missing, empty, no audio, or the file is shorter than its
            header says (for FLAC and MP3 only decoding shows it).
    """
    if isinstance(source, tuple):
        samples, rate = _checked_array(source)
        count, channels = samples.shape
        return AudioInfo(count, rate, channels, samples_to_seconds(count, rate))
    with opened(source) as recording:
        rate, known = int(recording.file.samplerate), recording.announced
        count = sum(map(len, decoded(recording, rate * 60))) if known is None else known
        return AudioInfo(count, rate, int(recording.file.channels), samples_to_seconds(count, rate))


def expected_seconds(source: AudioSource) -> float:
    """About how long a recording is: what its header says, even where that is a guess.

    Raises:
        AudioError: As `audio_info`.
    """
    if not isinstance(source, tuple):
        with opened(source) as recording:
            if recording.estimate is not None:
                return samples_to_seconds(recording.estimate, int(recording.file.samplerate))
    return audio_info(source).seconds


def read_blocks(
    source: AudioSource,
    sample_rate: int = SAMPLE_RATE,
    block_seconds: float = 60.0,
    channel: int | None = None,
) -> Iterator[NDArray[np.float32]]:
    """Read a recording of any length block by block, in constant memory.

    Args:
        source: As for `load_audio`.
        sample_rate: Samples per second of the result.
        block_seconds: About how much to hold at a time.
        channel: Which channel, the first being 1; the mean of all when None.

    Yields:
        Blocks [s] of float32, s ≥ 1 and not all alike; joined they are what `load_audio` returns,
        whatever the block length.

    Raises:
        AudioError: As `load_audio`; for a file that breaks off, when the break is reached.
        ConfigError: If the sample rate or the block length is not positive.
    """
    if sample_rate < 1 or not 0 < block_seconds < float("inf"):
        raise ConfigError(
            f"cannot read blocks of {block_seconds} s at {sample_rate} samples per second",
            hint="Both must be positive",
        )
    if isinstance(source, tuple):
        samples, rate = _checked_array(source)
        size = max(1, int(block_seconds * rate))
        blocks = (samples[i : i + size] for i in range(0, len(samples), size))
        yield from resampled(mono_blocks(blocks, "audio", rate, channel), rate, sample_rate)
        return
    with opened(source) as recording:
        rate = int(recording.file.samplerate)
        size = max(1, int(block_seconds * rate))
        mono = mono_blocks(decoded(recording, size), str(recording.name), rate, channel)
        yield from resampled(mono, rate, sample_rate)


def choose_channel(source: AudioSource) -> int | None:
    """Which channel of a recording is best to detect in, as `ChannelSurvey.chosen` says.

    Args:
        source: As for `load_audio`; it is read to its end.

    Returns:
        Its number, the first being 1; None where the mean of all is better.

    Raises:
        AudioError: As `load_audio`.
    """
    if isinstance(source, tuple):
        samples, rate = _checked_array(source)
        survey = ChannelSurvey(samples.shape[1], rate)
        survey.push(channels_of(samples, "audio"))
        return survey.chosen()
    with opened(source) as recording:
        if recording.file.channels == 1:
            return None
        survey = ChannelSurvey(int(recording.file.channels), int(recording.file.samplerate))
        for block in decoded(recording, MOST_AT_ONCE // 16):
            survey.push(channels_of(block, str(recording.name)))
        return survey.chosen()


def load_excerpt(
    source: AudioSource, first: int, samples: int, sample_rate: int = SAMPLE_RATE
) -> NDArray[np.float32]:
    """Read an excerpt of a recording without decoding what lies before it.

    It is ``load_audio(source, sample_rate)[first : first + samples]``, up to what the resampler
    takes from beyond a tenth of a second around it (below -100 dB), and shorter where the recording
    ends.

    Args:
        source: As for `load_audio`.
        first: Sample to begin with, at ``sample_rate``.
        samples: How many, at most.
        sample_rate: Samples per second of the result.

    Raises:
        AudioError: As `load_audio`, and if the recording ends before ``first``.
    """
    if isinstance(source, tuple):
        part = load_audio(source, sample_rate)[first : first + samples]
        return _not_beyond(part, "audio", first)
    with opened(source) as recording:
        rate = int(recording.file.samplerate)
        # From a sample that falls on the grid of both rates, so that nothing is shifted.
        shared = math.gcd(rate, sample_rate)
        period_in, period_out = rate // shared, sample_rate // shared
        margin = sample_rate // 10
        start = max(0, first - margin) // period_out
        count = -(-(first + samples + margin) // period_out) - start
        block = decoded_part(recording, start * period_in, count * period_in)
        whole = np.concatenate(
            list(resampled(iter([to_mono(block, recording.name)]), rate, sample_rate))
        )
        skipped = first - start * period_out
        return _not_beyond(whole[skipped : skipped + samples], recording.name, first)


def _not_beyond(part: NDArray[np.float32], name: str, first: int) -> NDArray[np.float32]:
    if len(part) == 0:
        raise AudioError(f"the recording ends before sample {first}", where=name)
    return part


def write_audio(
    path: str | os.PathLike[str], samples: NDArray[np.floating[Any]], sample_rate: int = SAMPLE_RATE
) -> None:
    """Write a recording as 16-bit WAV or FLAC.

    Args:
        path: The file; its suffix says which. Its folder is made.
        samples: [S] of full scale 1; what goes beyond is clipped.
        sample_rate: Samples per second.

    Raises:
        AudioError: If the suffix is another, or the samples are not [S], empty or not finite.
        OSError: If the disk is full or read-only.
    """
    path = Path(path)
    if path.suffix.lower() not in (".wav", ".flac"):
        raise AudioError("cannot write this kind of file", where=path, hint="Use .wav or .flac")
    if samples.ndim != 1 or samples.size == 0 or not np.isfinite(samples).all():
        raise AudioError(
            f"samples of shape {samples.shape} are no mono recording of finite numbers", where=path
        )
    path.parent.mkdir(parents=True, exist_ok=True)
    _note_clipping(path, _beyond(samples))
    try:
        soundfile.write(path, to_int16(samples), sample_rate, subtype="PCM_16")
    except (OSError, RuntimeError, AssertionError) as error:
        refuse_full(path)
        raise AudioError(f"cannot be written ({reason(error)})", where=path) from None


def write_blocks(
    path: str | os.PathLike[str],
    blocks: Iterable[NDArray[np.floating[Any]]],
    sample_rate: int = SAMPLE_RATE,
) -> None:
    """Write a recording of any length as `write_audio` does, block by block.

    Args:
        path: The file; its suffix is ``.wav`` or ``.flac``, and its folder is there.
        blocks: [s] each, of full scale 1; what goes beyond is clipped.
        sample_rate: Samples per second.

    Raises:
        AudioError: If it cannot be written.
        OSError: If the disk is full or read-only.
    """
    clipped = 0
    try:
        with soundfile.SoundFile(path, "w", sample_rate, 1, "PCM_16") as file:
            for block in blocks:
                clipped += _beyond(block)
                file.write(to_int16(block))
    except (OSError, RuntimeError, AssertionError) as error:
        refuse_full(Path(path))
        raise AudioError(f"cannot be written ({reason(error)})", where=Path(path)) from None
    _note_clipping(path, clipped)


def _beyond(samples: NDArray[np.floating[Any]]) -> int:
    """How many samples 16 bits cannot hold, by more than a hundredth: resampling overshoots."""
    return int((np.abs(samples) > 1.01).sum())


def _note_clipping(path: str | os.PathLike[str], count: int) -> None:
    if count:
        name = undrafted(Path(path).name)
        _log.warning("%s: %d samples beyond full scale were clipped", name, count)


def _checked_array(source: tuple[NDArray[Any], int]) -> tuple[NDArray[Any], int]:
    """Samples [S, channels] and their rate."""
    if len(source) != 2:
        raise AudioError("audio in memory must be (samples, sample_rate)")
    rate = source[1]
    if not isinstance(rate, int | np.integer) or rate < 1:
        raise AudioError(
            f"audio in memory has the sample rate {rate!r}", hint="Give samples per second"
        )
    samples = as_samples(source[0], "audio in memory")
    if samples.size == 0:
        raise AudioError("the audio in memory is empty")
    return samples, int(rate)
