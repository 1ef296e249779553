"""Error rate: what of the segments is wrong, as substitutions, deletions and insertions.

Mesaros, Heittola, Virtanen, "Metrics for Polyphonic Sound Event Detection", Applied Sciences 2016,
section 3.3: in a segment, a missed class and a falsely detected one are one substitution; what is
left over are deletions or insertions. ER = (S + D + I) / N, N being the active classes of all
segments.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np

from earmark.core.errors import ScoreError
from earmark.score.events import Bools, Events, Floats, Ints, check_clips, ratio, tidy
from earmark.score.f1.segments import SegmentCriterion

PARTS = ("_substitutions", "_deletions", "_insertions")
"""Endings of the metrics' names."""


@dataclass(frozen=True)
class ErrorResult:
    """Error rate and what it is made of, each in proportion to the true activity.

    Args:
        error_rate: The sum of the three; above 1 if there are more errors than true activity.
        substitutions: A class detected in the place of another.
        deletions: Missed.
        insertions: Detected beside what is there.
    """

    error_rate: float
    substitutions: float
    deletions: float
    insertions: float


@dataclass(frozen=True)
class ErrorStatistics:
    """Errors of each clip, from which an error rate is computed.

    Args:
        clips: The N clips.
        errors: Substitutions, deletions and insertions ``[N, 3]``.
        true: Active classes of all of a clip's segments ``[N]``.
    """

    clips: tuple[str, ...]
    errors: Ints
    true: Ints

    @classmethod
    def joined(cls, groups: Sequence[ErrorStatistics], clips: Sequence[str]) -> ErrorStatistics:
        """Errors of groups of clips as those of all, in the order of ``clips``."""
        names = [clip for group in groups for clip in group.clips]
        place = {clip: number for number, clip in enumerate(names)}
        order = [place[clip] for clip in clips]
        errors = np.concatenate([group.errors for group in groups])[order]
        return cls(tuple(clips), errors, np.concatenate([group.true for group in groups])[order])

    def result(self) -> ErrorResult:
        """The error rate, every clip counted once.

        Raises:
            ScoreError: If nothing is true.
        """
        true = int(self.true.sum())
        if not true:
            raise ScoreError(
                "no class has ground truth", hint="An error rate needs at least one true event"
            )
        found = (self.errors.sum(axis=0) / true).tolist()
        return ErrorResult(sum(found), *found)

    def eventful(self) -> Bools:
        """Which clips have true events ``[N]``."""
        return np.asarray(self.true > 0)

    def resampled(self, weights: Ints) -> dict[str, Floats]:
        """Error rate and its parts of each of R resamples, from weights ``[R, N]``."""
        true = weights @ self.true
        columns = [self.errors.sum(axis=1), *self.errors.T]
        return {
            ending: ratio(weights @ column, true)
            for ending, column in zip(("", *PARTS), columns, strict=True)
        }


def error_statistics(
    detections: Events,
    truth: Events,
    labels: Sequence[str],
    criterion: SegmentCriterion,
    *,
    clips: Collection[str] | None = None,
) -> ErrorStatistics:
    """Errors of each clip.

    Args:
        detections: Detections by clip id.
        truth: Ground truth by clip id.
        labels: The classes.
        criterion: What a segment is.
        clips: The clips that count; any other id is an error. All that occur, if not given.

    Raises:
        ScoreError: If clips, classes or times do not fit together.
    """
    if clips is None:
        clips = sorted({*detections, *truth})
    check_clips(detections, clips, "detections", "clips that count")
    check_clips(truth, clips, "truth", "clips that count")
    names = list(dict.fromkeys(clips))
    found, _ = tidy(detections, names, labels, "detections", merge=False)
    true, _ = tidy(truth, names, labels, "truth", merge=False)
    detected, active = (criterion.segments(events, names) for events in (found, true))
    number = np.concatenate([detected[2], active[2]])
    low, high = int(number.min(initial=0)), int(number.max(initial=0))
    size = high - low + 1
    places = [own[0] * size + own[2] - low for own in (detected, active)]  # clip and segment
    keys = [
        place * len(labels) + own[1] for place, own in zip(places, (detected, active), strict=True)
    ]
    wrong = places[0][~np.isin(keys[0], keys[1])]
    missed = places[1][~np.isin(keys[1], keys[0])]
    both, segment = np.unique(np.concatenate([wrong, missed]), return_inverse=True)
    counts = [
        np.bincount(part, minlength=len(both))
        for part in (segment[: len(wrong)], segment[len(wrong) :])
    ]
    swapped = np.minimum(counts[0], counts[1])
    errors = np.zeros((len(names), 3), dtype=np.int64)
    np.add.at(
        errors, both // size, np.stack([swapped, counts[1] - swapped, counts[0] - swapped], 1)
    )
    return ErrorStatistics(tuple(names), errors, np.bincount(active[0], minlength=len(names)))
