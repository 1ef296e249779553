"""Variables of a TensorFlow checkpoint, read without TensorFlow and without running anything.

A checkpoint is a table of names, ``NAME.index``, and files of numbers, as
``NAME.data-00000-of-00001``. The table has LevelDB's form: blocks of sorted names with their
values, each name without what it shares with the one before it, each block with a checksum; a last
block says where the others are, and the end of the file where that one is. A value is a protocol
buffer that says a variable's type, its shape, and where its numbers are.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from earmark.core.errors import BundleError
from earmark.core.files.bounds import read_bytes, refuse_special

MAGIC = 0xDB4775248B80FB57
FOOTER = 48
TRAILER = 5
"""Bytes after a block: how it is compressed, and its checksum."""
TYPES = {1: "<f4", 2: "<f8", 3: "<i4", 9: "<i8", 10: "|b1", 19: "<f2"}
"""Numbers of types that are read; others, strings above all, are left out."""
CASTAGNOLI = 0x82F63B78
MASK_DELTA = 0xA282EAD8
LANES = 4096
LONGEST_NAME = 4096
"""Bytes of a variable's name; any length would let a small table ask for endless copies of one."""

Fields = dict[int, list[Any]]


@dataclass(frozen=True)
class TfCheckpoint:
    """A checkpoint's numbers.

    Attributes:
        variables: By name, with the type that they have in the file.
        left_out: Names of what is no array of numbers.
    """

    variables: dict[str, NDArray[Any]]
    left_out: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Entry:
    """Where a variable's numbers are."""

    dtype: int
    shape: tuple[int, ...]
    shard: int
    offset: int
    size: int
    checksum: int
    sliced: bool


def read_tf_checkpoint(index: str | Path) -> TfCheckpoint:
    """Read all variables of a checkpoint.

    Args:
        index: ``NAME.index``; the files with numbers are beside it.

    Raises:
        BundleError: A file is missing, cut short, damaged, or of another form.
    """
    index = Path(index)
    content = read_bytes(index, BundleError)
    try:
        table = dict(_table(content))
        if "" not in table:
            raise ValueError("it does not begin with a header")
        header = _fields(table.pop(""))
        shards, big_endian = _number(header, 1), _number(header, 2)
        entries = {name: _entry(value) for name, value in table.items()}
    # Numbers read from damaged bytes lead anywhere.
    except (ValueError, IndexError, TypeError, struct.error, OverflowError) as error:
        raise BundleError(
            f"is no index of a TensorFlow checkpoint ({error})", where=index
        ) from None
    if big_endian:
        raise BundleError("has numbers of the other byte order", where=index)
    variables, left_out = {}, []
    own = [entry for entry in entries.values() if entry.dtype in TYPES and not entry.sliced]
    places = [(entry.shard, entry.offset) for entry in own if entry.size]
    if len(set(places)) < len(places):
        raise BundleError("has variables that lie in the same place", where=index)
    for name, entry in entries.items():
        if entry.dtype in TYPES and not entry.sliced:
            variables[name] = _numbers(index, name, entry, shards)
        else:
            left_out.append(name)
    return TfCheckpoint(variables, tuple(left_out))


def _table(content: bytes) -> Iterator[tuple[str, bytes]]:
    """Names and values of a table, in order."""
    if len(content) < FOOTER:
        raise ValueError(f"it has only {len(content)} bytes")
    footer = content[-FOOTER:]
    if struct.unpack("<Q", footer[-8:])[0] != MAGIC:
        raise ValueError("it does not end as one")
    place = 0
    for _ in range(2):  # the first pair is of a block of notes, which is empty
        _, place = _varint(footer, place)
    start, place = _varint(footer, place)
    size, _ = _varint(footer, place)
    read = size
    for _, handle in _pairs(_block(content, start, size)):
        start, place = _varint(handle, 0)
        size, _ = _varint(handle, place)
        read += size
        if read > len(content):
            raise ValueError("its blocks overlap")
        for name, value in _pairs(_block(content, start, size)):
            yield name.decode("utf-8", "replace"), value


def _block(content: bytes, start: int, size: int) -> bytes:
    """A block without its trailer, its checksum tested."""
    whole = content[start : start + size + TRAILER]
    if len(whole) < size + TRAILER:
        raise ValueError("it is cut short")
    if masked(crc32c(whole[: size + 1])) != struct.unpack("<I", whole[-4:])[0]:
        raise ValueError(f"the checksum of its block at {start} is another")
    if whole[size] != 0:
        raise ValueError("it is compressed, which TensorFlow's own are not")
    return whole[:size]


def _pairs(block: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Keys and values of a block."""
    restarts = struct.unpack("<I", block[-4:])[0]
    end = len(block) - 4 * (restarts + 1)
    place, key = 0, b""
    while place < end:
        shared, place = _varint(block, place)
        own, place = _varint(block, place)
        size, place = _varint(block, place)
        if own + shared > LONGEST_NAME or own + size == 0:
            raise ValueError("a name in it has no end")
        key = key[:shared] + block[place : place + own]
        place += own
        yield key, block[place : place + size]
        place += size


def _varint(data: bytes, place: int) -> tuple[int, int]:
    """A number in groups of seven bits, the lowest first, and the place after it."""
    value = 0
    for shift in range(0, 70, 7):
        byte = data[place]
        place += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, place
    raise ValueError("a number in it has no end")


def _fields(message: bytes) -> Fields:
    """Fields of a protocol buffer: numbers as they are, everything longer as bytes."""
    found: Fields = {}
    place = 0
    while place < len(message):
        tag, place = _varint(message, place)
        kind = tag & 7
        if kind == 0:
            value: int | bytes
            value, place = _varint(message, place)
        elif kind in (1, 5):
            size = 8 if kind == 1 else 4
            value = int.from_bytes(message[place : place + size], "little")
            place += size
        elif kind == 2:
            size, place = _varint(message, place)
            value = message[place : place + size]
            place += size
        else:
            raise ValueError(f"a field in it is of kind {kind}")
        found.setdefault(tag >> 3, []).append(value)
    return found


def _number(fields: Fields, field_number: int) -> int:
    value = fields.get(field_number, [0])[-1]
    if not isinstance(value, int):
        raise ValueError(f"its field {field_number} is no number")
    return value


def _entry(value: bytes) -> _Entry:
    """``BundleEntryProto``: 1 type, 2 shape, 3 shard, 4 offset, 5 size, 6 checksum, 7 slices."""
    fields = _fields(value)
    shape = _fields(fields.get(2, [b""])[-1])
    return _Entry(
        dtype=_number(fields, 1),
        shape=tuple(_number(_fields(dimension), 1) for dimension in shape.get(2, [])),
        shard=_number(fields, 3),
        offset=_number(fields, 4),
        size=_number(fields, 5),
        checksum=_number(fields, 6),
        sliced=7 in fields,
    )


def _numbers(index: Path, name: str, entry: _Entry, shards: int) -> NDArray[Any]:
    """A variable from its file of numbers."""
    path = index.with_suffix(f".data-{entry.shard:05d}-of-{shards:05d}")
    dtype = np.dtype(TYPES[entry.dtype])
    if math.prod(entry.shape) * dtype.itemsize != entry.size:
        raise BundleError(
            f"says that {name} of shape {entry.shape} has {entry.size} bytes", where=index
        )
    refuse_special(path, BundleError)
    try:
        if entry.offset + entry.size > path.stat().st_size:
            short = f"is cut short: {name} is not whole"
            raise BundleError(short, where=path, hint="Fetch it again")
        with path.open("rb") as file:
            file.seek(entry.offset)
            data = file.read(entry.size)
    except FileNotFoundError:
        raise BundleError(
            "no such file", where=path, hint=f"It holds the numbers of {index.name}"
        ) from None
    except (OSError, OverflowError) as error:
        raise BundleError(f"cannot be read ({error})", where=path) from None
    if masked(crc32c(data)) != entry.checksum:
        raise BundleError(
            f"is damaged: the checksum of {name} is another", where=path, hint="Fetch it again"
        )
    try:
        return np.frombuffer(data, dtype).reshape(entry.shape).copy()
    except ValueError as error:  # more dimensions than NumPy has
        raise BundleError(f"has {name} of shape {entry.shape} ({error})", where=index) from None


def masked(checksum: int) -> int:
    """A checksum as TensorFlow and LevelDB store it, so that it is not that of its own bytes."""
    rotated = ((checksum >> 15) | (checksum << 17)) & 0xFFFFFFFF
    return (rotated + MASK_DELTA) & 0xFFFFFFFF


def crc32c(data: bytes) -> int:
    """Castagnoli's checksum (RFC 3720, B.4), of many stretches of the data at once.

    A checksum is linear in the data but for its start, so those of stretches of n bytes are joined
    by moving what has been summed n zero bytes on.
    """
    table, length = _byte_table(), len(data) // LANES
    total = 0
    if length:
        lanes = np.frombuffer(data, np.uint8, LANES * length).reshape(LANES, length)
        sums = np.full(LANES, 0xFFFFFFFF, np.uint32)
        for column in np.ascontiguousarray(lanes.T):
            sums = table[(sums ^ column) & 0xFF] ^ (sums >> 8)
        shifted = _zeros_table(length)
        for lane in (sums ^ 0xFFFFFFFF).tolist():
            low, high = shifted[0][total & 0xFFFF], shifted[1][total >> 16]
            total = int(low) ^ int(high) ^ lane
    rest, steps = total ^ 0xFFFFFFFF, table.tolist()
    for byte in data[LANES * length :]:
        rest = steps[(rest ^ byte) & 0xFF] ^ (rest >> 8)
    return rest ^ 0xFFFFFFFF


@cache
def _byte_table() -> NDArray[np.uint32]:
    """What the lowest byte does to the rest of a checksum, [256]."""
    table = np.arange(256, dtype=np.uint32)
    for _ in range(8):
        table = np.where(table & 1, (table >> 1) ^ CASTAGNOLI, table >> 1).astype(np.uint32)
    return table


def _zeros_table(count: int) -> tuple[NDArray[np.uint32], NDArray[np.uint32]]:
    """Checksums moved ``count`` zero bytes on, by their lower and their upper half: 2 × [65536]."""
    table = _byte_table()
    bits = np.uint32(1) << np.arange(32, dtype=np.uint32)
    step = table[bits & 0xFF] ^ (bits >> 8)  # where one zero byte moves each bit
    moved = bits
    while count:
        if count & 1:
            moved = _applied(step, moved)
        step = _applied(step, step)
        count >>= 1
    halves = np.arange(1 << 16, dtype=np.uint32)
    return _applied(moved, halves), _applied(moved, halves << np.uint32(16))


def _applied(columns: NDArray[np.uint32], values: NDArray[np.uint32]) -> NDArray[np.uint32]:
    """A linear map of bits, given by what it makes of each of the 32, applied to values."""
    result = np.zeros_like(values)
    for bit, column in enumerate(columns):
        result ^= np.where((values >> np.uint32(bit)) & 1, column, 0).astype(np.uint32)
    return result
