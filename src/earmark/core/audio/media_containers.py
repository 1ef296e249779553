"""Whether FLV, RealMedia, True Audio and DSF files are whole, and how far each goes.

FLV: Adobe Flash Video File Format Specification 10.1, annex E. RealMedia: chunks of a name, a size
and a version, big-endian. True Audio: a header of 22 bytes, then a table of the frames' sizes. DSF
(Sony, 1.01): the header states the file's size.
"""

from __future__ import annotations

from typing import BinaryIO

_FLV_HEADER, _TAG_HEADER = 9, 11
_CHUNKS = 10_000  # more than any RealMedia file has
_OF_HEADERS = 18  # bytes of a RealMedia chunk's header, which some programs count twice
_TTA_HEADER, _FRAME_SECONDS = 22, 256 / 245


def flv_end(file: BinaryIO, size: int) -> int:
    """Where the last tag of an FLV file ends; beyond the file's size if it was cut off.

    Args:
        file: Seekable; its position is changed.
        size: Its bytes.
    """
    file.seek(5)
    position = int.from_bytes(file.read(4), "big") or _FLV_HEADER
    while position + 4 < size:
        file.seek(position + 4)  # behind the size of the tag before
        tag = file.read(_TAG_HEADER)
        if tag[:4] == b"FLV\x01":
            return position + 4
        position += 4 + _TAG_HEADER + int.from_bytes(tag[1:4], "big")
    return position + 4


def realmedia_end(file: BinaryIO, size: int) -> int:
    """Where the last chunk of a RealMedia file ends; beyond its size if it was cut off.

    Args:
        file: Seekable; its position is changed.
        size: Its bytes.
    """
    position = 0
    for _ in range(_CHUNKS):
        if position >= size:
            break
        file.seek(position)
        kind, length = file.read(4), int.from_bytes(file.read(4), "big")
        if position and kind == b".RMF":
            break
        if kind == b"DATA" and not length:  # of a live stream: as far as it goes
            return size
        if length < 8 or not kind.replace(b".", b"").isalnum():
            break
        position += length
    return size if size < position <= size + _OF_HEADERS else position


def tta_end(file: BinaryIO, size: int) -> int:
    """Where the last frame of a True Audio file ends, by its table of frames.

    Args:
        file: Seekable; its position is changed.
        size: Its bytes.
    """
    file.seek(10)
    rate, samples = (int.from_bytes(file.read(4), "little") for _ in range(2))
    frames = -(-samples // max(1, int(rate * _FRAME_SECONDS)))
    table = _TTA_HEADER + 4 * frames + 4
    if table > size:
        return table
    file.seek(_TTA_HEADER)
    sizes = file.read(4 * frames)
    return table + sum(
        int.from_bytes(sizes[at : at + 4], "little") for at in range(0, len(sizes), 4)
    )


def dsf_end(file: BinaryIO, size: int) -> int:
    """Where a DSF file ends, by its header; at its end where that says nothing.

    Args:
        file: Seekable; its position is changed.
        size: Its bytes.
    """
    file.seek(12)
    return int.from_bytes(file.read(8), "little") or size
