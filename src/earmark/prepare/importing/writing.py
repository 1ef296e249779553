"""The dataset of an import: clips, tables, and a record of how it came about."""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from earmark._version import __version__
from earmark.core.audio.audio import read_blocks, write_blocks
from earmark.core.errors import AudioError
from earmark.core.event import Event
from earmark.core.files import write_lines
from earmark.core.folders import claim_folder
from earmark.core.parallel import Progress, counted, run_jobs
from earmark.core.tables.label_tables import (
    write_durations,
    write_strong,
)
from earmark.prepare.importing.annotations import Annotated
from earmark.prepare.importing.class_map import ClassMap
from earmark.prepare.importing.cutting import Span
from earmark.prepare.importing.planning import PLACES, Clip, Plan
from earmark.prepare.importing.preparing import Prepared
from earmark.prepare.importing.settings import ImportSettings

#: The file in a dataset that says what it was made of.
RECORD = "import.yaml"
#: The folder in it with the tables of what was done.
NOTES = "import"

_BLOCK_SECONDS = 10.0


@dataclass(frozen=True)
class _Job:
    """A recording, and its clips that are not there yet."""

    recording: Path
    key: str
    rate: int
    clips: tuple[tuple[str, Span], ...]


def write_import(
    out: Path,
    prepared: Sequence[Prepared],
    plan: Plan,
    record: Mapping[str, Any],
    *,
    workers: int = 1,
    progress: Progress | None = None,
) -> dict[str, str]:
    """Write the clips, then the tables.

    A recording that breaks off while it is read leaves the clips up to there; the tables list the
    clips that are there.

    Args:
        out: Folder of the dataset: new, empty, or begun by the same import.
        prepared: Recordings, in the plan's order.
        plan: What to make.
        record: What decides the dataset, of `import_record`.
        workers: Processes.
        progress: Called with (clips done, clips in all).

    Returns:
        Key of a recording that could not be read to its end → why.

    Raises:
        DataError: The folder holds something else.
    """
    claim_folder(out, RECORD, record, other="the dataset of another import, or of other labels")
    total = len(plan.all_clips)
    jobs = []
    for index, clips in plan.clips.items():
        missing = [(clip.path, clip.span) for clip in clips if not (out / clip.path).is_file()]
        if missing:
            one = prepared[index]
            recording = one.recording
            jobs.append(_Job(recording.path, recording.key, one.rate, tuple(missing)))
    before = total - sum(len(job.clips) for job in jobs)
    results = run_jobs(_write_clips, jobs, out, min(workers, len(jobs)))
    failed: dict[str, str] = {}
    for job, fault in counted(results, before, total, progress, lambda job: len(job.clips)):
        if fault is not None:
            failed[job.key] = fault
    _write_tables(out, plan)
    _write_notes(out / NOTES, plan)
    return failed


def import_record(
    recordings: Sequence[Annotated],
    class_map: ClassMap,
    settings: ImportSettings,
    more: Mapping[str, Any],
) -> dict[str, Any]:
    """What decides a dataset: settings, the classes, and a hash of recordings and label files.

    Args:
        recordings: Of which only names, lengths and label files count.
        class_map: Of the import.
        settings: Of the import.
        more: Whatever else decides it.
    """
    digest = hashlib.sha256()
    for one in recordings:
        events = None if one.events is None else tuple(event[:3] for event in one.events)
        entry = (one.key, one.info.samples, one.info.sample_rate, events)
        digest.update(repr(entry).encode())
    return {
        "earmark": __version__,
        "recordings": len(recordings),
        "fingerprint": digest.hexdigest()[:16],
        "settings": settings.model_dump(mode="json"),
        "classes": class_map.model_dump(mode="json"),
        **more,
    }


def _write_clips(job: _Job, out: Path) -> str | None:
    """Cut one recording, reading it once and in little memory; each file appears whole.

    Returns:
        What is wrong with the recording, if it cannot be read to its end.
    """
    source = _Source(read_blocks(job.recording, job.rate, _BLOCK_SECONDS))
    clips = sorted(job.clips, key=lambda clip: clip[1])
    following = [*(first for _, (first, _) in clips[1:]), None]
    for (name, (first, stop)), keep in zip(clips, following, strict=True):
        path = out / name
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_name(f".{path.stem}.partial{path.suffix}")
        try:
            write_blocks(partial, source.take(first, stop, keep), job.rate)
        except AudioError as error:
            partial.unlink(missing_ok=True)
            return error.what
        partial.replace(path)
    return None


class _Source:
    """A recording from which clips are taken in the order of their starts; they may overlap."""

    def __init__(self, blocks: Iterator[NDArray[np.float32]]) -> None:
        self._blocks = blocks
        self._held: deque[tuple[int, NDArray[np.float32]]] = deque()  # (first sample, samples)
        self._end = 0  # of what was read

    def take(self, first: int, stop: int, keep: int | None) -> Iterator[NDArray[np.float32]]:
        """The samples [first, stop), block by block; those from ``keep`` on are held."""
        kept: list[tuple[int, NDArray[np.float32]]] = []
        for start, block in self._pieces():
            end = start + len(block)
            if start < stop and end > first:
                yield block[max(0, first - start) : stop - start]
            if keep is not None and end > keep:
                kept.append((max(start, keep), block[max(0, keep - start) :]))
            if end >= stop:
                break
        self._held.extendleft(reversed(kept))

    def _pieces(self) -> Iterator[tuple[int, NDArray[np.float32]]]:
        while self._held:
            yield self._held.popleft()
        for block in self._blocks:
            start, self._end = self._end, self._end + len(block)
            yield start, block


def _write_tables(out: Path, plan: Plan) -> None:
    for split, place in PLACES.items():
        clips = [
            clip for clip in plan.all_clips if clip.split == split and (out / clip.path).is_file()
        ]
        if not clips or not place.labels:
            continue
        write_strong(out / place.labels, {clip.file: clip.events for clip in clips})
        if place.durations:
            seconds = {clip.file: clip.seconds for clip in clips}
            write_durations(out / place.durations[0], seconds)


def _write_notes(folder: Path, plan: Plan) -> None:
    """Tables of the division, the cuts, and of events that were lost."""
    splits = (f"{key}\t{split}" for key, split in sorted(plan.splits.items()))
    write_lines(folder / "split.tsv", ["filename\tsplit", *splits])
    head = "filename\tonset\toffset\tevent_label"
    cuts = (
        f"{_row(key, cut.event)}\t{cut.seconds:.3f}\t{'kept' if cut.kept else 'too short'}"
        for key, cut in plan.cuts
    )
    write_lines(folder / "cuts.tsv", [f"{head}\tseconds_in_clip\trest", *cuts])
    lost = (_row(key, event) for key, event in plan.lost)
    write_lines(folder / "lost.tsv", [head, *lost])


def _row(key: str, event: Event) -> str:
    return f"{key}\t{event.onset:.3f}\t{event.offset:.3f}\t{event.event_label}"


def clips_by_split(plan: Plan) -> dict[str, list[Clip]]:
    """Clips of each split that has any."""
    found: dict[str, list[Clip]] = {}
    for clip in plan.all_clips:
        found.setdefault(clip.split, []).append(clip)
    return {split: found[split] for split in PLACES if split in found}
