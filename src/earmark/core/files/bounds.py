"""What a file may ask for: bounds of memory and time, kept before anything is read or unpacked.

A file of a few kilobytes can stand for gigabytes (archives, YAML aliases), nest deeper than any
program follows, or never end (pipes, devices). Each is refused here, in one place for each kind.
"""

from __future__ import annotations

import gzip
import io
import json
import lzma
import math
import stat
import struct
import zipfile
import zlib
from pathlib import Path
from tokenize import TokenError
from typing import IO, TYPE_CHECKING, Any

from earmark.core.errors import EarmarkError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

MIB = 2**20
UNPACKED = 64 * MIB
"""Bytes that any archive may unpack to …"""
RATIO = 30
"""… and how many times its own size a larger one may: numbers written as text reach some ten."""
DIGITS = 300
"""Of a number: what has more is no float any more."""
DAMAGED = (
    *(OSError, EOFError, ValueError, KeyError, TypeError, RuntimeError, OverflowError, MemoryError),
    *(SyntaxError, TokenError, struct.error, zlib.error, lzma.LZMAError, zipfile.BadZipFile),
)
"""What reading a damaged archive raises, of zip and of NumPy."""


def refuse_special(path: str | Path, error: type[EarmarkError] = EarmarkError) -> None:
    """Refuse what is no file: reading a pipe, a device or a socket may never end.

    Args:
        path: Of a file or folder; what is not there passes.
        error: What to raise.
    """
    try:
        mode = Path(path).stat().st_mode
    except (OSError, ValueError):  # whoever opens it says what is wrong
        return
    if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
        raise error(
            "not a file but a pipe, a device or a socket",
            where=path,
            hint="Copy what it gives into a file",
        )


def read_bytes(path: str | Path, error: type[EarmarkError] = EarmarkError) -> bytes:
    """A file's content.

    Args:
        path: The file.
        error: What to raise where it is missing, special or cannot be read.
    """
    refuse_special(path, error)
    try:
        return Path(path).read_bytes()
    except FileNotFoundError:
        raise error("no such file", where=path, hint="Check the path") from None
    except OSError as reason:
        raise error(f"cannot be read ({reason.strerror})", where=path) from None


def stays_inside(name: object) -> bool:
    """Whether a path that a file names leads to no place outside the folder it is relative to."""
    return isinstance(name, str) and not Path(name).is_absolute() and ".." not in Path(name).parts


def most_unpacked(size: int) -> int:
    """Bytes that an archive of so many may unpack to."""
    return max(UNPACKED, RATIO * size)


def refuse_bomb(unpacked: int, size: int) -> None:
    """Refuse an archive that unpacks to far more than it is.

    Args:
        unpacked: Bytes that it unpacks to.
        size: Its own.

    Raises:
        ValueError: It does.
    """
    if unpacked > most_unpacked(size):
        raise ValueError(
            f"{size:,} bytes that unpack to more than {most_unpacked(size) // MIB:,} MiB; "
            "unpack it yourself if you trust it"
        )


def gunzip(content: bytes) -> bytes:
    """What a ``.gz`` file holds.

    Raises:
        ValueError: It is damaged, or unpacks to far more than it is.
    """
    try:
        with gzip.GzipFile(fileobj=io.BytesIO(content)) as file:
            unpacked = file.read(most_unpacked(len(content)) + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise ValueError(str(error)) from None
    refuse_bomb(len(unpacked), len(content))
    return unpacked


def check_archive(path: str | Path) -> None:
    """Refuse a zip archive that unpacks to far more than it is; other files pass.

    Raises:
        ValueError: It does.
    """
    if zipfile.is_zipfile(path):
        try:
            with zipfile.ZipFile(path) as archive:
                unpacked = sum(member.file_size for member in archive.infolist())
        except DAMAGED:  # whoever reads it says what is wrong
            return
        refuse_bomb(unpacked, Path(path).stat().st_size)


def read_arrays(path: str | Path) -> dict[str, NDArray[Any]]:
    """The arrays of NumPy's archive (``.npz``), by name; nothing is unpickled.

    Raises:
        ValueError: It is none, is damaged, or asks for more memory than its size explains.
    """
    refuse_special(path)
    try:
        check_archive(path)
        with zipfile.ZipFile(path) as archive:
            return {
                member.filename.removesuffix(".npy"): _array(archive, member)
                for member in archive.infolist()
            }
    except DAMAGED as error:
        raise ValueError(" ".join(str(error).split())[:200] or type(error).__name__) from None


def _array(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> NDArray[Any]:
    from numpy.lib.format import read_array

    with archive.open(member) as file:
        shape, dtype = _header(file)
        if math.prod(shape) * dtype.itemsize > member.file_size:
            raise ValueError(f"{member.filename} says that it has the shape {shape}")
    with archive.open(member) as file:
        array: NDArray[Any] = read_array(file, allow_pickle=False)
    return array


def _header(file: IO[bytes]) -> tuple[tuple[int, ...], np.dtype[Any]]:
    from numpy.lib import format as form

    version = form.read_magic(file)
    known = {(1, 0): form.read_array_header_1_0, (2, 0): form.read_array_header_2_0}
    if version not in known:
        raise ValueError(f"version {version} of an array")
    shape, _, dtype = known[version](file)
    return shape, dtype


def parse_json(text: str) -> Any:
    """What JSON says.

    Raises:
        ValueError: It is none, nests too deeply, or holds a number of too many digits.
    """
    try:
        return json.loads(text, parse_int=_whole)
    except RecursionError:
        raise ValueError("it nests too deeply") from None


def _whole(digits: str) -> int:
    if len(digits) > DIGITS:
        raise ValueError(f"a whole number of {len(digits)} digits")
    return int(digits)
