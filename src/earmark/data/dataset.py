"""Clips with frame targets, and batches composed by kind of label.

What a batch holds is a pure function of (seed, step), so a resumed run reads what an
uninterrupted one would have read, and nothing about the sampler needs to be saved.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import ChainMap
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import accumulate, cycle
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, default_collate, get_worker_info

from earmark.core.audio.audio import load_int16
from earmark.core.batch_settings import BatchSettings
from earmark.core.errors import AudioError, ConfigError, DataError, ScoreError
from earmark.core.event import Event
from earmark.core.parallel import end_with_parent
from earmark.core.tables.labels import LabelSet
from earmark.core.tables.score_files import read_scores
from earmark.core.timeline import FrameGrid, samples_to_seconds
from earmark.data.issues import without_long_weak
from earmark.data.manifest import Manifest, Source

KINDS = ("strong", "weak", "unlabelled")


@dataclass(frozen=True)
class Batch:
    """Clips of one step.

    Attributes:
        waveforms: [B, S] float32, zero-padded at the end.
        strong: [B, T, C] frame targets; zero without strong labels.
        weak: [B, C] clip targets; zero for unlabelled clips.
        valid: [B, T] frames that are no padding.
        kinds: [B] index into `KINDS`.
        known: [B, C] classes whose presence and absence is labelled; the targets of others
            mean nothing. None stands for all of them.
        unreadable: Why clips that the step should hold were replaced by others, by path.
        clips: Paths of the B clips; empty where they are no files.
    """

    waveforms: Tensor
    strong: Tensor
    weak: Tensor
    valid: Tensor
    kinds: Tensor
    known: Tensor | None = None
    unreadable: Mapping[str, str] = field(default_factory=dict)
    clips: tuple[str, ...] = ()

    def of_kind(self, kind: str) -> Tensor:
        """[B] True for clips of a kind."""
        return self.kinds == KINDS.index(kind)

    def to(self, device: torch.device) -> Batch:
        """The same batch on a device."""
        tensors: dict[str, Any] = {
            name: value.to(device, non_blocking=True)
            for name, value in vars(self).items()
            if isinstance(value, Tensor)
        }
        return replace(self, **tensors)


class Item(NamedTuple):
    """A clip as the network gets it; see `Batch`."""

    waveform: Tensor
    strong: Tensor
    weak: Tensor
    valid: Tensor
    kind: int
    known: Tensor
    unreadable: Mapping[str, str]
    clip: str


@dataclass(frozen=True)
class LabelledClip:
    """A clip and what is known of it.

    Attributes:
        path: Its file.
        kind: Of its label.
        events: Its strong labels.
        tags: Labels of the clip.
        labelled: Classes that its labels speak of; None stands for all.
        scores: File of the score table that is its targets in place of ``events``.
    """

    path: Path
    kind: str
    events: tuple[Event, ...] = ()
    tags: tuple[str, ...] = ()
    labelled: tuple[str, ...] | None = None
    scores: Path | None = None


def score_targets(
    path: Path, labels: LabelSet, grid: FrameGrid, frames: int, known: Sequence[str] | None
) -> NDArray[np.float32]:
    """[frames, C] in [0, 1]: the mean over each frame of the scores in a file.

    Args:
        path: Of a score table; it begins with the clip.
        labels: The classes; those that the table lacks are 0.
        grid: Frames of the targets.
        frames: So many.
        known: Classes that the table must have; None for all.

    Raises:
        ScoreError: It is no score table, or lacks a class.
    """
    table = read_scores(path)
    missing = [label for label in (labels if known is None else known) if label not in table.labels]
    if missing:
        raise ScoreError(
            f"has no scores of {', '.join(missing)}",
            where=path,
            hint="Make the scores again, or name under `labelled` the classes they are of",
        )
    values = table.on(grid.seconds * np.arange(frames + 1, dtype=np.float64)).values
    targets = np.zeros((frames, len(labels)), dtype=np.float32)
    for column, label in enumerate(table.labels):
        if label in labels:
            targets[:, labels.index(label)] = np.clip(values[:, column], 0.0, 1.0)
    return targets


def frame_targets(
    events: Sequence[Event], labels: LabelSet, grid: FrameGrid, frames: int
) -> NDArray[np.float32]:
    """[frames, C] with 1 from ⌊onset⌋ to ⌈offset⌉ in frames, the DCASE label encoder's rule."""
    targets = np.zeros((frames, len(labels)), dtype=np.float32)
    for event in events:
        first, last = grid.onset_frame(event.onset), grid.offset_frame(event.offset)
        targets[max(0, first) : max(0, last), labels.index(event.event_label)] = 1.0
    return targets


class ClipDataset(Dataset[Item]):
    """Decodes clips, pads them to one window, and keeps decoded audio up to a memory limit.

    A strong or unlabelled clip longer than the window is read from its start, and events beyond it
    are dropped; weak ones do not come here (`compose`).
    Decoded audio is kept as int16: half the memory, and what the files hold. In place of a clip
    that cannot be read comes the next of its group that can: which one depends on the files
    alone, so that a resumed run, and every process of several, takes the same.

    Args:
        clips: Files and labels.
        labels: The classes.
        grid: Frames of the targets.
        window: Samples of a clip.
        cache_gib: Memory for decoded clips.
        sizes: Numbers of clips of the groups that follow one another; by default one of all.
    """

    def __init__(
        self,
        clips: Sequence[LabelledClip],
        labels: LabelSet,
        grid: FrameGrid,
        window: int,
        cache_gib: float = 4.0,
        sizes: Sequence[int] | None = None,
    ) -> None:
        self.clips, self.labels, self.grid, self.window = list(clips), labels, grid, window
        self.frames = grid.frames_in(window)
        self.unreadable: dict[int, str] = {}
        self._ends = list(accumulate(sizes or [len(self.clips)]))
        self._room = int(cache_gib * 2**30)
        self._cache: dict[int, NDArray[np.int16]] = {}

    def __len__(self) -> int:
        return len(self.clips)

    def share_cache(self, processes: int) -> None:
        """Keep this process's portion of the memory for decoded clips."""
        self._room //= processes

    def _audio(self, index: int) -> NDArray[np.int16]:
        if index in self._cache:
            return self._cache[index]
        audio = load_int16(self.clips[index].path, self.window)
        if audio.nbytes <= self._room:
            self._room -= audio.nbytes
            self._cache[index] = audio
        return audio

    def readable(self, index: int) -> tuple[int, NDArray[np.int16], list[int]]:
        """The row used in place of a row, its audio, and the rows passed over.

        Raises:
            DataError: No clip of its group can be read.
        """
        group = bisect_right(self._ends, index)
        first = self._ends[group - 1] if group else 0
        size = self._ends[group] - first
        passed: list[int] = []
        for attempt in range(size):
            row = first + (index - first + attempt) % size
            if row not in self.unreadable:
                try:
                    return row, self._audio(row), passed
                except AudioError as error:
                    self.unreadable[row] = str(error)
            passed.append(row)
        raise DataError(
            f"none of {size} clips can be read, the first because: {self.unreadable[index]}",
            hint="`earmark doctor` lists what is wrong with each of them",
        )

    def __getitem__(self, index: int) -> Item:
        """A clip with its targets."""
        row, audio, passed = self.readable(index)
        clip = self.clips[row]
        waveform = np.zeros(self.window, dtype=np.float32)
        np.multiply(audio, np.float32(1 / 32768), out=waveform[: len(audio)])
        if clip.scores is None:
            strong = frame_targets(clip.events, self.labels, self.grid, self.frames)
        else:
            own = (self.labels, self.grid, self.frames, clip.labelled)
            strong = score_targets(clip.scores, *own)
        weak = strong.max(axis=0, initial=0.0)
        for tag in clip.tags:
            weak[self.labels.index(tag)] = 1.0
        valid = np.arange(self.frames) < self.grid.frames_covering(len(audio))
        return Item(
            torch.from_numpy(waveform),
            torch.from_numpy(strong),
            torch.from_numpy(weak),
            torch.from_numpy(valid),
            KINDS.index(clip.kind),
            torch.from_numpy(self._known(clip)),
            {str(self.clips[other].path): self.unreadable[other] for other in passed},
            str(clip.path),
        )

    def _known(self, clip: LabelledClip) -> NDArray[np.bool_]:
        """[C] classes that the clip's labels speak of."""
        if clip.kind == "unlabelled":
            return np.zeros(len(self.labels), dtype=bool)
        names = self.labels if clip.labelled is None else clip.labelled
        return np.array([label in names for label in self.labels], dtype=bool)


def labelled_clips(source: Source) -> list[LabelledClip]:
    """The clips of a source with their labels."""
    known = source.labelled
    if source.kind == "strong" and source.events is not None:
        return [
            LabelledClip(
                path,
                "strong",
                tuple(source.events.get(name, ())),
                labelled=known,
                scores=(source.scores or {}).get(name),
            )
            for path in source.clips
            for name in [source.name_of(path)]
        ]
    if source.kind == "weak" and source.weak is not None:
        return [
            LabelledClip(path, "weak", tags=source.weak[source.name_of(path)], labelled=known)
            for path in source.clips
        ]
    return [LabelledClip(path, "unlabelled") for path in source.clips]


@dataclass(frozen=True)
class ClipGroup:
    """Rows [first, first + size) of the dataset, of which each step takes ``take``."""

    name: str
    first: int
    size: int
    take: int


def split_evenly(takes: Sequence[int], count: int) -> list[list[int]]:
    """How many clips of each group every micro-batch of a step takes: ``result[batch][group]``.

    Every group is spread as evenly as it goes; what is left over goes around, so that neither the
    micro-batches' numbers of a group nor their totals differ by more than one.
    """
    result = [[take // count for take in takes] for _ in range(count)]
    receivers = cycle(result)
    for group, take in enumerate(takes):
        for _ in range(take % count):
            next(receivers)[group] += 1
    return result


class StepSampler:
    """Row numbers of each micro-batch; which clips a step takes depends on no division.

    Every group is walked in seeded permutations, without repeats. A step is divided into
    ``accumulate`` · ``world`` micro-batches: number m is the one that process m % world takes as
    its (m // world)-th.

    Args:
        groups: What each kind contributes to a step.
        seed: Of the permutations.
        start: First step to give.
        stop: Step to end before.
        rank: This process, of ``world``.
        accumulate: Micro-batches of every process in one step.

    Raises:
        ConfigError: A step has fewer clips than micro-batches.
    """

    def __init__(
        self,
        groups: Sequence[ClipGroup],
        seed: int,
        start: int,
        stop: int,
        rank: int = 0,
        world: int = 1,
        accumulate: int = 1,
    ) -> None:
        self.groups, self.seed, self.start, self.stop = tuple(groups), seed, start, stop
        count = world * accumulate
        clips = sum(group.take for group in self.groups)
        if clips < count:
            raise ConfigError(
                f"a step of {clips} clips cannot be divided into {count} micro-batches "
                f"({world} processes, {accumulate} of each)",
                hint="Give fewer devices, a smaller train.accumulate or a larger train.batch",
            )
        sizes = np.array(split_evenly([group.take for group in self.groups], count))
        before = np.cumsum(sizes, axis=0) - sizes
        self._sizes, self._skips = sizes[rank::world], before[rank::world]  # [accumulate, groups]
        self._orders: dict[int, tuple[int, NDArray[np.int64]]] = {}

    def __len__(self) -> int:
        return (self.stop - self.start) * len(self._sizes)

    def __iter__(self) -> Iterator[list[int]]:
        numbers = range(len(self.groups))
        for step in range(self.start, self.stop):
            for sizes, skips in zip(self._sizes.tolist(), self._skips.tolist(), strict=True):
                yield [
                    row
                    for number in numbers
                    for row in self._rows(number, step, skips[number], sizes[number])
                ]

    def _rows(self, number: int, step: int, skip: int, size: int) -> list[int]:
        group = self.groups[number]
        first = step * group.take + skip
        rows = []
        for position in range(first, first + size):
            walk, place = divmod(position, group.size)
            rows.append(group.first + int(self._permutation(number, walk)[place]))
        return rows

    def _permutation(self, number: int, walk: int) -> NDArray[np.int64]:
        known = self._orders.get(number)
        if known is None or known[0] != walk:
            rng = np.random.default_rng([self.seed, number, walk])
            known = walk, rng.permutation(self.groups[number].size)
            self._orders[number] = known
        return known[1]


def compose(
    manifest: Manifest, batch: BatchSettings, grid: FrameGrid, window: int, cache_gib: float = 4.0
) -> tuple[ClipDataset, list[ClipGroup]]:
    """The training dataset and how much of each kind a step takes.

    Strong sources fill ``batch.real`` or ``batch.synthetic`` by their domain, or ``batch.pseudo``.
    Where only one of the two exists it fills both places; kinds the data lack are left out, and so
    are weak clips longer than the window, whose tags may speak of what is not heard.

    Raises:
        DataError: No source gives a labelled clip to the batch.
    """
    by_place: dict[str, list[LabelledClip]] = {name: [] for name in BatchSettings.model_fields}
    for source in manifest.train:
        source = without_long_weak(source, samples_to_seconds(window))
        by_place[batch.place_of(source.place, source.domain)] += labelled_clips(source)
    take = batch.filled({name for name, clips in by_place.items() if clips}).model_dump()
    clips: list[LabelledClip] = []
    groups: list[ClipGroup] = []
    for name, members in by_place.items():
        if members and take[name]:
            groups.append(ClipGroup(name, len(clips), len(members), take[name]))
            clips += members
    if not any(group.name != "unlabelled" for group in groups):
        raise DataError(
            "no labelled clip to train on",
            where=manifest.root,
            hint="Give strong labels, or weak ones of clips no longer than the window, and a batch "
            "size for their kind (train.batch)",
        )
    sizes = [group.size for group in groups]
    return ClipDataset(clips, manifest.labels, grid, window, cache_gib, sizes), groups


def collate(items: Sequence[Item]) -> Batch:
    """Stack clips into a `Batch`; in a reading process straight into shared memory.

    A copy of its own for every batch would leave holes in that process's memory, which then grows.
    """
    *columns, unreadable, clips = zip(*items, strict=True)
    waveforms, strong, weak, valid, kinds, known = (default_collate(list(one)) for one in columns)
    return Batch(waveforms, strong, weak, valid, kinds, known, dict(ChainMap(*unreadable)), clips)


def step_loader(dataset: ClipDataset, sampler: StepSampler, workers: int) -> Iterable[Batch]:
    """Batches of consecutive steps, one for each micro-batch of a step.

    Args:
        dataset: Where clips are read.
        sampler: Which clips, in which order.
        workers: Processes that read ahead, sharing the memory for decoded clips; 0 reads when a
            batch is asked for. The batches are the same.
    """
    loader: DataLoader[Any] = DataLoader(
        dataset,
        batch_sampler=sampler,
        collate_fn=collate,
        num_workers=workers,
        worker_init_fn=_share_cache,
    )
    return loader


def _share_cache(_: int) -> None:
    """In a reading process: end with the run, and keep no more than its portion of the memory."""
    end_with_parent()
    info = get_worker_info()
    if info is not None and isinstance(info.dataset, ClipDataset):
        info.dataset.share_cache(info.num_workers)
