"""What is done of a batch: one line for each recording, by its content and the parameters.

A recording is known by what it contains, not by its name or date: moved, renamed or touched, it
is not detected again. A file of the same path, size, date and time of change is taken to be the
same without being read; the date alone is not enough, for programs can set it.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from earmark.core.errors import EarmarkError
from earmark.core.event import Event
from earmark.core.files import write_text
from earmark.core.files.bounds import parse_json, refuse_special, stays_inside
from earmark.core.naming import readable

if TYPE_CHECKING:
    from io import TextIOWrapper


@dataclass(frozen=True)
class Track:
    """What was found in a recording or in one of its channels.

    Attributes:
        channel: Its number, the first being 1; 0 for the whole recording.
        duration: In seconds.
        events: Sorted by onset.
    """

    channel: int
    duration: float
    events: tuple[Event, ...]


@dataclass(frozen=True)
class Record:
    """A recording that is done.

    Attributes:
        path: Full path.
        size: Bytes.
        modified: Its date in nanoseconds.
        content: Digest of its bytes.
        key: Digest of everything else that decides its events.
        name: What its files are called, without extension.
        tracks: What was found.
        filename: What it is called in tables.
        scored_labels: Whether its label track for Audacity has scores.
        changed: When the system last saw it change, in nanoseconds; 0 where that is not known.
    """

    path: str
    size: int
    modified: int
    content: str
    key: str
    name: str
    tracks: tuple[Track, ...]
    filename: str = ""
    scored_labels: bool = False
    changed: int = 0

    @classmethod
    def from_line(cls, line: str) -> Record:
        """Reads a line of the journal.

        Raises:
            ValueError, TypeError, KeyError: If it is none.
        """
        fields: dict[str, Any] = parse_json(line)
        tracks = tuple(map(_track, fields.pop("tracks")))
        if not (isinstance(fields["path"], str) and stays_inside(fields["name"])):
            raise ValueError("a recording whose files lie elsewhere")
        # Before recordings had names of their own, the base name was in their files.
        return cls(**{"filename": readable(Path(fields["path"]).name), **fields}, tracks=tracks)

    def to_line(self) -> str:
        """The record as a line of JSON; file names that are no text are escaped."""
        return json.dumps(asdict(self))


def _track(fields: Mapping[str, Any]) -> Track:
    events = (
        Event(float(onset), float(offset), str(label), None if score is None else float(score))
        for onset, offset, label, score in fields["events"]
    )
    return Track(int(fields["channel"]), float(fields["duration"]), tuple(events))


class BatchJournal:
    """The recordings done so far; a torn last line is ignored.

    Args:
        path: The file; made if missing.
        fresh: Whether to forget all there is.

    Raises:
        EarmarkError: If it cannot be written.
    """

    def __init__(self, path: Path, *, fresh: bool = False) -> None:
        self.path = path
        refuse_special(path)
        try:
            self._file: TextIOWrapper = path.open("a+", encoding="utf-8", errors="replace")
        except OSError as error:
            raise EarmarkError(f"cannot be written ({error.strerror})", where=path) from None
        if fresh:
            self._file.truncate(0)
        self.done: dict[Path, Record] = {}
        self._file.seek(0)
        text = self._file.read()
        for line in text.splitlines():
            try:
                record = Record.from_line(line)
            except (ValueError, TypeError, KeyError, AttributeError, OverflowError):
                continue  # written half when the machine stopped: that recording is done again
            self.done[Path(record.path)] = record
        self._torn = bool(text) and not text.endswith("\n")

    def add(self, record: Record) -> None:
        """Records that a recording's files are all written."""
        self._file.write(("\n" if self._torn else "") + record.to_line() + "\n")
        self._file.flush()
        os.fsync(self._file.fileno())
        self._torn = False
        self.done[Path(record.path)] = record

    def forget(self, path: Path) -> None:
        """Leaves a recording out from now on; of the file, when it is put in order."""
        self.done.pop(path, None)

    def put_in_order(self, first: Iterable[Path]) -> None:
        """Writes one line for each recording: those given in their order, then the others."""
        order = [path for path in first if path in self.done]
        others = sorted(self.done.keys() - set(order))
        lines = (self.done[path].to_line() for path in [*order, *others])
        write_text(self.path, "".join(f"{line}\n" for line in lines))

    def close(self) -> None:
        """Closes the file."""
        self._file.close()


def digest_of(path: Path) -> str:
    """Digest of a file's content."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=20)).hexdigest()


class Known:
    """Looks recordings up in a journal: by path, size and times, or by content.

    Args:
        records: Of the journal.
        key: Of the parameters; records of others do not count.
    """

    def __init__(self, records: Iterable[Record], key: str) -> None:
        usable = [record for record in records if record.key == key]
        self._by_path = {record.path: record for record in usable}
        self._by_size: dict[int, list[Record]] = defaultdict(list)
        for record in usable:
            self._by_size[record.size].append(record)

    def find(self, path: Path) -> tuple[Record, Record] | None:
        """The record of a recording's content, if there is one.

        Files that no record has the size of are not read.

        Returns:
            The record as one of this path, and as it is in the journal.

        Raises:
            OSError: If the file cannot be read.
        """
        status = path.stat()
        size, modified, changed = status.st_size, status.st_mtime_ns, status.st_ctime_ns
        own = self._by_path.get(str(path))
        same_times = own is not None and (own.modified, own.changed) == (modified, changed)
        if own is not None and own.size == size and same_times:
            return own, own
        candidates = self._by_size.get(size, [])
        if not candidates:
            return None
        content = digest_of(path)
        same = [record for record in candidates if record.content == content]
        # Its own record first: then its files have the right name.
        same.sort(key=lambda record: record.path != str(path))
        if not same:
            return None
        now = replace(same[0], path=str(path), size=size, modified=modified, changed=changed)
        return now, same[0]
