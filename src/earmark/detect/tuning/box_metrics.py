"""What boxes are worth, class by class, for many sets of clips at once.

Tuning asks the same of many settings: which PSDS1 and which best collar F1 would this class have on
these clips? Of boxes this is soon told. Unlike a run of frames, a box does not change with the
threshold, so it is relevant or a false positive once and for all, and true positives are only
ever added as the threshold falls. Equal to `earmark.score` on the same boxes, which a test asserts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from earmark.detect.csebb import Boxes
from earmark.score.events import EventArrays, Events, Floats, Ints, at_least, sum_by, tidy
from earmark.score.f1 import CollarCriterion
from earmark.score.f1.collars import matching
from earmark.score.psds import HOUR, PsdsParameters
from earmark.score.psds.runs import ragged

_NEAR = 1e-4
"""Seconds by which pairs are looked for beyond the collars, before these are applied exactly."""


@dataclass(frozen=True)
class Reference:
    """The truth of N clips and C classes, and sets of these clips.

    Args:
        merged: True events, those that overlap in a class merged, for intersections.
        events: True events as they are, for collars.
        clips: Number of clips N.
        labels: Number of classes C.
        weights: Which clips are in each of S sets, 1 or 0, ``[S, N]``.
        hours: Hours of audio in each set ``[S]``.
        span: More seconds than any event or box ends at.
    """

    merged: EventArrays
    events: EventArrays
    clips: int
    labels: int
    weights: Floats
    hours: Floats
    span: float

    @classmethod
    def build(
        cls,
        truth: Events,
        clips: Sequence[str],
        labels: Sequence[str],
        seconds: Floats,
        ends: Floats,
        weights: Floats,
    ) -> Reference:
        """Prepares truth and sets.

        Args:
            truth: True events by clip id.
            clips: The N clips.
            labels: The C classes.
            seconds: Duration of each clip ``[N]``.
            ends: Where each clip's scores end ``[N]``.
            weights: Which clips are in each set ``[S, N]``.

        Raises:
            ScoreError: If an event has an unknown label or impossible times.
        """
        merged, _ = tidy(truth, clips, labels, "truth", merge=True)
        events, _ = tidy(truth, clips, labels, "truth", merge=False)
        last = max(events.offset.max(initial=0.0), float(ends.max()))
        hours = weights @ seconds / HOUR
        return cls(merged, events, len(clips), len(labels), weights, hours, float(last) + 1.0)

    def counts(self, events: EventArrays) -> Floats:
        """Number of events of each class in each set ``[S, C]``."""
        found = sum_by(events.clip * self.labels + events.label, None, self.clips * self.labels)
        return np.asarray(self.weights @ found.reshape(self.clips, self.labels))


@dataclass(frozen=True)
class Found:
    """Boxes of all classes, class by class and from the highest confidence down.

    Args:
        clip: ``[N]``.
        label: ``[N]``.
        onset: Seconds ``[N]``.
        offset: Seconds ``[N]``.
        confidence: ``[N]``.
    """

    clip: Ints
    label: Ints
    onset: Floats
    offset: Floats
    confidence: Floats

    @classmethod
    def of(cls, boxes: Boxes, labels: int) -> Found:
        """Boxes of rows ``clip · C + label``."""
        label = boxes.row % labels
        order = np.lexsort((-boxes.confidence, label))
        row, times = boxes.row[order], (boxes.onset[order], boxes.offset[order])
        return cls(row // labels, label[order], *times, boxes.confidence[order])

    def stretch(self, labels: int) -> list[slice]:
        """Where each class's boxes are."""
        ends = np.searchsorted(self.label, np.arange(labels + 1)).tolist()
        return [slice(first, end) for first, end in pairwise(ends)]


def box_psds(found: Found, reference: Reference, parameters: PsdsParameters) -> Floats:
    """Each class's own PSDS on each set of clips ``[S, C]``, NaN where a set has no event of it.

    A true positive that comes at the eFPR e adds ``(1 - e / e_max) / N`` to the area under the
    class's curve, so all that is needed is the number of false positives above each.

    Args:
        found: The boxes.
        reference: Truth and sets.
        parameters: Of which ``dtc``, ``gtc`` and ``max_efpr`` are used; cross triggers are not
            counted.
    """
    true = reference.merged
    by, on = _overlapping(found, true, reference)
    shared = np.minimum(found.offset[by], true.offset[on])
    shared = np.maximum(shared - np.maximum(found.onset[by], true.onset[on]), 0.0)
    within = sum_by(by, shared, len(found.clip))
    relevant = at_least(within, parameters.dtc, found.offset - found.onset)
    event, box = _reached(found, true, by, on, shared, relevant, parameters.gtc)
    events = reference.counts(true)
    area = np.full((len(reference.weights), reference.labels), np.nan)
    for label, stretch in enumerate(found.stretch(reference.labels)):
        hit = event[true.label[event] == label], box[true.label[event] == label]
        false = stretch.start + np.flatnonzero(~relevant[stretch])
        weights = reference.weights[:, found.clip[false]]
        above = np.pad(np.cumsum(weights, axis=1), ((0, 0), (1, 0)))  # [S, F + 1]
        place = np.searchsorted(-found.confidence[false], -found.confidence[hit[1]], side="right")
        efpr = above[:, place] / reference.hours[:, None]
        gain = np.maximum(1.0 - efpr / parameters.max_efpr, 0.0)
        total = np.sum(reference.weights[:, true.clip[hit[0]]] * gain, axis=1)
        np.divide(total, events[:, label], out=area[:, label], where=events[:, label] > 0)
    return area


def _overlapping(found: Found, true: EventArrays, reference: Reference) -> tuple[Ints, Ints]:
    """Pairs of a box and an event of its clip and class that overlap, by index."""
    key = (found.clip * reference.labels + found.label) * reference.span
    true_key = (true.clip * reference.labels + true.label) * reference.span
    first = np.searchsorted(true_key + true.offset, key + found.onset, side="right")
    end = np.searchsorted(true_key + true.onset, key + found.offset, side="left")
    on, by = ragged(first, np.maximum(first, end))
    return by, on


def _reached(
    found: Found,
    true: EventArrays,
    by: Ints,
    on: Ints,
    shared: Floats,
    relevant: NDArray[np.bool_],
    gtc: float,
) -> tuple[Ints, Ints]:
    """Events that relevant boxes cover enough of, and the box that completes it, by index."""
    kept = np.flatnonzero(relevant[by])
    kept = kept[np.lexsort((-found.confidence[by[kept]], on[kept]))]
    by, on, shared = by[kept], on[kept], shared[kept]
    total = np.cumsum(shared)
    starts = np.diff(on, prepend=-1) != 0
    before = np.maximum.accumulate(np.where(starts, total - shared, 0.0))
    enough = np.flatnonzero(at_least(total - before, gtc, true.seconds[on]))
    event, place = np.unique(on[enough], return_index=True)
    return event, by[enough[place]]


@dataclass(frozen=True)
class BestF1:
    """Each class's best F1 over thresholds on each set of clips, both ``[S, C]``.

    Args:
        f1: NaN where a set has no event of the class.
        threshold: Half-way between the lowest confidence kept and the highest one not kept; NaN
            where nothing is ever hit.
    """

    f1: Floats
    threshold: Floats


def box_best_f1(found: Found, reference: Reference, collars: CollarCriterion) -> BestF1:
    """Best collar F1 of each class; of equal thresholds the highest.

    Args:
        found: The boxes.
        reference: Truth and sets.
        collars: How near a box must come to an event.
    """
    true = reference.events
    by, on = _near(found, true, reference, collars.onset_collar)
    near = collars.near(found.onset[by], found.offset[by], true.onset[on], true.offset[on])
    hits = np.sort(matching(by[near], on[near])[0])  # in falling confidence, class by class
    events = reference.counts(true)
    f1 = np.where(events > 0, 0.0, np.nan)
    threshold = np.full(f1.shape, np.nan)
    for label, stretch in enumerate(found.stretch(reference.labels)):
        confidence = found.confidence[stretch]
        weights = reference.weights[:, found.clip[stretch]]  # [S, n]
        levels = hits[(hits >= stretch.start) & (hits < stretch.stop)] - stretch.start
        levels = levels[confidence[levels] > 0]  # no threshold is below 0, and 0 is not above 0
        if not len(levels):
            continue
        # Boxes of equal confidence come together: count up to the last of them.
        upto = np.searchsorted(-confidence, -confidence[levels], side="right")
        detected = np.cumsum(weights, axis=1)[:, upto - 1]
        last = np.searchsorted(upto, upto, side="right") - 1
        right = np.cumsum(weights[:, levels], axis=1)[:, last]
        values = 2 * right / np.maximum(detected + events[:, [label]], 1.0)
        best = np.argmax(values, axis=1)
        for row in np.flatnonzero(np.isfinite(f1[:, label]) & (values.max(axis=1) > 0)):
            f1[row, label] = values[row, best[row]]
            kept = upto[best[row]]
            others = confidence[kept:][weights[row, kept:] > 0]
            floor = others[0] if len(others) else 0.0
            threshold[row, label] = (confidence[kept - 1] + floor) / 2
    return BestF1(f1, threshold)


def _near(
    found: Found, true: EventArrays, reference: Reference, collar: float
) -> tuple[Ints, Ints]:
    """Pairs of a box and an event of its clip and class whose onsets are near, by index."""
    key = (found.clip * reference.labels + found.label) * reference.span + found.onset
    onsets = (true.clip * reference.labels + true.label) * reference.span + true.onset
    reach = min(collar + _NEAR, reference.span)
    first = np.searchsorted(onsets, key - reach, side="left")
    on, by = ragged(first, np.searchsorted(onsets, key + reach, side="right"))
    return by, on
