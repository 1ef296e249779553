"""Text in and out: files of other programs as they come, and files that appear whole or not."""

from __future__ import annotations

import codecs
import errno
import logging
import os
import re
import shutil
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from earmark.core.errors import LabelError
from earmark.core.files.bounds import gunzip, read_bytes

_log = logging.getLogger(__name__)
DRAFT = ".draft-"
DISK = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS})
"""Errors of a disk that is full or read-only: nothing else can be written either."""
_LINE_END = re.compile(r"\r\n|\n|\r")  # and nothing else: str.splitlines also breaks at U+2028
_MARKS = (  # byte order marks; that of UTF-32 begins with that of UTF-16
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)


class Notes:
    """What a reader of a file mended or took for granted; each kind is said once."""

    def __init__(self) -> None:
        self.found: dict[str, list[str]] = {}

    def add(self, what: str, where: str | Path) -> None:
        """Another case of something; where is its file and line."""
        self.found.setdefault(what, []).append(str(where))

    def sentences(self) -> list[str]:
        """One of each kind, which names the first place and counts the others."""
        return [
            f"{places[0]}: {what}" + (f" (and {len(places) - 1:,} more)" if places[1:] else "")
            for what, places in self.found.items()
        ]

    def report(self) -> None:
        """Log them as warnings."""
        for sentence in self.sentences():
            _log.warning("%s", sentence)


def split_lines(text: str) -> list[str]:
    """Lines of a text with the line ends of any system, mixed ones too."""
    return _LINE_END.split(text)


def read_text(path: str | Path, encoding: str | None = None, notes: Notes | None = None) -> str:
    """A text file's content, in whichever encoding a program wrote it; ``.gz`` unpacked.

    UTF-8 with or without byte order mark; UTF-16 and UTF-32 with one, UTF-16 also without (Raven
    and Audacity on Windows). What is none of these is read as Windows-1252, of which Latin-1's
    letters are part, and noted.

    Args:
        path: The file.
        encoding: What it is in where it is no Unicode, as ``cp1251``.
        notes: Takes the note; without, it is logged.

    Raises:
        LabelError: If the file is missing or no such text, or there is no such encoding.
    """
    path = Path(path)
    content = read_bytes(path, LabelError)
    if path.suffix.lower() == ".gz":
        content = _unpacked(path, content)
    marked = next((name for mark, name in _MARKS if content.startswith(mark)), None)
    name = marked or encoding or _without_mark(content)
    try:
        return content.decode("utf-8-sig" if name == "utf-8" else name)
    except UnicodeDecodeError as error:
        line = len(split_lines(content[: error.start].decode("latin-1")))
        if marked is None and encoding is None and b"\0" not in content:
            return _as_windows(path, content, line, notes)
        raise _no_text(path, line, error) from None
    except LookupError:
        raise LabelError(
            f"no encoding is called {name!r}", where=path, hint="Use utf-8, latin-1 or cp1252"
        ) from None


def _as_windows(path: Path, content: bytes, line: int, notes: Notes | None) -> str:
    """Text of a Western European Windows; five bytes mean nothing there."""
    try:
        text = content.decode("cp1252")
    except UnicodeDecodeError as error:
        raise _no_text(path, line, error) from None
    own = Notes() if notes is None else notes
    what = "no UTF-8, read as Windows-1252; name the encoding if names look wrong"
    own.add(what, f"{path}:{line}")
    if notes is None:
        own.report()
    return text


def _no_text(path: Path, line: int, error: UnicodeDecodeError) -> LabelError:
    return LabelError(
        f"cannot be read as text ({error})",
        where=f"{path}:{line}",
        hint="Save it as UTF-8 text, or name its encoding (often latin-1 or cp1252)",
    )


def _unpacked(path: Path, content: bytes) -> bytes:
    try:
        return gunzip(content)
    except ValueError as error:
        raise LabelError(
            f"cannot be unpacked ({error})", where=path, hint="Copy or download the file again"
        ) from None


def _without_mark(content: bytes) -> str:
    """UTF-16 where every other byte of the first line is null, otherwise UTF-8."""
    head = content[:64]
    if len(head) >= 4 and head[0] and head[2] and not any(head[1:4:2]):
        return "utf-16-le"
    if len(head) >= 4 and head[1] and head[3] and not any(head[0:3:2]):
        return "utf-16-be"
    return "utf-8"


def undrafted(name: str) -> str:
    """The name that a file will have which is written as a draft."""
    return name.removeprefix(DRAFT).partition(".")[2] if name.startswith(DRAFT) else name


def remove_drafts(folder: str | Path) -> None:
    """Remove what `write_whole` and others left in a folder when a process was killed."""
    for draft in Path(folder).glob(f"{DRAFT}*"):
        if draft.is_dir():
            shutil.rmtree(draft, ignore_errors=True)
        else:
            draft.unlink(missing_ok=True)


def write_whole(path: str | Path, write: Callable[[Path], Any], *, flush: bool = True) -> None:
    """Let a file appear whole or not at all, even if the machine stops.

    Args:
        path: The file; its folder is made. A file that is there is replaced.
        write: Writes a draft, whose name ends like the file's. Each process has its own.
        flush: Wait until the disk has it. Without, only a run that is killed loses nothing; that
            is enough for thousands of files that can be made again.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f"{DRAFT}{os.getpid()}.{path.name}")
    try:
        write(draft)
        if flush:
            flush_file(draft)
        draft.replace(path)
    except OSError as error:
        if error.filename is None or DRAFT in str(error.filename):
            error.filename = str(path)
        raise
    finally:
        with suppress(OSError):
            draft.unlink(missing_ok=True)


def flush_file(path: Path) -> None:
    """Wait until the disk has a file."""
    with path.open("rb+") as file:
        os.fsync(file.fileno())


def refuse_full(path: Path) -> None:
    """Write a little to the end of a file, where a library failed that hides the system's error.

    Raises:
        OSError: It cannot be done: the disk is full or read-only.
    """
    with path.open("ab") as file:
        file.write(bytes(2**16))
        file.flush()
        os.fsync(file.fileno())


def write_text(path: str | Path, text: str, *, flush: bool = True) -> None:
    """Write text as UTF-8, as it is; the file appears whole or not at all, as of `write_whole`."""
    content = text.encode()
    write_whole(path, lambda draft: draft.write_bytes(content), flush=flush)


def write_lines(path: str | Path, lines: Iterable[str]) -> None:
    """Write lines as UTF-8; the file appears whole or not at all."""
    write_text(path, "".join(f"{line}\n" for line in lines))


def write_faults(faults: Mapping[Any, str], path: Path) -> None:
    """A table of what could not be read, ``filename`` and ``reason``; no file where all could."""
    if not faults:
        path.unlink(missing_ok=True)
        return
    rows = (f"{name}\t{' '.join(reason.split())}" for name, reason in sorted(faults.items()))
    write_lines(path, ["filename\treason", *rows])
