"""Many recordings, one after the other and side by side, so that nothing done is ever lost.

Each recording's files appear whole or not at all, and only then is it entered in the journal. A
recording that cannot be read, or whose process dies, is told at the end and stops no other. What is
written does not depend on the number of threads or processes, nor on how often the run stopped.
"""

from __future__ import annotations

import hashlib
import json
import logging
import threading
from collections.abc import Callable, Generator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol

from earmark.core.errors import EarmarkError
from earmark.core.files import DISK, remove_drafts
from earmark.core.locking import only_writer
from earmark.core.naming import common_root, names_from
from earmark.core.parallel import side_by_side
from earmark.deliver.journal import BatchJournal, Known, Record, Track, digest_of
from earmark.deliver.outputs import Outputs, write_tables
from earmark.deliver.processes import Died, in_processes
from earmark.deliver.recordings import SCORES, file_names
from earmark.detect.detector import Detector, Result

JOURNAL = "detect.jsonl"
#: Of what is detected in a recording; another one detects all of a batch again. Version 0.1 had the
#: package's version here.
_RESULTS = "0.1.0"
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class DetectorSettings:
    """What to detect with, in a form that travels to other processes.

    Attributes:
        bundle: A shipped bundle, a folder, or a Hub id.
        channels: ``mean``, ``first``, a channel's number, or ``each``.
        classes: To detect, by name, number or identifier; all if empty.
        options: Further settings of `Detector.from_pretrained`, such as ``threshold``.
    """

    bundle: str
    channels: str = "mean"
    classes: tuple[str, ...] = ()
    options: Mapping[str, Any] = field(default_factory=dict)

    def load(self, threads: int | None = None) -> Detector:
        """Loads the detector.

        Args:
            threads: Of its process; what suits the device when None.

        Raises:
            EarmarkError: If it cannot be loaded.
        """
        channels = "mean" if self.channels == "each" else self.channels
        return Detector.from_pretrained(
            self.bundle,
            channels=channels,
            threads=threads,
            classes=self.classes,
            **self.options,
        )

    def key(self, detector: Detector) -> str:
        """What decides a recording's events beside its content, as 16 hexadecimal digits."""
        settings = [
            _RESULTS,
            detector.fingerprint,
            detector.labels,
            detector.postprocess.to_dict(),
            detector.hop_seconds,
            detector.lookahead_seconds,
            detector.weighting,
            self.channels,
            *([] if detector.top is None else [detector.top]),
        ]
        return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:16]


@dataclass(frozen=True)
class Job:
    """What is to be made of every recording.

    Attributes:
        detector: To detect with.
        outputs: Files to write.
        key: Of `DetectorSettings.key`; empty where there is no journal.
        threads: Of each process.
    """

    detector: DetectorSettings
    outputs: Outputs
    key: str
    threads: int


@dataclass(frozen=True)
class BatchTask:
    """A recording of a batch.

    Attributes:
        path: Full path.
        filename: What it is called in tables.
        name: What its files are called, without extension.
        known: What an earlier run found in it, if that is known.
        moved: Whether that was under another path.
        before: What its files were called then; empty where they are another's too.
    """

    path: Path
    filename: str
    name: str
    known: Record | None = None
    moved: bool = False
    before: str = ""

    def is_done(self, outputs: Outputs) -> bool:
        """Whether nothing is left to do."""
        if self.known is None or self.moved or self.known.filename != self.filename:
            return False
        if outputs.scored_labels_of(self.known) != self.known.scored_labels:
            return False
        return outputs.all_there(self.name, self.known.tracks)


@dataclass(frozen=True)
class Outcome:
    """What became of a recording: a record, or the reason why there is none."""

    record: Record | None
    reason: str = ""
    fatal: bool = False  # nothing else can be written either


class Watcher(Protocol):
    """Told how a batch goes, by several threads."""

    def planned(self, waiting: int, before: int) -> None:
        """So many recordings are to be done; so many were done before."""

    def progress(self, path: Path, frames: int, total: int) -> None:
        """So many frames of a recording are scored."""

    def finished(self, path: Path, reason: str) -> None:
        """A recording is done, or failed for a reason."""


class Unwatched:
    """A `Watcher` that does nothing."""

    def planned(self, waiting: int, before: int) -> None:
        """Does nothing."""

    def progress(self, path: Path, frames: int, total: int) -> None:
        """Does nothing."""

    def finished(self, path: Path, reason: str) -> None:
        """Does nothing."""


@dataclass(frozen=True)
class BatchReport:
    """What became of a batch.

    Attributes:
        records: Of the recordings that are done, in the order given.
        failures: Recording → reason.
        before: How many were done before.
    """

    records: tuple[Record, ...]
    failures: dict[Path, str]
    before: int


def run_batch(
    recordings: Sequence[Path] | Mapping[Path, str],
    job: Job,
    *,
    detector: Detector | None = None,
    workers: int = 1,
    fresh: bool = False,
    watcher: Watcher | None = None,
) -> BatchReport:
    """Detects in many recordings, going on where an earlier run stopped.

    Args:
        recordings: Full paths, each once, with the name that each has in tables; by default its
            path from the root of all.
        job: What to make of each.
        detector: Already loaded, if it is; for one process.
        workers: Processes; 1 is this one, whose threads share the recordings.
        fresh: Whether to do everything again.
        watcher: Told how it goes.

    Raises:
        EarmarkError: If the folder cannot be written, or another run is writing into it.
    """
    watcher = Unwatched() if watcher is None else watcher
    folder = job.outputs.folder
    with only_writer(folder), closing(BatchJournal(folder / JOURNAL, fresh=fresh)) as journal:
        if not isinstance(recordings, Mapping):
            recordings = names_from(common_root(recordings), recordings)
        plan = _plan(recordings, journal, job.key, channels=job.detector.channels == "each")
        _remove_drafts(job.outputs.folder, plan)
        job.outputs.rename(
            [
                (task.before, task.name, task.known.tracks)
                for task in plan
                if task.known is not None and task.before not in ("", task.name)
            ]
        )
        waiting = []
        for task in plan:
            if task.known is not None and task.is_done(job.outputs):
                journal.done[task.path] = task.known  # with its new date, if it was touched
            else:
                waiting.append(task)
        before = len(plan) - len(waiting)
        watcher.planned(len(waiting), before)
        failures: dict[Path, str] = {}
        with closing(_outcomes(waiting, job, detector, workers, watcher)) as outcomes:
            for task, outcome in outcomes:
                if outcome.fatal:
                    raise EarmarkError(outcome.reason, hint="What is done is kept; run it again")
                if outcome.record is None:
                    failures[task.path] = outcome.reason
                else:
                    journal.add(outcome.record)
                watcher.finished(task.path, outcome.reason)
        return _finish(plan, journal, job.outputs, failures, before)


def detect_each(
    recordings: Mapping[Path, str],
    settings: DetectorSettings,
    *,
    detector: Detector,
    workers: int = 1,
    watcher: Watcher | None = None,
) -> Generator[tuple[Path, Outcome]]:
    """Detects in many recordings and writes nothing.

    Args:
        recordings: Full paths, with the name that each has in tables.
        settings: What to detect with.
        detector: Already loaded with them.
        workers: Processes; 1 is this one, whose threads share the recordings.
        watcher: Told how it goes.

    Yields:
        Each recording in the order given with what became of it, as soon as that is known.
    """
    watcher = Unwatched() if watcher is None else watcher
    job = Job(settings, Outputs(Path(), ()), "", detector.threads)
    tasks = [BatchTask(path, name, "") for path, name in recordings.items()]
    watcher.planned(len(tasks), 0)
    done: dict[Path, Outcome] = {}
    left = iter(recordings)
    path = next(left, None)
    with closing(_outcomes(tasks, job, detector, workers, watcher)) as outcomes:
        for task, outcome in outcomes:
            watcher.finished(task.path, outcome.reason)
            done[task.path] = outcome
            while path is not None and path in done:
                yield path, done.pop(path)
                path = next(left, None)


def _remove_drafts(folder: Path, plan: Sequence[BatchTask]) -> None:
    for below in {Path(name).parent for task in plan for name in (task.name, task.before)}:
        for place in ("", *SCORES.values()):
            remove_drafts(folder / place / below)


def _plan(
    recordings: Mapping[Path, str], journal: BatchJournal, key: str, *, channels: bool
) -> list[BatchTask]:
    """What is known of each recording, and what its files are called."""
    known = Known(journal.done.values(), key)
    found: dict[Path, tuple[Record, Record]] = {}
    for path in recordings:
        try:
            pair = known.find(path)
        except OSError:
            continue  # told when its turn comes
        if pair is not None:
            found[path] = pair
    # Files of a recording that is elsewhere now are those of the first with its content.
    own: dict[Path, Path] = {}
    for path, (_, old) in found.items():
        if Path(old.path) == path or not Path(old.path).exists():
            own.setdefault(Path(old.path), path)
    kept = journal.done.keys() - own.keys() - recordings.keys()
    taken = [journal.done[path].name for path in kept]
    names = file_names(recordings, taken, channels=channels)
    plan = []
    for path, filename in recordings.items():
        if path not in found:
            plan.append(BatchTask(path, filename, names[path]))
            continue
        record, old = found[path]
        before = old.name if own.get(Path(old.path)) == path else ""
        task = replace(record, name=names[path])
        plan.append(BatchTask(path, filename, names[path], task, record.path != old.path, before))
    return plan


def _finish(
    plan: Sequence[BatchTask],
    journal: BatchJournal,
    outputs: Outputs,
    failures: dict[Path, str],
    before: int,
) -> BatchReport:
    """Writes the tables of the run and puts the journal in order."""
    failures = {task.path: failures[task.path] for task in plan if task.path in failures}
    _forget_moved(plan, journal, outputs)
    done = [task.path for task in plan if task.path not in failures]
    records = tuple(journal.done[path] for path in done)
    write_tables(outputs, records, failures)
    journal.put_in_order(task.path for task in plan)
    _remove_drafts(outputs.folder, plan)
    return BatchReport(records, failures, before)


def _forget_moved(plan: Sequence[BatchTask], journal: BatchJournal, outputs: Outputs) -> None:
    """Removes what was made of recordings that are now elsewhere under another name."""
    here = {task.path for task in plan}
    contents = {journal.done[path].content for path in here & journal.done.keys()}
    for path, record in list(journal.done.items()):
        if path not in here and record.content in contents and not path.exists():
            journal.forget(path)
            if record.name not in {other.name for other in journal.done.values()}:
                outputs.remove(record.name, record.tracks)


class Work:
    """Detects in one recording and writes its files; travels to other processes.

    Args:
        job: What to make of it.
        detector: Already loaded, if it is.
        progress: Called with the recording, frames done and frames in total.
    """

    def __init__(
        self,
        job: Job,
        detector: Detector | None = None,
        progress: Callable[[Path, int, int], None] | None = None,
    ) -> None:
        self.job = job
        self._detector = detector
        self._progress = progress

    def __getstate__(self) -> dict[str, Any]:
        return {"job": self.job, "_detector": None, "_progress": None}

    @property
    def detector(self) -> Detector:
        """The detector, loaded when it is first needed."""
        if self._detector is None:
            self._detector = self.job.detector.load(self.job.threads)
        return self._detector

    def __call__(self, task: BatchTask) -> Outcome:
        """Does a recording; whatever goes wrong with it is told and stops no other."""
        try:
            return Outcome(self._write_known(task) or self._detect(task))
        except EarmarkError as error:
            return Outcome(None, str(error))
        except OSError as error:
            reason = f"{error.filename or task.path}: {error.strerror or error}"
            return Outcome(None, reason, fatal=error.errno in DISK)
        except _StoppedError:
            return Outcome(None, "stopped")
        except Exception as error:  # of the libraries that decode, of memory; never the others' end
            _log.debug("%s", task.path, exc_info=True)
            return Outcome(None, f"{task.path}: {type(error).__name__}: {error}")

    def _write_known(self, task: BatchTask) -> Record | None:
        """Writes the files of a recording whose events are known, if they are enough."""
        record, outputs = task.known, self.job.outputs
        if record is None or not outputs.only_events_missing(task.name, record.tracks):
            return None
        for track in record.tracks:
            outputs.write_events(task.path, task.name, task.filename, track)
        labels = outputs.scored_labels_of(record)
        return replace(record, filename=task.filename, scored_labels=labels)

    def _detect(self, task: BatchTask) -> Record:
        before = task.path.stat()
        content = digest_of(task.path) if self.job.key else ""
        results = self._results(task.path, task.filename)
        after = task.path.stat()
        if (before.st_size, before.st_mtime_ns) != (after.st_size, after.st_mtime_ns):
            raise EarmarkError(
                "the file changed while it was read",
                where=task.path,
                hint="Run it again when the file is complete",
            )
        outputs = self.job.outputs
        tracks = []
        for number, result in enumerate(results, start=1):
            channel = number if len(results) > 1 else 0
            track = Track(channel, result.duration, result.found)
            outputs.write_result(task.path, task.name, channel, result)
            outputs.write_events(task.path, task.name, task.filename, track)
            tracks.append(track)
        return Record(
            path=str(task.path),
            size=before.st_size,
            modified=before.st_mtime_ns,
            changed=before.st_ctime_ns,
            content=content,
            key=self.job.key,
            name=task.name,
            tracks=tuple(tracks),
            filename=task.filename,
            scored_labels=outputs.scored_labels_of(task.known),
        )

    def _results(self, path: Path, name: str) -> list[Result]:
        def progress(frames: int, total: int) -> None:
            if self._progress is not None:
                self._progress(path, frames, total)

        if self.job.detector.channels == "each":
            return self.detector.detect_channels(path, filename=name, progress=progress)
        return [self.detector.detect(path, filename=name, progress=progress)]


class _StoppedError(Exception):
    """The batch ends before this recording does."""


def _outcomes(
    tasks: Sequence[BatchTask], job: Job, detector: Detector | None, workers: int, watcher: Watcher
) -> Generator[tuple[BatchTask, Outcome]]:
    """Every recording with what became of it, as soon as that is known."""
    if workers > 1:
        for task, outcome in in_processes(Work(job), tasks, workers):
            if isinstance(outcome, Died):
                outcome = Outcome(None, f"{task.path}: {outcome}, perhaps out of memory")
            yield task, outcome
        return
    if not tasks:
        return
    stop = threading.Event()

    def progress(path: Path, frames: int, total: int) -> None:
        if stop.is_set():
            raise _StoppedError
        watcher.progress(path, frames, total)

    together = min(len(tasks), job.threads)
    detector = job.detector.load(job.threads) if detector is None else detector
    detector.threads = max(1, job.threads // together)
    work = Work(job, detector, progress)
    with ThreadPoolExecutor(together) as pool:
        try:
            yield from side_by_side(lambda task: pool.submit(work, task), tasks, together)
        finally:
            stop.set()
            pool.shutdown(cancel_futures=True)
