"""What libsndfile cannot decode and FFmpeg can: phones' M4A, video files, WMA, AMR, AAC.

FFmpeg comes with PyAV (``pip install 'earmark[media]'``). Files are known by their first bytes,
never by their names. Times are those of the audio itself, beginning with its first sample: what
encoders put before and after it is left out where the container declares it.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, BinaryIO, NamedTuple

import numpy as np
from numpy.typing import NDArray

from earmark.core.audio.containers import COPY_AGAIN, EBML, MP4_BOXES
from earmark.core.errors import AudioError

_log = logging.getLogger(__name__)

if TYPE_CHECKING:
    from av import AudioFrame

UNKNOWN_LENGTH = 2**62
_HEAD = 1000  # bytes that identify the kind
_TRACKS_TELL = "mov"  # the container that knows how long each track is, without its padding
_TELL_LENGTH = (_TRACKS_TELL, "wv", "tta", "ape", "mpc", "mpc8", "dsf", "rm", "flv")
_SLACK, _EXACT_SLACK = 0.5, 0.1  # s by which a track's or another header's word may be off
_PADDING = 4096  # samples that an encoder fills up with at the end, at most
_SYNC = ((0, 188), (4, 192))  # first packet and size of an MPEG transport stream, bare or timed
# FFmpeg may look at the file that is open, and at nothing else: not guess the format anew (a text
# may be a description of a network session, which it would join), and not follow a reference.
_ALONE = {"protocol_whitelist": "none", "enable_drefs": "0"}
_LEAST_GAP, _MOST_GAP = 0.04, 24 * 3600.0  # s; clocks of milliseconds are that exact
_CLOCK_RESET = 0.5  # s by which a clock that goes back begins anew
_FULL_SCALE = {"u1": 2.0**7, "i2": 2.0**15, "i4": 2.0**31, "i8": 2.0**63, "f4": 1.0, "f8": 1.0}


class MediaKind(NamedTuple):
    """A kind of media: its name in words, and FFmpeg's demuxer for it."""

    name: str
    demuxer: str


_BEGINS = {
    EBML: MediaKind("Matroska or WebM", "matroska"),
    b"\x30\x26\xb2\x75\x8e\x66\xcf\x11": MediaKind("WMA or WMV", "asf"),
    b"#!AMR": MediaKind("AMR", "amr"),
    b"caff": MediaKind("CAF", "caf"),
    b"\x00\x00\x01\xba": MediaKind("MPEG", "mpeg"),
    b"wvpk": MediaKind("WavPack", "wv"),
    b"TTA1": MediaKind("True Audio", "tta"),
    b"MAC ": MediaKind("Monkey's Audio", "ape"),
    b"MP+": MediaKind("Musepack", "mpc"),
    b"MPCK": MediaKind("Musepack", "mpc8"),
    b"DSD ": MediaKind("DSF", "dsf"),
    b"FLV\x01": MediaKind("Flash video", "flv"),
    b".RMF": MediaKind("RealMedia", "rm"),
}
_OTHER_CODECS = {
    b"RIFF": "wav", b"RF64": "wav", b"riff": "w64", b"FORM": "aiff", b".snd": "au",
    b"OggS": "ogg", b"fLaC": "flac",
}  # fmt: skip
"""Containers that libsndfile knows, if with none of the codecs that they may hold."""


def media_kind(file: BinaryIO) -> MediaKind | None:
    """What kind of media a file is; None if it is none that is known.

    Args:
        file: Seekable; its position is changed.
    """
    file.seek(0)
    head = file.read(_HEAD)
    for first, kind in _BEGINS.items():
        if head.startswith(first):
            return kind
    if head[4:8] in MP4_BOXES:
        return MediaKind("MP4, M4A or MOV", "mov")
    if head[:4] == b"RIFF" and head[8:12] == b"AVI ":
        return MediaKind("AVI", "avi")
    if len(head) > 1 and head[0] == 0xFF and head[1] & 0xF6 == 0xF0:
        return MediaKind("AAC", "aac")
    if any(_packets(head[first::size]) for first, size in _SYNC):
        return MediaKind("an MPEG transport stream", "mpegts")
    return None


def _packets(first_bytes: bytes) -> bool:
    """Whether a transport stream's packets, two at least, begin as they must."""
    return len(first_bytes) > 1 and set(first_bytes) == set(b"G")


def other_codec(file: BinaryIO) -> MediaKind | None:
    """The container of a file whose codec libsndfile does not know; None if it is no such one."""
    file.seek(0)
    demuxer = _OTHER_CODECS.get(file.read(4))
    return None if demuxer is None else MediaKind("its encoding", demuxer)


class MediaFile:
    """The first audio track of a media file, with what is asked of ``soundfile.SoundFile``.

    Args:
        raw: Seekable and at its start; not closed.
        name: For messages.
        kind: As `media_kind` says.

    Raises:
        AudioError: PyAV is missing, or FFmpeg finds no audio in the file.
    """

    format = "MEDIA"
    subtype = ""
    frames = UNKNOWN_LENGTH  # only decoding gives it exactly

    def __init__(self, raw: BinaryIO, name: str, kind: MediaKind) -> None:
        try:
            import av
        except ModuleNotFoundError:
            raise AudioError(
                f"{kind.name} is read with FFmpeg, and PyAV, which brings it, is not installed",
                where=name,
                hint="Install it with: pip install 'earmark[media]', or convert the file to WAV",
            ) from None
        # FFmpeg's own, what a file says of itself that leads to no place in it, and an IndexError
        # of PyAV's own list, which is too short when a stream begins on the way.
        self._errors = (av.FFmpegError, ValueError, OSError, OverflowError, IndexError)
        self._demuxer = kind.demuxer
        try:
            self._container = av.open(
                raw, "r", kind.demuxer, {**_ALONE, "format_whitelist": kind.demuxer},
                metadata_errors="replace",
            )  # fmt: skip
        except self._errors as error:
            raise AudioError(
                f"{kind.name}, but FFmpeg cannot read it ({_text(error)})",
                where=name,
                hint=COPY_AGAIN,
            ) from None
        self._open(name)

    def _open(self, name: str) -> None:
        """Decode the first block, which gives rate and channels where headers may be wrong."""
        try:
            self._blocks = self._decode(name)
            self._rest = next(self._blocks, None)
        except RuntimeError as error:
            self.close()
            raise AudioError(
                f"the audio cannot be decoded ({error})",
                where=name,
                hint=COPY_AGAIN,
            ) from None
        except AudioError:
            self.close()
            raise
        if self._rest is None:
            self.close()
            raise AudioError("the recording has no samples", where=name, hint=COPY_AGAIN)

    samplerate: int
    channels: int
    _fault: RuntimeError | None = None
    _silent = 0.0  # s that were missing so far
    _began = 0.0  # s on the file's clock at which its first sample is

    def _decode(self, name: str) -> Iterator[NDArray[np.float32]]:
        """Blocks [s, channels]; a RuntimeError where the file breaks off."""
        track = next(iter(self._container.streams.audio), None)
        if track is None:
            raise AudioError("there is no audio in it", where=name, hint="Leave it out")
        if track.codec_context is None:
            raise RuntimeError("its encoding is unknown")
        track.codec_context.thread_type = "SLICE"  # threads share recordings, not frames
        seconds = 0.0
        if self._demuxer in _TELL_LENGTH:
            seconds = float((track.duration or 0) * (track.time_base or 0))
            if not seconds and not self._container.streams.video:
                seconds = (self._container.duration or 0) / 1e6
        own = seconds if self._demuxer == _TRACKS_TELL else 0.0
        count, padding = 0, _Padding(None)
        try:
            for frame in self._container.decode(track):
                if count == 0:
                    self.samplerate = frame.sample_rate
                    self.channels = frame.layout.nb_channels
                    padding = _Padding(round(own * frame.sample_rate) or None)
                block = _samples(frame)
                for silence in self._silence_before(frame, count, name):
                    count += len(silence)
                    yield from padding.without(silence)
                if (frame.sample_rate, block.shape[1]) != (self.samplerate, self.channels):
                    raise RuntimeError("rate or channels change on the way")
                count += len(block)
                yield from padding.without(block)
        except self._errors as error:
            raise RuntimeError(_text(error)) from None
        slack = _SLACK if own else _EXACT_SLACK
        if count and count / self.samplerate < seconds - slack:
            raise RuntimeError(f"its header says {seconds:.3f} s")

    def _silence_before(
        self, frame: AudioFrame, count: int, name: str
    ) -> Iterator[NDArray[np.float32]]:
        """Silence for the time that passes by the file's clock before a frame; said once a gap.

        Raises:
            RuntimeError: More passes than any pause of a recorder.
        """
        if frame.pts is None or frame.time_base is None:
            return
        now = float(frame.pts * frame.time_base)
        if count == 0 or now < self._began + count / self.samplerate - _CLOCK_RESET:
            self._began = now - count / self.samplerate  # a new clock, as where streams were joined
            return
        begin = count / self.samplerate
        gap = now - self._began - begin
        if gap <= _LEAST_GAP:
            return
        self._silent += gap
        if self._silent > _MOST_GAP:
            raise RuntimeError(f"its clock jumps by {gap:.0f} s")
        _log.warning("%s: %.3f s are missing at %.3f s and are taken as silence", name, gap, begin)
        left = round(gap * self.samplerate)
        while left > 0:
            yield np.zeros((min(left, 2**16), self.channels), dtype=np.float32)
            left -= min(left, 2**16)

    def read(self, frames: int, dtype: str = "float32", always_2d: bool = True) -> Any:
        """The next samples [s, channels] of full scale 1, s ≤ ``frames``; none at the end.

        Raises:
            RuntimeError: The file breaks off.
        """
        if dtype != "float32" or not always_2d:
            raise ValueError("media files are read as float32 [s, channels]")
        if self._fault is not None:
            raise self._fault
        parts: list[NDArray[np.float32]] = []
        while frames > 0:
            try:
                block = self._rest if self._rest is not None else next(self._blocks, None)
            except RuntimeError as error:
                if not parts:
                    raise
                self._fault = error  # after what came before it
                break
            if block is None:
                break
            self._rest = block[frames:] if len(block) > frames else None
            parts.append(block[:frames])
            frames -= len(parts[-1])
        return np.concatenate(parts) if parts else np.zeros((0, self.channels), dtype=np.float32)

    def seek(self, frames: int) -> int:
        """Skip so many samples, from the start of the file; what lies before is decoded."""
        left = frames
        while left > 0 and (skipped := len(self.read(min(left, 2**16)))):
            left -= skipped
        return frames - left

    @property
    def estimate(self) -> int | None:
        """About how many samples there are, where the container says something."""
        duration = self._container.duration
        return None if duration is None else round(duration / 1e6 * self.samplerate)

    def close(self) -> None:
        """Let FFmpeg's side of it go."""
        self._container.close()


class _Padding:
    """Holds back what follows the end of a track, until it is too much to be padding.

    Args:
        end: Samples of the track, by its header; None if not stated there.
    """

    def __init__(self, end: int | None) -> None:
        self._left = end
        self._held: list[NDArray[np.float32]] = []
        self._waiting = 0  # samples held

    def without(self, block: NDArray[np.float32]) -> Iterator[NDArray[np.float32]]:
        """What of the samples so far is sound, as far as it was not given before."""
        if self._left is None:
            yield block
            return
        if own := min(self._left, len(block)):
            yield block[:own]
            self._left -= own
        if own < len(block):
            self._held.append(block[own:])
            self._waiting += len(block) - own
        if self._waiting > _PADDING:  # the header is wrong: a file written on the way
            yield from self._held
            self._left, self._held = None, []


def _samples(frame: AudioFrame) -> NDArray[np.float32]:
    """[s, channels] of full scale 1."""
    given = frame.to_ndarray()
    block = given.T if frame.format.is_planar else given.reshape(-1, frame.layout.nb_channels)
    scaled = block.astype(np.float64) - (128.0 if given.dtype.str[1:] == "u1" else 0.0)
    return (scaled / _FULL_SCALE[given.dtype.str[1:]]).astype(np.float32)


def _text(error: BaseException) -> str:
    return str(getattr(error, "strerror", None) or error).rstrip(". ")
