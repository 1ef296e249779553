"""What an F1 is made of: counts of each clip and class at one threshold, and their result."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from earmark.core.errors import ScoreError
from earmark.score.events import Bools, Floats, Ints, left_out, ratio

Counts = NDArray[np.integer[Any]]
Owners = tuple[Ints, Ints]
"""Clip and class of each of N things that are counted, ``[N]`` each."""


@dataclass(frozen=True)
class F1Counts:
    """What F1 = 2 · tp / (truth + detected) of a class is made of."""

    tp: int
    fp: int
    fn: int

    @property
    def f1(self) -> float:
        """2 · tp / (2 · tp + fp + fn); 0 if there is nothing at all."""
        total = 2 * self.tp + self.fp + self.fn
        return 2 * self.tp / total if total else 0.0

    @property
    def precision(self) -> float:
        """Tp / (tp + fp); 0 without detections."""
        return self.tp / (self.tp + self.fp) if self.tp else 0.0

    @property
    def recall(self) -> float:
        """Tp / (tp + fn); 0 without truth."""
        return self.tp / (self.tp + self.fn) if self.tp else 0.0


@dataclass(frozen=True)
class F1Result:
    """F1 over classes.

    Args:
        macro: Mean over the classes that have truth.
        micro: F1 of all ``counts`` together.
        per_class: F1 of each class that has truth.
        counts: Counts of every class.
        left_out: Classes without truth.
        warnings: What was changed or left out, in words.
    """

    macro: float
    micro: float
    per_class: dict[str, float]
    counts: dict[str, F1Counts]
    left_out: tuple[str, ...]
    warnings: tuple[str, ...]

    @classmethod
    def of(
        cls,
        counts: dict[str, F1Counts],
        true: Mapping[str, Any],
        warnings: Sequence[str],
        **rest: Any,
    ) -> Self:
        """The result of counts by class.

        Args:
            counts: Of the classes that count in the micro F1.
            true: Of every class how many events it has, in the order of the classes.
            warnings: What was changed, in words.
            rest: Further fields, of a class with more of them.

        Raises:
            ScoreError: If no class has truth.
        """
        per_class = {label: counts[label].f1 for label, number in true.items() if number}
        if not per_class:
            raise ScoreError("no class has ground truth", hint="F1 needs at least one true event.")
        every = (sum(getattr(one, name) for one in counts.values()) for name in ("tp", "fp", "fn"))
        without, said = left_out(true, per_class)
        return cls(
            macro=float(np.mean(list(per_class.values()))),
            micro=F1Counts(*every).f1,
            per_class=per_class,
            counts=counts,
            left_out=without,
            warnings=(*warnings, *said),
            **rest,
        )


@dataclass(frozen=True)
class F1Statistics:
    """Counts of each clip and class ``[N, C]``, from which an F1 is computed.

    Args:
        labels: The C classes.
        clips: The N clips.
        tp: True positives.
        detected: True and false positives.
        true: True events (or segments).
        warnings: What was changed, in words.
    """

    labels: tuple[str, ...]
    clips: tuple[str, ...]
    tp: Counts
    detected: Counts
    true: Counts
    warnings: tuple[str, ...] = ()

    @classmethod
    def count(
        cls,
        labels: Sequence[str],
        clips: Sequence[str],
        owners: Sequence[Owners],
        warnings: Sequence[str],
    ) -> F1Statistics:
        """Statistics from the owners of true positives, of positives and of true events."""
        tp, detected, true = (_small(count_owners(own, len(clips), len(labels))) for own in owners)
        return cls(tuple(labels), tuple(clips), tp, detected, true, tuple(warnings))

    @classmethod
    def joined(cls, groups: Sequence[F1Statistics], clips: Sequence[str]) -> F1Statistics:
        """Counts of groups of clips as those of all, in the order of ``clips``."""
        names = [clip for group in groups for clip in group.clips]
        place = {clip: number for number, clip in enumerate(names)}
        order = [place[clip] for clip in clips]
        tp, detected, true = (
            np.concatenate([getattr(group, name) for group in groups])[order]
            for name in ("tp", "detected", "true")
        )
        warnings = _added_up([line for group in groups for line in group.warnings])
        return cls(groups[0].labels, tuple(clips), tp, detected, true, warnings)

    def result(self, weights: Ints | None = None) -> F1Result:
        """F1 with each clip counted ``weights`` times (once by default).

        Raises:
            ScoreError: If no class has truth.
        """
        once = np.ones(len(self.clips), dtype=np.int64) if weights is None else weights
        tp, detected, true = (
            (once @ counts).astype(np.int64).tolist()
            for counts in (self.tp, self.detected, self.true)
        )
        counts = {
            label: F1Counts(hits, positive - hits, actual - hits)
            for label, hits, positive, actual in zip(self.labels, tp, detected, true, strict=True)
        }
        return F1Result.of(counts, dict(zip(self.labels, true, strict=True)), self.warnings)

    def resampled(self, weights: Ints) -> dict[str, Floats]:
        """Macro ("") and micro ("_micro") F1 of each of R resamples, from weights ``[R, N]``."""
        # As floats, which are exact for whole numbers and much faster to multiply.
        drawn = weights.astype(np.float64)
        tp, detected, true = (
            drawn @ counts.astype(np.float64) for counts in (self.tp, self.detected, self.true)
        )
        by_class = ratio(2 * tp, detected + true)
        return {
            "": ratio(np.sum(by_class, axis=1, where=true > 0), np.count_nonzero(true, axis=1)),
            "_micro": ratio(2 * tp.sum(axis=1), (detected + true).sum(axis=1)),
        }

    def resampled_classes(self, weights: Ints) -> Floats:
        """F1 of each class in each resample ``[C, R]``; NaN where it has no truth."""
        drawn = weights.astype(np.float64)
        tp, detected, true = (
            drawn @ counts.astype(np.float64) for counts in (self.tp, self.detected, self.true)
        )
        return np.asarray(np.where(true > 0, ratio(2 * tp, detected + true), np.nan).T)

    def eventful(self) -> Bools:
        """Which clips have true events ``[N]``."""
        return np.asarray(self.true.any(axis=1))


def count_owners(owners: Owners, clips: int, labels: int) -> Ints:
    """How many things belong to each clip and class ``[N, C]``."""
    found = np.bincount(owners[0] * labels + owners[1], minlength=clips * labels)
    return np.asarray(found.reshape(clips, labels))


def _small(counts: Counts) -> Counts:
    """Whole numbers in as few bytes as they need: there may be millions, most of them 0."""
    return counts.astype(np.min_scalar_type(int(counts.max(initial=0))))


def _added_up(lines: Sequence[str]) -> tuple[str, ...]:
    """Lines that begin with a number, those that go on alike made one with the sum."""
    totals: dict[str, int] = {}
    for line in lines:
        number, _, rest = line.partition(" ")
        totals[rest] = totals.get(rest, 0) + int(number)
    return tuple(f"{number} {rest}" for rest, number in totals.items())
