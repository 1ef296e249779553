"""The dataset of an import: clips, tables, and a record of how it came about."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from earmark.core.audio.audio import read_blocks, write_blocks
from earmark.core.errors import AudioError
from earmark.core.event import Event
from earmark.core.files import write_lines, write_whole
from earmark.core.folders import claim_folder
from earmark.core.locking import writes_to
from earmark.core.parallel import Progress, counted, run_jobs
from earmark.core.tables.label_tables import write_durations, write_strong
from earmark.prepare.importing.cutting import Span
from earmark.prepare.importing.importer import Import
from earmark.prepare.importing.planning import PLACES, Clip, Plan
from earmark.prepare.importing.preparing import Prepared

#: The file in a dataset that says what it was made of.
RECORD = "import.yaml"
#: The folder in it with the tables of what was done.
NOTES = "import"

_BLOCK_SECONDS = 10.0


@dataclass(frozen=True)
class CuttingTask:
    """A recording, and its clips that are not there yet."""

    of: Prepared
    clips: tuple[tuple[str, Span], ...]

    def __len__(self) -> int:
        return len(self.clips)


@writes_to("out")
def write_import(
    out: Path,
    job: Import,
    *,
    workers: int = 1,
    progress: Progress | None = None,
) -> dict[str, str]:
    """Write the clips, then the tables.

    A recording that breaks off while it is read leaves the clips up to there; the tables list the
    clips that are there.

    Args:
        out: Folder of the dataset: new, empty, or begun by the same import.
        job: Of `read_import`.
        workers: Processes.
        progress: Called with (clips done, clips in all).

    Returns:
        Key of a recording that could not be read to its end → why.

    Raises:
        DataError: The folder holds something else.
    """
    claim_folder(out, RECORD, job.record, other="the dataset of another import, or of other labels")
    total = len(job.plan.all_clips)
    tasks = []
    for index, clips in job.plan.clips.items():
        missing = [(clip.path, clip.span) for clip in clips if not (out / clip.path).is_file()]
        if missing:
            tasks.append(CuttingTask(job.prepared[index], tuple(missing)))
    before = total - sum(map(len, tasks))
    results = run_jobs(_write_clips, tasks, out, min(workers, len(tasks)))
    failed: dict[str, str] = {}
    for task, fault in counted(results, before, total, progress, len):
        if fault is not None:
            failed[task.of.recording.key] = fault
    _write_tables(out, job.plan)
    _write_notes(out / NOTES, job.plan)
    return failed


def _write_clips(task: CuttingTask, out: Path) -> str | None:
    """Cut one recording, reading it once and in little memory; each file appears whole.

    Returns:
        What is wrong with the recording, if it cannot be read to its end.
    """
    rate = task.of.rate
    source = _Source(read_blocks(task.of.recording.path, rate, _BLOCK_SECONDS))
    clips = sorted(task.clips, key=lambda clip: clip[1])
    following = [*(first for _, (first, _) in clips[1:]), None]
    for (name, (first, stop)), keep in zip(clips, following, strict=True):
        blocks = source.take(first, stop, keep)
        try:
            write = partial(write_blocks, blocks=blocks, sample_rate=rate)
            write_whole(out / name, write, flush=False)
        except AudioError as error:
            return error.what
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
