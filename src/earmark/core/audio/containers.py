"""Whether a sound file is whole, by its container's header.

Decoders take a file that was cut off as if it were only shorter. These checks read the few header
bytes that show it (RIFF and RF64: EBU Tech 3306; Ogg: RFC 3533; MP4: ISO/IEC 14496-12; Matroska:
RFC 8794 and RFC 9559).
"""

from __future__ import annotations

import os
import struct
from typing import BinaryIO

from earmark.core.audio.media_containers import dsf_end, flv_end, realmedia_end, tta_end
from earmark.core.audio.sizes import aiff_claim, au_claim, caf_claim, w64_claim, wav_header
from earmark.core.errors import AudioError

_PAGE_HEADER = 27
_LONGEST_PAGE = _PAGE_HEADER + 255 + 255 * 255
_FIRST_PAGE, _LAST_PAGE = 0x02, 0x04
_BOXES = 400_000  # of two days in fragments of a second
_EMPTY_BOXES = 1000  # one behind the other; no file needs more
_CLAIMS = {b"FORM": aiff_claim, b"caff": caf_claim, b".snd": au_claim, b"riff": w64_claim}
_TAGS = 2**16  # bytes in which a title and the like may stand between two files
_ENDS = {  # begin, name and end of files whose end is found by walking through them
    b"FLV\x01": ("Flash videos", flv_end),
    b".RMF": ("RealMedia files", realmedia_end),
    b"TTA1": ("True Audio files", tta_end),
    b"DSD ": ("DSF files", dsf_end),
}
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
    """Refuse a file that ends before its own end, by its header.

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
    elif head[:4] in _ENDS:
        missing = _lacking(_ENDS[head[:4]][1](file, size), size)
    else:
        read = _CLAIMS.get(head[:4])
        claim = None if read is None else read(file, size)
        missing = None if claim is None else claim.missing(size)
    if missing:
        raise AudioError(
            f"the file is truncated: {missing} is missing",
            where=name,
            hint=COPY_AGAIN,
        )


def _missing_from_wav(file: BinaryIO, size: int) -> str | None:
    """What lies behind the end of a RIFF or RF64 file, in words."""
    header = wav_header(file, size)
    return "the audio data" if header is None else header.claim.missing(size)


def several(file: BinaryIO) -> str | None:
    """What stands several times one behind the other in a file, in words; None if nothing does.

    Decoders stop at the end of the first, or say that the file is as long as that.

    Args:
        file: Seekable; its position is changed.
    """
    size = file.seek(0, os.SEEK_END)
    file.seek(0)
    head = file.read(12)
    if head[:4] == b"RIFF" and head[8:] == b"WAVE":
        header = wav_header(file, size)
        end = 0 if header is None else header.end
        file.seek(end)
        return "WAV files" if end and file.read(4) == b"RIFF" else None
    if head[:4] == b"FORM":
        file.seek(8 + int.from_bytes(head[4:8], "big"))
        return "AIFF files" if file.read(4) == b"FORM" else None
    if head[:4] == b"OggS":
        return "Ogg streams" if _chained(file) else None
    if head[:4] in _ENDS:
        name, ends_at = _ENDS[head[:4]]
        file.seek(ends_at(file, size))
        return name if head[:4] in file.read(_TAGS) else None
    if head[:3] == b"ID3" or (head[:1] == b"\xff" and len(head) > 1 and head[1] & 0xE0 == 0xE0):
        return "MP3 files" if _mp3_behind(file, size) else None
    return None


def _chained(file: BinaryIO) -> bool:
    """Whether an Ogg stream begins after another one has (RFC 3533, section 4)."""
    position, began = 0, False
    while True:
        file.seek(position)
        header = file.read(_PAGE_HEADER + 255)
        if len(header) < _PAGE_HEADER or header[:4] != b"OggS":
            return False
        first = bool(header[5] & _FIRST_PAGE)
        if first and began:
            return True
        began = began or not first
        segments = header[_PAGE_HEADER : _PAGE_HEADER + header[26]]
        position += _PAGE_HEADER + header[26] + sum(segments)


def _mp3_behind(file: BinaryIO, size: int) -> bool:
    """Whether another MP3 file follows the bytes that the first one's header counts."""
    start, frame = _first_mp3_frame(file)
    at = max(frame.find(b"Xing"), frame.find(b"Info"))
    if at < 0 or len(frame) < at + 16:
        return False
    flags = int.from_bytes(frame[at + 4 : at + 8], "big")
    counted = at + 8 + 4 * (flags & 1)
    if not flags & 2:
        return False
    end = start + int.from_bytes(frame[counted : counted + 4], "big")
    if end + 512 > size:
        return False
    file.seek(end)
    tail = file.read(4)
    return tail[:3] == b"ID3" or (tail[:1] == b"\xff" and tail[1] & 0xE0 == 0xE0)


def _missing_from_mp4(file: BinaryIO, size: int) -> str | None:
    """What of an MP4 file's sound or of its index lies behind its end, in words."""
    position = empty = count = 0
    while position + 8 <= size and empty < _EMPTY_BOXES and count < _BOXES:
        count += 1
        file.seek(position)
        length, kind = struct.unpack(">I4s", file.read(8))
        if length == 1:
            length = int.from_bytes(file.read(8), "big")
        if length < 8:  # up to the end of the file, or no box any more
            return None
        empty = empty + 1 if length == 8 else 0
        if kind in (b"mdat", b"moov", b"moof") and position + length > size:
            return _lacking(position + length, size)
        position += length
    return "all but empty boxes" if empty >= _EMPTY_BOXES or count >= _BOXES else None


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
    frame = _first_mp3_frame(file)[1]
    return b"Xing" in frame or b"Info" in frame


def _first_mp3_frame(file: BinaryIO) -> tuple[int, bytes]:
    """Where an MP3 file's first frame begins, and its first 256 bytes."""
    file.seek(0)
    head = file.read(10)
    start = 0
    if head[:3] == b"ID3" and len(head) == 10:  # its length is four times seven bits
        start = 10 + sum(
            byte << shift for byte, shift in zip(head[6:], (21, 14, 7, 0), strict=True)
        )
    file.seek(start)
    return start, file.read(256)


_BITRATES = {  # kbit/s by MPEG-1 or not, and layer (ISO/IEC 11172-3 and 13818-3)
    (True, 3): (32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    (True, 2): (32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384),
    (False, 3): (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
    (False, 2): (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}


def frames_follow(file: BinaryIO) -> bool:
    """Whether a file begins with a frame of MPEG audio (layer II or III) or AAC, and a second one.

    Args:
        file: Seekable; its position is changed.
    """
    file.seek(0)
    head = file.read(7)
    length = _frame_length(head)
    if not length:
        return False
    file.seek(length)
    after = file.read(2)
    return after[:1] == b"\xff" and len(after) == 2 and after[1] & 0xFE == head[1] & 0xFE


def _frame_length(head: bytes) -> int:
    """Bytes of a frame by its header; 0 if it is none."""
    if len(head) < 7 or head[0] != 0xFF or head[1] & 0xE0 != 0xE0:
        return 0
    if head[1] & 0xF6 == 0xF0:  # AAC in ADTS (ISO/IEC 13818-7)
        return (head[3] & 3) << 11 | head[4] << 3 | head[5] >> 5
    version, layer = head[1] >> 3 & 3, 4 - (head[1] >> 1 & 3)
    bitrates = _BITRATES.get((version == 3, layer), ())
    index, rate = (head[2] >> 4) - 1, head[2] >> 2 & 3
    if version == 1 or rate == 3 or not 0 <= index < len(bitrates):
        return 0
    samples_a_second = (44_100, 48_000, 32_000)[rate] // {3: 1, 2: 2, 0: 4}[version]
    slots = 72 if version != 3 and layer == 3 else 144
    return slots * 1000 * bitrates[index] // samples_a_second + (head[2] >> 1 & 1)
