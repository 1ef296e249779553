"""A copy of a dataset at 16 kHz, mono, 16 bit, losslessly packed: resampled once, read often.

The copy is a tree of the same form, labels included, so it is a dataset itself. Every file is
decoded again and compared before it takes its place, which it does whole or not at all; an index
remembers what each was made from, so that a run goes on where it stopped and follows changes.
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import soundfile

from earmark.core.audio.audio import read_blocks, to_int16
from earmark.core.errors import DataError, EarmarkError
from earmark.core.files import DISK, refuse_full, remove_drafts, write_whole
from earmark.core.folders import refuse_foreign
from earmark.core.locking import only_writer, writes_to
from earmark.core.parallel import Progress, counted, run_jobs
from earmark.core.timeline import SAMPLE_RATE, samples_to_seconds
from earmark.prepare.cache_index import INDEX, CacheIndex, Entry
from earmark.prepare.cache_plan import Format, Task, plan_cache

FORMATS: tuple[Format, ...] = ("flac", "wav")

_BLOCK_SECONDS = 60.0


@dataclass
class CacheReport:
    """What a run did.

    Attributes:
        made: Recordings converted.
        kept: Recordings that were there already.
        copied: Label files, copied or there already.
        removed: Files of the cache whose source is gone; they were removed.
        superseded: Recordings left out because a ``_16k`` folder beside has them.
        ignored: Files that are neither recordings nor labels, with the reason.
        failed: Source → why it could not be converted.
        limited: Recordings with samples beyond full scale, which were limited to it.
        seconds: Of audio in the cache.
        bytes_before: Of the recordings in the dataset.
        bytes_after: Of the recordings in the cache.
        use: What to give to ``--data``: the cache, or the description in it.
    """

    made: int = 0
    kept: int = 0
    copied: int = 0
    removed: tuple[str, ...] = ()
    superseded: int = 0
    ignored: dict[Path, str] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)
    limited: int = 0
    seconds: float = 0.0
    bytes_before: int = 0
    bytes_after: int = 0
    use: Path = Path()


@writes_to("out")
def write_cache(
    data: str | Path,
    out: str | Path,
    *,
    format: Format = "flac",
    workers: int = 1,
    progress: Progress | None = None,
) -> CacheReport:
    """Copy a dataset, its recordings at 16 kHz, mono, 16 bit.

    Args:
        data: Folder of the dataset, of which all recordings and labels in it and its sub-folders
            are taken; or a YAML file that describes one, of which what it names is taken.
        out: Folder of the copy: new, empty, or a cache begun before.
        format: ``flac``, or ``wav``: twice the size, and read many times as fast.
        workers: Processes.
        progress: Called with (recordings done, recordings in all).

    Returns:
        What was done. Recordings that cannot be read are in its ``failed`` and not in the cache.

    Raises:
        DataError: A folder is missing or holds something else, or no recording is found.
        ConfigError: A description has a mistake.
    """
    out = Path(out)
    plan = plan_cache(Path(data), format)
    _check_folders(plan.folders, out)
    tasks = [plan.tasks[target] for target in sorted(plan.tasks)]
    report = CacheReport(superseded=plan.superseded, ignored=plan.ignored, use=out / plan.use)
    report.failed |= plan.failed
    out.mkdir(parents=True, exist_ok=True)
    with CacheIndex(out, format) as index:
        report.removed = _remove_stale(out, index, {task.target for task in tasks})
        recordings = [task for task in tasks if task.audio]
        copies = [task for task in tasks if not task.audio]
        for task in copies:
            index.note(_copied(task, out))
        report.copied = len(copies)
        pending = [task for task in recordings if not _current(task, out, index)]
        report.kept = len(recordings) - len(pending)
        results = run_jobs(_converted, pending, out, min(workers, len(pending)))
        for task, result in counted(results, report.kept, len(recordings), progress):
            if isinstance(result, Entry):
                index.note(result)
                report.made += 1
            else:
                report.failed[str(task.source)] = result
                _forget(task, out, index)
        entries = [entry for entry in index.entries.values() if entry.samples]
    for folder in {(out / task.target).parent for task in tasks}:
        remove_drafts(folder)
    report.limited = sum(entry.limited > 0 for entry in entries)
    report.seconds = samples_to_seconds(sum(entry.samples for entry in entries))
    report.bytes_before = sum(entry.size for entry in entries)
    report.bytes_after = sum(entry.bytes for entry in entries)
    return report


def verify_cache(
    out: str | Path, *, workers: int = 1, progress: Progress | None = None
) -> tuple[int, dict[str, str]]:
    """Decode every recording of a cache again and compare it with what was written.

    Files that differ are taken out of the index, so that `write_cache` makes them again.

    Returns:
        The number of files, and file → what is wrong with it.

    Raises:
        DataError: The folder is no cache.
    """
    out = Path(out)
    index = _existing_index(out)
    entries = list(index.entries.values())
    faults: dict[str, str] = {}
    results = run_jobs(_fault, entries, out, workers)
    for entry, fault in counted(results, 0, len(entries), progress):
        if fault is not None:
            faults[entry.file] = fault
            del index.entries[entry.file]
    if faults:
        with only_writer(out):
            index.rewrite()
    return len(entries), faults


def _existing_index(out: Path) -> CacheIndex:
    for format in FORMATS:
        try:
            index = CacheIndex(out, format)
        except DataError:
            continue
        if index.path.is_file():
            return index
    raise DataError("not a folder that `earmark cache` made", where=out, hint="Check the path")


def _check_folders(folders: Sequence[Path], out: Path) -> None:
    inner = out.resolve()
    for folder in folders:
        outer = folder.resolve()
        if inner.is_relative_to(outer) or outer.is_relative_to(inner):
            raise DataError(
                "the copy cannot lie in the dataset, nor the dataset in the copy",
                where=out,
                hint="Name a folder elsewhere",
            )
    if not (out / INDEX).is_file():
        refuse_foreign(out, "cache")


def _remove_stale(out: Path, index: CacheIndex, wanted: set[str]) -> tuple[str, ...]:
    """Remove what the index knows and the dataset has no more."""
    stale = tuple(name for name in index.entries if name not in wanted)
    for name in stale:
        (out / name).unlink(missing_ok=True)
        del index.entries[name]
    return stale


def _forget(task: Task, out: Path, index: CacheIndex) -> None:
    """A source that cannot be read any more leaves no older version of itself behind."""
    if index.entries.pop(task.target, None) is not None:
        (out / task.target).unlink(missing_ok=True)


def _current(task: Task, out: Path, index: CacheIndex) -> bool:
    """Whether a recording was made from this very source and is there."""
    entry, status = index.entries.get(task.target), task.source.stat()
    if entry is None or (entry.size, entry.changed) != (status.st_size, status.st_mtime_ns):
        return False
    target = out / task.target
    return target.is_file() and target.stat().st_size == entry.bytes


def _copied(task: Task, out: Path) -> Entry:
    status = task.source.stat()
    content = task.source.read_bytes() if task.text is None else task.text.encode()
    target = out / task.target
    if not (target.is_file() and target.read_bytes() == content):
        write_whole(target, lambda draft: draft.write_bytes(content), flush=False)
    digest = hashlib.md5(content, usedforsecurity=False).hexdigest()
    return Entry(task.target, status.st_size, status.st_mtime_ns, len(content), digest=digest)


def _converted(task: Task, out: Path) -> Entry | str:
    """Make one recording of the cache: its entry, or what is wrong with the source."""
    target, made = out / task.target, ("", 0, 0)

    def write(draft: Path) -> None:
        nonlocal made
        if _is_packed_already(task.source, target.suffix):
            shutil.copyfile(task.source, draft)
            made = *_decoded_digest(draft), 0
        else:
            try:
                made = _encode(task.source, draft)
            except (RuntimeError, AssertionError):
                refuse_full(draft)
                raise
        if _decoded_digest(draft) != made[:2]:
            refuse_full(draft)
            raise DataError(
                "what was written is not what is read", hint="Is the disk full or damaged?"
            )

    try:
        status = task.source.stat()
        write_whole(target, write, flush=False)
    except EarmarkError as error:
        return f"{error.what}. {error.hint}" if error.hint else error.what
    except (OSError, RuntimeError, AssertionError) as error:
        if isinstance(error, OSError) and error.errno in DISK:  # nor can any other be written
            raise
        return f"cannot be converted ({error})"
    digest, samples, limited = made
    size = target.stat().st_size
    return Entry(task.target, status.st_size, status.st_mtime_ns, size, samples, digest, limited)


def _is_packed_already(source: Path, suffix: str) -> bool:
    """Whether a recording is what would be made of it."""
    if source.suffix.lower() != suffix:
        return False
    try:
        info = soundfile.info(str(source))
    except (OSError, RuntimeError):
        return False  # reading it will say what is wrong
    wanted = (suffix[1:].upper(), "PCM_16", SAMPLE_RATE, 1)
    return (info.format, info.subtype, info.samplerate, info.channels) == wanted


def _encode(source: Path, partial: Path) -> tuple[str, int, int]:
    """Write a recording block by block: MD5 of its samples, their number, how many were limited."""
    digest = hashlib.md5(usedforsecurity=False)
    samples = limited = 0
    with soundfile.SoundFile(partial, "w", SAMPLE_RATE, 1, "PCM_16") as file:
        for block in read_blocks(source, SAMPLE_RATE, _BLOCK_SECONDS):
            limited += int(np.count_nonzero((block >= 1) | (block < -1)))
            whole = to_int16(block)
            file.write(whole)
            digest.update(whole.astype("<i2").tobytes())
            samples += len(whole)
    return digest.hexdigest(), samples, limited


def _decoded_digest(path: Path) -> tuple[str, int]:
    """MD5 of a file's samples as 16-bit little-endian numbers, and their number."""
    digest = hashlib.md5(usedforsecurity=False)
    samples = 0
    with soundfile.SoundFile(path) as file:
        while len(block := file.read(int(SAMPLE_RATE * _BLOCK_SECONDS), dtype="int16")):
            digest.update(block.astype("<i2").tobytes())
            samples += len(block)
    return digest.hexdigest(), samples


def _fault(entry: Entry, out: Path) -> str | None:
    """What is wrong with a file of a cache."""
    path = out / entry.file
    try:
        if not entry.samples:
            found = hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest()
            return None if found == entry.digest else "was changed after it was copied"
        if _decoded_digest(path) != (entry.digest, entry.samples):
            return "its samples are not those that were written"
    except FileNotFoundError:
        return "is missing"
    except (OSError, RuntimeError) as error:
        return f"cannot be decoded ({error})"
    return None
