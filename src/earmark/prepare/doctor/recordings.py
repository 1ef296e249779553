"""What a recording is like: from its header, and from its samples where these are asked for."""

from __future__ import annotations

import hashlib
import os
import sqlite3
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from earmark.core.audio.audio import audio_info, read_blocks, to_int16
from earmark.core.errors import AudioError, DataError
from earmark.core.parallel import Progress, counted, run_jobs

_VERSION = 1  # of the facts: another number forgets all of them
_BATCH = 64
_SILENT = 2.0 / 32768.0
_FULL = 0.999


class Facts(NamedTuple):
    """What was found out about a file.

    Attributes:
        fault: A kind of finding, or empty.
        why: In words.
        clipped: Fraction of samples that stand at full scale, three or more in a row.
        cancelled: The mean of its channels is silent, a channel is not.
        digest: Of its samples as 16-bit mono, silence at both ends left aside; empty if unknown.
    """

    fault: str = ""
    why: str = ""
    rate: int = 0
    channels: int = 0
    seconds: float = 0.0
    peak: float = -1.0
    clipped: float = 0.0
    cancelled: int = 0
    digest: str = ""


def inspect(path: Path, content: bool) -> Facts:
    """Inspect a recording; a fault is a fact, not an error."""
    try:
        info = audio_info(path)
        if not content:
            return Facts("", "", info.sample_rate, info.channels, info.seconds)
        facts = _content(path, info.sample_rate)
        seconds = facts.seconds or info.seconds
        cancelled = 0
        if info.channels > 1 and facts.peak <= _SILENT:
            first = read_blocks(path, info.sample_rate, channel=1)
            cancelled = int(max(float(np.abs(block).max()) for block in first) > _SILENT)
        return facts._replace(
            rate=info.sample_rate, channels=info.channels, seconds=seconds, cancelled=cancelled
        )
    except AudioError as error:
        return Facts(_fault_of(error), error.what)
    except OSError as error:
        return Facts("unreadable", str(error))


def _fault_of(error: AudioError) -> str:
    for text, kind in (
        ("not finite", "not-finite"),
        ("truncated", "truncated"),
        ("no samples", "no-samples"),
        ("0 bytes", "empty-file"),
    ):
        if text in error.what:
            return kind
    return "unreadable"


def _content(path: Path, rate: int) -> Facts:
    digest, begun = hashlib.blake2b(digest_size=16), False
    waiting, samples, hot, peak = 0, 0, 0, 0.0
    for block in read_blocks(path, rate):
        samples += len(block)
        loud = np.abs(block)
        peak = max(peak, float(loud.max()))
        full = loud >= _FULL
        if full.any():
            hot += int((full[2:] & full[1:-1] & full[:-2]).sum())
        whole: NDArray[np.int16] = to_int16(block)
        sounding = np.flatnonzero(whole)
        if not len(sounding):
            waiting += len(whole)
            continue
        first, last = int(sounding[0]), int(sounding[-1]) + 1
        if begun:
            digest.update(bytes(2 * (waiting + first)))
        digest.update(whole[first:last].tobytes())
        begun, waiting = True, len(whole) - last
    name = digest.hexdigest() if begun else ""
    return Facts("", "", 0, 0, samples / rate, peak, hot / max(1, samples), 0, name)


def default_cache(root: Path) -> Path:
    """The file of a dataset's facts in the user's cache."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    name = hashlib.sha256(str(root.resolve()).encode()).hexdigest()[:16]
    return Path(base) / "earmark" / "doctor" / f"{name}.sqlite"


class FactsCache:
    """Facts by path, size and time of change, on disk; each batch is there when it is found.

    Args:
        path: An SQLite file, made where it is not there; None keeps the facts of this run alone.
    """

    def __init__(self, path: Path | None) -> None:
        self.path = path
        self._db = _open(path)

    def known(self, path: Path, content: bool) -> Facts | None:
        """The facts of a file that has not changed since."""
        row = self._db.execute("SELECT * FROM facts WHERE path = ?", (str(path),)).fetchone()
        if row is None or (content and not row[3]) or (row[1], row[2]) != _stamp(path):
            return None
        return Facts(*row[4:])

    def keep(self, found: Sequence[tuple[Path, Facts]], content: bool) -> None:
        """Write the facts of some files."""
        rows = [(str(path), *_stamp(path), int(content), *facts) for path, facts in found]
        marks = ",".join("?" * (4 + len(Facts._fields)))
        try:
            with self._db:
                self._db.executemany(f"INSERT OR REPLACE INTO facts VALUES ({marks})", rows)
        except sqlite3.Error as error:
            raise DataError(
                f"what is known of recordings cannot be written ({error})",
                where=self.path,
                hint="Make room there, or use --no-cache",
            ) from None

    def close(self) -> None:
        """Close the file."""
        self._db.close()


def _open(path: Path | None) -> sqlite3.Connection:
    columns = ", ".join(Facts._fields)
    table = f"CREATE TABLE IF NOT EXISTS facts (path PRIMARY KEY, size, time, content, {columns})"
    for again in (False, True):
        try:
            if path is not None:
                path.parent.mkdir(parents=True, exist_ok=True)
            db = sqlite3.connect("" if path is None else path, timeout=60)
            db.execute("PRAGMA synchronous = OFF")  # a killed run loses nothing; a power cut may
            (version,) = db.execute("PRAGMA user_version").fetchone()
            if version not in (0, _VERSION):
                raise sqlite3.DatabaseError("of another version")
            db.execute(table)
            db.execute(f"PRAGMA user_version = {_VERSION}")
            return db
        except (sqlite3.Error, OSError):
            if path is None or again:
                return _open(None)
            path.unlink(missing_ok=True)  # it is a cache: what it held is found out again
    raise AssertionError


def _stamp(path: Path) -> tuple[int, int]:
    try:
        stat = path.stat()
    except OSError:
        return -1, -1
    return stat.st_size, stat.st_mtime_ns


def inspect_all(
    paths: Sequence[Path],
    cache: FactsCache,
    content: bool,
    workers: int = 1,
    progress: Progress | None = None,
) -> int:
    """Put the facts of all files into the cache; returns how many were not there before."""
    pending = [path for path in paths if cache.known(path, content) is None]
    results = run_jobs(_inspected, _batches(pending), content, min(workers, len(pending)))
    for batch, facts in counted(results, len(paths) - len(pending), len(paths), progress, len):
        cache.keep(list(zip(batch, facts, strict=True)), content)
    return len(pending)


def _batches(paths: Sequence[Path]) -> Iterator[tuple[Path, ...]]:
    for start in range(0, len(paths), _BATCH):
        yield tuple(paths[start : start + _BATCH])


def _inspected(paths: tuple[Path, ...], content: bool) -> list[Facts]:
    return [inspect(path, content) for path in paths]
