"""Whether a sound file is whole, as far as its container tells.

Decoders take a file that was cut off as if it were only shorter. These checks read the few header
bytes that tell (RIFF and RF64: EBU Tech 3306; Ogg: RFC 3533; MP4: ISO/IEC 14496-12; Matroska:
RFC 8794 and RFC 9559).
"""

from __future__ import annotations

import os
import struct
from typing import BinaryIO

from earmark.core.errors import AudioError

_OPEN_ENDED = 0x7FFF0000  # programs that stream write data sizes of 0, or of this and more
_PAGE_HEADER = 27
_LONGEST_PAGE = _PAGE_HEADER + 255 + 255 * 255
_LAST_PAGE = 0x04
EBML, _SEGMENT = b"\x1a\x45\xdf\xa3", b"\x18\x53\x80\x67"  # elements of a Matroska file
MP4_BOXES = (
    b"ftyp",
    b"moov",
    b"mdat",
    b"wide",
    b"free",
    b"skip",
)  # that an MP4 file may begin with
COPY_AGAIN = "Copy or download the file again"


def check_whole(file: BinaryIO, name: str) -> None:
    """Refuse a WAV, OGG, AVI, MP4 or Matroska file that ends before its own end.

    Args:
        file: Seekable; its position is changed.
        name: For the message.

    Raises:
        AudioError: If the file is truncated. Files of other kinds pass.
    """
    size = file.seek(0, os.SEEK_END)
    file.seek(0)
    head = file.read(12)
    if head[:4] in (b"RIFF", b"RF64") and head[8:] == b"WAVE":
        missing = _missing_from_wav(file, size)
    elif head[:4] == b"OggS":
        missing = None if _ogg_ends(file, size) else "its last page"
    elif head[:4] == b"RIFF" and head[8:] == b"AVI ":
        missing = _lacking(8 + struct.unpack("<I", head[4:8])[0], size)
    elif head[4:8] in MP4_BOXES:
        missing = _missing_from_mp4(file, size)
    elif head[:4] == EBML:
        missing = _missing_from_matroska(file, size)
    else:
        return
    if missing:
        raise AudioError(
            f"the file is truncated: {missing} is missing",
            where=name,
            hint=COPY_AGAIN,
        )


def _missing_from_wav(file: BinaryIO, size: int) -> str | None:
    """What lies behind the end of a RIFF or RF64 file, in words."""
    position = 12
    long_size = None
    while True:
        file.seek(position)
        header = file.read(8)
        if len(header) < 8:
            return "the audio data"  # no data chunk at all
        kind, length = header[:4], struct.unpack("<I", header[4:])[0]
        if kind == b"ds64":
            long_size = struct.unpack("<Q", file.read(16)[8:].ljust(8, b"\0"))[0]
        if kind == b"data":
            if length == 0xFFFFFFFF and long_size is not None:
                length = long_size
            elif length == 0 or length >= _OPEN_ENDED:
                return None
            lacking = position + 8 + length - size
            return f"{lacking} of {length} bytes of audio" if lacking > 0 else None
        position += 8 + length + length % 2


def _missing_from_mp4(file: BinaryIO, size: int) -> str | None:
    """What of an MP4 file's sound or of its index lies behind its end, in words."""
    position = 0
    while position + 8 <= size:
        file.seek(position)
        length, kind = struct.unpack(">I4s", file.read(8))
        if length == 1:
            length = int.from_bytes(file.read(8), "big")
        if length < 8:  # up to the end of the file, or no box any more
            return None
        if kind in (b"mdat", b"moov", b"moof") and position + length > size:
            return _lacking(position + length, size)
        position += length
    return None


def _missing_from_matroska(file: BinaryIO, size: int) -> str | None:
    """What of a Matroska file's segment lies behind its end, in words."""
    file.seek(0)
    for wanted in (EBML, _SEGMENT):
        name = file.read(4)
        first = file.read(1)
        if name != wanted or not first or not first[0]:
            return None  # left to the decoder
        width = 9 - first[0].bit_length()
        value = int.from_bytes(first + file.read(width - 1), "big") & (1 << 7 * width) - 1
        if value == (1 << 7 * width) - 1:  # of a live stream: as far as it goes
            return None
        if wanted == EBML:
            file.seek(value, os.SEEK_CUR)
    return _lacking(file.tell() + value, size)


def _lacking(end: int, size: int) -> str | None:
    return f"{end - size} of {end} bytes" if end > size else None


def _ogg_ends(file: BinaryIO, size: int) -> bool:
    """Whether an Ogg file ends with a whole page that is marked as a stream's last."""
    first = max(0, size - _LONGEST_PAGE)
    file.seek(first)
    tail = file.read()
    start = len(tail)
    # "OggS" may also occur by chance in the data, so only a page that ends with the file counts.
    while (start := tail.rfind(b"OggS", 0, start)) >= 0:
        header = tail[start : start + _PAGE_HEADER]
        if len(header) < _PAGE_HEADER:
            continue
        table = tail[start + _PAGE_HEADER : start + _PAGE_HEADER + header[26]]
        end = start + _PAGE_HEADER + header[26] + sum(table)
        if header[4] == 0 and len(table) == header[26] and end == len(tail):
            return bool(header[5] & _LAST_PAGE)
    return False


def announces_frames(file: BinaryIO) -> bool:
    """Whether an MP3 file begins with the frame that says how long it is.

    Without that frame (marked ``Xing`` or ``Info``) decoders only estimate the length.

    Args:
        file: Seekable; its position is changed.
    """
    file.seek(0)
    head = file.read(10)
    start = 0
    if head[:3] == b"ID3" and len(head) == 10:  # its length is four times seven bits
        start = 10 + sum(
            byte << shift for byte, shift in zip(head[6:], (21, 14, 7, 0), strict=True)
        )
    file.seek(start)
    frame = file.read(256)
    return b"Xing" in frame or b"Info" in frame
