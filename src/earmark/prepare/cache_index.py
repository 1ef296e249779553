"""The index of a cache: what each of its files was made from, one line of JSON a file."""

from __future__ import annotations

import json
from contextlib import nullcontext, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Any

from earmark.core.errors import DataError
from earmark.core.files import write_lines
from earmark.core.files.bounds import parse_json, read_bytes, stays_inside

#: The file in a cache that holds its index.
INDEX = "cache.jsonl"
_VERSION = 1


@dataclass(frozen=True)
class Entry:
    """A file of a cache.

    Attributes:
        file: Its path in the cache.
        size: Bytes of what it was made from.
        changed: When that was last changed, nanoseconds.
        bytes: Its own size.
        samples: Its samples at 16 kHz; 0 for a label file.
        digest: MD5 of its samples as 16-bit little-endian numbers, or of a label file's bytes.
        limited: Samples beyond full scale that were limited to it.
    """

    file: str
    size: int
    changed: int
    bytes: int
    samples: int = 0
    digest: str = ""
    limited: int = 0


class CacheIndex:
    """The entries of a cache, by file; each is on disk as soon as it is noted.

    A line that a killed run wrote in part is left out. Used as a context, it rewrites the file at
    the end, one line an entry.

    Args:
        out: Folder of the cache.
        format: Kind of its audio files.

    Raises:
        DataError: The index is of a cache in another format, or unreadable.
    """

    def __init__(self, out: Path, format: str) -> None:
        self.path = out / INDEX
        self.format = format
        self.entries: dict[str, Entry] = {}
        self._file: IO[str] | None = None
        if self.path.is_file():
            self._read()

    @property
    def _head(self) -> dict[str, Any]:
        return {"cache": _VERSION, "sample_rate": 16_000, "format": self.format}

    def _read(self) -> None:
        lines = read_bytes(self.path, DataError).decode("utf-8", "replace").splitlines()
        try:
            head = parse_json(lines[0]) if lines else self._head
        except ValueError:
            head = {}
        if head != self._head:
            head = head if isinstance(head, dict) else {}
            raise DataError(
                f"the folder holds a cache of another kind ({head.get('format', 'unknown')})",
                where=self.path,
                hint="Name another folder, or give the same --format",
            )
        for line in lines[1:]:
            try:
                entry = Entry(**parse_json(line))
            except (ValueError, TypeError):
                continue  # cut off when a run was killed: its file is made again
            if not stays_inside(entry.file):
                raise DataError(
                    f"names a file outside this folder ({entry.file!r})",
                    where=self.path,
                    hint="Delete it, and make the cache again",
                )
            self.entries[entry.file] = entry

    def __enter__(self) -> CacheIndex:
        if not self.path.is_file():
            self.rewrite()
        self._file = self.path.open("a", encoding="utf-8")
        self._file.write("\n")  # whatever a killed run left unfinished ends here
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        with suppress(OSError) if kind is not None else nullcontext():  # the first error counts
            if self._file is not None:
                self._file.close()
            self.rewrite()

    def note(self, entry: Entry) -> None:
        """Remember a file that has taken its place."""
        self.entries[entry.file] = entry
        if self._file is not None:
            self._file.write(json.dumps(asdict(entry)) + "\n")
            self._file.flush()

    def rewrite(self) -> None:
        """Write the whole index, sorted."""
        lines = [self._head, *(asdict(self.entries[name]) for name in sorted(self.entries))]
        write_lines(self.path, map(json.dumps, lines))
