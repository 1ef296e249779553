"""Intersection counts of given detections, at one threshold."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from earmark.score.events import TIME_DECIMALS, EventArrays, at_least

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class IntersectionCounts:
    """Counts by class index: true and false positives ``[C]``, cross triggers ``[C, C]``.

    ``ct[c, k]`` counts detections of class c that were triggered by events of class k.
    """

    tp: Ints
    fp: Ints
    ct: Ints


def intersection_counts(
    detections: EventArrays,
    truth: EventArrays,
    labels: int,
    dtc: float,
    gtc: float,
    cttc: float | None = None,
    decimals: int | None = TIME_DECIMALS,
) -> IntersectionCounts:
    """Count by the criteria of Bilen et al. (ICASSP 2020).

    Args:
        detections: Detections; those of one class and clip must not overlap.
        truth: Ground truth, likewise.
        labels: Number of classes C.
        dtc: Share of a detection that truth of its class must cover for it to be relevant.
        gtc: Share of an event that relevant detections must cover for a true positive.
        cttc: Share of a false positive that truth of another class must cover for a cross trigger;
            ``None`` counts none.
        decimals: Rounding of compared times (see :func:`earmark.score.events.at_least`).
    """
    found, true, shared = _overlaps(detections, truth)
    same = detections.label[found] == truth.label[true]
    within = np.bincount(found[same], shared[same], minlength=len(detections.clip))
    relevant = at_least(within, dtc, detections.seconds, decimals)
    used = same & relevant[found]
    covered = np.bincount(true[used], shared[used], minlength=len(truth.clip))
    hit = at_least(covered, gtc, truth.seconds, decimals)
    triggers = np.zeros((labels, labels), dtype=np.int64)
    if cttc is not None:
        other = ~same & ~relevant[found]
        cells = found[other] * labels + truth.label[true[other]]  # detection × class
        pairs, inverse = np.unique(cells, return_inverse=True)
        seconds = np.bincount(inverse, shared[other], minlength=len(pairs))
        by, on = pairs // labels, pairs % labels
        enough = at_least(seconds, cttc, detections.seconds[by], decimals)
        np.add.at(triggers, (detections.label[by[enough]], on[enough]), 1)
    return IntersectionCounts(
        tp=np.bincount(truth.label[hit], minlength=labels),
        fp=np.bincount(detections.label[~relevant], minlength=labels),
        ct=triggers,
    )


def _overlaps(detections: EventArrays, truth: EventArrays) -> tuple[Ints, Ints, Floats]:
    """Pairs of a detection and a true event of one clip that overlap, and by how many seconds."""
    # Events come clip by clip, so those of a clip are one stretch.
    first = np.searchsorted(truth.clip, detections.clip, side="left")
    counts = np.searchsorted(truth.clip, detections.clip, side="right") - first
    found = np.repeat(np.arange(len(counts)), counts)
    true = np.arange(len(found)) - np.repeat(np.cumsum(counts) - counts - first, counts)
    shared = np.minimum(detections.offset[found], truth.offset[true]) - np.maximum(
        detections.onset[found], truth.onset[true]
    )
    chosen = shared > 0
    return found[chosen], true[chosen], shared[chosen]
