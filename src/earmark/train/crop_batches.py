"""Crops for pretraining: which of them make a step, in batches, and the bank of earlier ones."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader

from earmark.core.errors import ConfigError
from earmark.core.parallel import end_with_parent
from earmark.data.crops import Crop, CropStream
from earmark.data.dataset import split_evenly


class CropSampler:
    """Numbers of the crops of each micro-batch that this process takes, step after step.

    Step s is the crops [s · batch, (s + 1) · batch) of the stream, however it is divided.

    Raises:
        ConfigError: A step has fewer crops than micro-batches.
    """

    def __init__(
        self, batch: int, start: int, stop: int, rank: int = 0, world: int = 1, accumulate: int = 1
    ) -> None:
        self.batch, self.start, self.stop = batch, start, stop
        count = world * accumulate
        if batch < count:
            raise ConfigError(
                f"a step of {batch} crops cannot be divided into {count} micro-batches "
                f"({world} processes, {accumulate} each)",
                hint="Give fewer devices, a smaller train.accumulate or a larger train.batch",
            )
        sizes = [size for (size,) in split_evenly([batch], count)]
        ends = np.cumsum(sizes).tolist()
        mine = range(rank, count, world)
        self.spans = [
            (ends[number] - sizes[number], ends[number]) for number in mine
        ]  # one for each micro-batch

    def __iter__(self) -> Iterator[list[int]]:
        for step in range(self.start, self.stop):
            for index in range(len(self.spans)):
                yield self.numbers(step, index)

    def numbers(self, step: int, index: int) -> list[int]:
        """Crops of one micro-batch of a step."""
        first, last = self.spans[index]
        return list(range(step * self.batch + first, step * self.batch + last))


@dataclass(frozen=True)
class CropBatch:
    """Crops of one micro-batch: ``waveforms`` [B, S], ``samples`` [B] of sound, recordings."""

    numbers: list[int]
    waveforms: Tensor
    samples: Tensor
    faults: dict[Path, str]
    clips: tuple[str, ...] = ()


def collate(crops: Sequence[Crop]) -> CropBatch:
    """Stack crops."""
    return CropBatch(
        [crop.number for crop in crops],
        torch.from_numpy(np.stack([crop.waveform for crop in crops])),
        torch.tensor([crop.samples for crop in crops]),
        {path: reason for crop in crops for path, reason in crop.faults},
        tuple(crop.source for crop in crops),
    )


def read_crops(
    stream: CropStream, sampler: Iterable[list[int]], workers: int
) -> Iterator[CropBatch]:
    """Batches of the crops a sampler asks for."""
    loader: DataLoader[Any] = DataLoader(
        stream,  # type: ignore[arg-type]
        batch_sampler=sampler,
        collate_fn=collate,
        num_workers=workers,
        worker_init_fn=_end_with_run,
    )
    return iter(loader)


def _end_with_run(_: int) -> None:
    end_with_parent()


class MixBank:
    """The latest clean log-mels of one stream of crops, first in, first out.

    Args:
        capacity: Most crops kept; their memory is taken as they come.
    """

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self._crops: deque[tuple[Tensor, int]] = deque(maxlen=capacity)

    def __len__(self) -> int:
        return len(self._crops)

    def push(self, mels: Tensor, frames: Sequence[int]) -> None:
        """Add mels [B, F, L] with their numbers of valid ``frames``."""
        for mel, sound in zip(mels, frames, strict=True):
            self._crops.append((mel.clone(), sound))

    def partner(self, age: int) -> tuple[Tensor, int]:
        """A mel [F, L] and its frames of sound; age 0 is the latest."""
        return self._crops[-1 - age]

    def at(self, place: float) -> tuple[Tensor, int] | None:
        """The partner whose age is this fraction of the bank, in [0, 1); None while it is empty."""
        return self.partner(int(place * len(self))) if self._crops else None
