"""How long a file says that it is, and how long it is by the bytes that are there.

Of the containers whose headers state a size in plain bytes: WAV and RF64 (EBU Tech 3306), AIFF,
CAF (Apple's Core Audio Format), AU, Wave64 and FLAC's STREAMINFO. Sizes that were never filled in
(0, or near 2³²), or that wrapped round beyond 4 GiB, are resolved from the bytes; a claim beyond
them is a file that was cut off.
"""

from __future__ import annotations

import io
import math
import os
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

_OPEN_ENDED = 0x7FFF0000  # programs that stream write data sizes of this and more
_WRAP = 2**32
_CHUNKS = 10_000  # more than any header has

_PCM, _FLOAT, _ALAW, _ULAW, _EXTENSIBLE = 1, 3, 6, 7, 0xFFFE
_SUBTYPES = {
    (_PCM, 8): "PCM_U8", (_PCM, 16): "PCM_16", (_PCM, 24): "PCM_24", (_PCM, 32): "PCM_32",
    (_FLOAT, 32): "FLOAT", (_FLOAT, 64): "DOUBLE", (_ALAW, 8): "ALAW", (_ULAW, 8): "ULAW",
}  # fmt: skip


@dataclass(frozen=True)
class Claim:
    """A stretch of audio as a header has it.

    Attributes:
        start: Its first byte.
        stated: Bytes by the header; None where that says that it does not know.
        rate: Bytes a second; 0 where the header does not say.
    """

    start: int
    stated: int | None
    rate: float = 0.0

    def missing(self, size: int) -> str | None:
        """What of it lies behind the end of a file of so many bytes, in words."""
        if self.stated is None or self.start + self.stated <= size:
            return None
        lacking = self.start + self.stated - size
        if self.rate <= 0:
            return f"{lacking} of {self.stated} bytes of audio"
        return f"{lacking / self.rate:.3f} of {self.stated / self.rate:.3f} s of audio"


@dataclass(frozen=True)
class WavHeader:
    """The header of a WAV file, up to its audio."""

    claim: Claim
    tag: int = 0
    channels: int = 0
    sample_rate: int = 0
    bits: int = 0
    end: int = 0

    @property
    def subtype(self) -> str | None:
        """Libsndfile's name of the encoding, if it is one of plain numbers."""
        return _SUBTYPES.get((self.tag, self.bits))


def wav_header(file: BinaryIO, size: int) -> WavHeader | None:
    """What a RIFF or RF64 file says of its audio; None if it has none.

    ``stated`` is resolved: a size of 0 before bytes that are no chunks is unknown, and one that
    lacks whole multiples of 2³² has them back.
    """
    long_size = None
    tag = channels = rate = bits = byte_rate = 0
    file.seek(4)
    end = 8 + int.from_bytes(file.read(4), "little")
    for kind, length, start in _chunks(file, size, 12, "<4sI"):
        if kind == b"ds64":
            long_size = int.from_bytes(file.read(16)[8:], "little")
        elif kind == b"fmt ":
            body = file.read(26).ljust(26, b"\0")
            tag, channels, rate, byte_rate, _, bits = struct.unpack("<HHIIHH", body[:16])
            if tag == _EXTENSIBLE:
                tag = int.from_bytes(body[24:26], "little")
        elif kind == b"data":
            stated = _resolved(file, start, length, long_size, size)
            return WavHeader(Claim(start, stated, byte_rate), tag, channels, rate, bits, end)
    return None


def _chunks(
    file: BinaryIO, size: int, position: int, header: str, align: int = 2, own: int = 0
) -> Iterator[tuple[bytes, int, int]]:
    """Chunks one behind the other: kind, length and where the content begins, the file there.

    Args:
        file: The file.
        size: Its bytes.
        position: Of the first chunk; it may lie anywhere.
        header: Kind and length of a chunk, as `struct` names them.
        align: Chunks begin at multiples of this from each other.
        own: Bytes of the header that the length counts as well.
    """
    width = struct.calcsize(header)
    for _ in range(_CHUNKS):
        if position > size:
            return
        file.seek(position)
        read = file.read(width)
        if len(read) < width:
            return
        kind, length = struct.unpack(header, read)
        yield kind, length - own, position + width
        if length < 0:
            return
        position += max(width, length - own + width + -length % align)


def _resolved(
    file: BinaryIO, start: int, length: int, long_size: int | None, size: int
) -> int | None:
    there = size - start
    if length == _WRAP - 1 and long_size is not None:
        return long_size or None
    if length == 0:
        return 0 if there <= 0 or _chunks_follow(file, start, size) else None
    if length >= _OPEN_ENDED and there < length:
        return None
    return length + (there - length) // _WRAP * _WRAP if there > length else length


def _chunks_follow(file: BinaryIO, position: int, size: int) -> bool:
    """Whether chunks of a RIFF file fill the rest of it to the end."""
    for _ in range(_CHUNKS):
        if position >= size:
            return True
        file.seek(position)
        header = file.read(8)
        if len(header) < 8 or not all(32 <= letter < 127 for letter in header[:4]):
            return False
        length = int.from_bytes(header[4:], "little")
        position += 8 + length + length % 2
    return False


def aiff_claim(file: BinaryIO, size: int) -> Claim | None:
    """The sound of an AIFF or AIFF-C file."""
    rate = 0.0
    for kind, length, start in _chunks(file, size, 12, ">4sI"):
        if kind == b"COMM":
            body = file.read(18).ljust(18, b"\0")
            channels, _, bits = struct.unpack(">hIh", body[:8])
            exponent, mantissa = struct.unpack(">HQ", body[8:])
            scale = (exponent & 0x7FFF) - 16383 - 63
            samples = math.ldexp(mantissa, scale) if scale < 64 else 0.0  # no rate is that high
            rate = samples * channels * ((bits + 7) // 8)
        if kind == b"SSND":
            stated = None if length >= _OPEN_ENDED and start + length > size else length
            return Claim(start, stated, rate)
    return None


def caf_claim(file: BinaryIO, size: int) -> Claim | None:
    """The sound of a CAF file; -1 is the size of one that was still being written."""
    rate = 0.0
    for kind, length, start in _chunks(file, size, 8, ">4sq", align=1):
        if kind == b"desc":
            body = file.read(32).ljust(32, b"\0")
            samples, _, _, packet, frames = struct.unpack(">d4sIII", body[:24])
            rate = samples * packet / frames if frames else 0.0
        if kind == b"data":
            return Claim(start, None if length < 0 else length, rate)
    return None


def au_claim(file: BinaryIO, size: int) -> Claim | None:
    """The sound of an AU file; 2³² - 1 stands for not known."""
    file.seek(4)
    header = file.read(20)
    if len(header) < 20:
        return None
    start, length, encoding, samples, channels = struct.unpack(">5I", header)
    width = {1: 1, 2: 1, 3: 2, 4: 3, 5: 4, 6: 4, 7: 8, 27: 1}.get(encoding, 0)
    return Claim(start, None if length == _WRAP - 1 else length, samples * channels * width)


def w64_claim(file: BinaryIO, size: int) -> Claim | None:
    """The sound of a Wave64 file: identifiers of 16 bytes, sizes of 8 with their headers."""
    rate = 0.0
    for kind, length, start in _chunks(file, size, 40, "<16sQ", align=8, own=24):
        if kind[:4] == b"fmt ":
            rate = float(int.from_bytes(file.read(12)[8:], "little"))
        if kind[:4] == b"data":
            unknown = length < 0 or length >= 2**62
            return Claim(start, None if unknown else length, rate)
    return None


def flac_length_unknown(file: BinaryIO) -> bool:
    """Whether a FLAC file says that it does not know how long it is, as those of pipes do."""
    file.seek(0)
    head = file.read(26)
    if len(head) < 26 or head[:4] != b"fLaC" or head[4] & 0x7F:
        return False
    return int.from_bytes(head[21:26], "big") & (2**36 - 1) == 0


class FileWindow(io.RawIOBase):
    """Some bytes of a file as a file.

    Args:
        file: Seekable; shared with whoever has it.
        start: First byte.
        length: How many.
    """

    def __init__(self, file: BinaryIO, start: int, length: int) -> None:
        super().__init__()
        self._file, self._start, self._length, self._at = file, start, length, 0

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Move within the window."""
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self._length}[whence]
        self._at = min(max(0, base + offset), self._length)
        return self._at

    def readinto(self, buffer: bytearray) -> int:  # type: ignore[override]
        """Fill a buffer."""
        self._file.seek(self._start + self._at)
        data = self._file.read(min(len(buffer), self._length - self._at))
        buffer[: len(data)] = data
        self._at += len(data)
        return len(data)

    def readable(self) -> bool:
        """It is."""
        return True

    def seekable(self) -> bool:
        """It is."""
        return True
