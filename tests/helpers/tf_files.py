"""TensorFlow checkpoints, written byte by byte from their format's description."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
DTYPES = {"float32": 1, "float64": 2, "int32": 3, "int64": 9, "bool": 10, "float16": 19}
STRING = 7


def slow_crc32c(data: bytes) -> int:
    """Castagnoli's checksum, bit by bit."""
    register = 0xFFFFFFFF
    for byte in data:
        register ^= byte
        for _ in range(8):
            register = (register >> 1) ^ (0x82F63B78 if register & 1 else 0)
    return register ^ 0xFFFFFFFF


def mask(checksum: int) -> int:
    return (((checksum >> 15) | (checksum << 17)) + 0xA282EAD8) % 2**32


def varint(value: int) -> bytes:
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def message(*fields: tuple[int, int | bytes], fixed: Mapping[int, int] | None = None) -> bytes:
    """A protocol buffer of numbers and bytes; ``fixed`` has numbers of 32 bits."""
    out = bytearray()
    for number, value in fields:
        if isinstance(value, int):
            out += varint(number << 3) + varint(value)
        else:
            out += varint(number << 3 | 2) + varint(len(value)) + value
    for number, value in (fixed or {}).items():
        out += varint(number << 3 | 5) + struct.pack("<I", value)
    return bytes(out)


def block(pairs: Iterable[tuple[bytes, bytes]], restart_every: int = 4) -> bytes:
    """Sorted pairs, each key without what it shares with the one before."""
    out, restarts, last = bytearray(), [], b""
    for index, (key, value) in enumerate(pairs):
        shared = 0
        if index % restart_every == 0:
            restarts.append(len(out))
        else:
            while shared < min(len(key), len(last)) and key[shared] == last[shared]:
                shared += 1
        out += varint(shared) + varint(len(key) - shared) + varint(len(value))
        out += key[shared:] + value
        last = key
    restarts = restarts or [0]
    return bytes(out) + struct.pack(f"<{len(restarts) + 1}I", *restarts, len(restarts))


def table(pairs: Mapping[bytes, bytes], per_block: int = 5, compression: int = 0) -> bytes:
    """A LevelDB table."""
    out, handles = bytearray(), []

    def add(content: bytes) -> bytes:
        start, kind = len(out), bytes([compression])
        out.extend(content + kind + struct.pack("<I", mask(slow_crc32c(content + kind))))
        return varint(start) + varint(len(content))

    ordered = sorted(pairs.items())
    for first in range(0, len(ordered), per_block):
        some = ordered[first : first + per_block]
        handles.append((some[-1][0] + b"~", add(block(some))))
    footer = add(block([])) + add(block(handles, restart_every=1))
    return bytes(out) + footer.ljust(40, b"\0") + struct.pack("<Q", 0xDB4775248B80FB57)


def entry(
    value: Array, offset: int, checksum: int, extra: tuple[tuple[int, bytes], ...] = ()
) -> bytes:
    shape = message(*((2, message((1, size))) for size in value.shape))
    fields = ((1, DTYPES[str(value.dtype)]), (2, shape), (4, offset), (5, value.nbytes), *extra)
    return message(*fields, fixed={6: mask(checksum)})


def write_checkpoint(
    index: Path,
    variables: Mapping[str, Array],
    *,
    endianness: int = 0,
    compression: int = 0,
    checksum: Callable[[bytes], int] = slow_crc32c,
    extra: Mapping[str, bytes] | None = None,
) -> Path:
    """Write ``NAME.index`` and ``NAME.data-00000-of-00001``, as TensorFlow does.

    ``extra`` are further entries, as they are.
    """
    pairs = {b"": message((1, 1), (2, endianness), (3, message((1, 1))))}
    data = bytearray()
    for name, value in sorted(variables.items()):
        own = np.ascontiguousarray(value).tobytes()
        pairs[name.encode()] = entry(value, len(data), checksum(own))
        data += own
    pairs |= {name.encode(): value for name, value in (extra or {}).items()}
    index.parent.mkdir(parents=True, exist_ok=True)
    index.write_bytes(table(pairs, compression=compression))
    index.with_suffix(".data-00000-of-00001").write_bytes(bytes(data))
    return index
