"""Intersection criteria for given detections, at one threshold."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from earmark.score.events import TIME_DECIMALS, EventArrays, at_least, sum_by

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]


@dataclass(frozen=True)
class Intersections:
    """Which of N detections and M true events meet the criteria.

    Args:
        relevant: Whether truth of its class covers enough of each detection ``[N]``; the others
            are false positives.
        hit: Whether relevant detections cover enough of each true event ``[M]``.
        trigger: Detections that are cross triggers, by index ``[K]``.
        triggered_by: The label of the truth that each of them lies on ``[K]``.
    """

    relevant: Bools
    hit: Bools
    trigger: Ints
    triggered_by: Ints


def intersect(
    detections: EventArrays,
    truth: EventArrays,
    *,
    dtc: float,
    gtc: float,
    cttc: float | None = None,
    decimals: int | None = TIME_DECIMALS,
) -> Intersections:
    """Apply the criteria of Bilen et al. (ICASSP 2020).

    Args:
        detections: Detections; those of one class and clip must not overlap.
        truth: Ground truth, likewise.
        dtc: Share of a detection that truth of its class must cover for it to be relevant.
        gtc: Share of an event that relevant detections must cover for a true positive.
        cttc: Share of a false positive that truth of another class must cover for a cross trigger;
            ``None`` looks for none.
        decimals: Rounding of compared times (see `earmark.score.events.at_least`).
    """
    found, true, shared = _overlaps(detections, truth)
    same = detections.label[found] == truth.label[true]
    relevant = _enough(shared[same], found[same], detections.seconds, dtc, decimals)
    used = same & relevant[found]
    hit = _enough(shared[used], true[used], truth.seconds, gtc, decimals)
    if cttc is None:
        nothing = np.zeros(0, dtype=np.int64)
        return Intersections(relevant, hit, nothing, nothing)
    other = ~same & ~relevant[found]
    labels = int(truth.label.max(initial=0)) + 1
    pairs, inverse = np.unique(
        found[other] * labels + truth.label[true[other]], return_inverse=True
    )  # detection × class
    by, on = pairs // labels, pairs % labels
    enough = _enough(shared[other], inverse, detections.seconds[by], cttc, decimals)
    return Intersections(relevant, hit, by[enough], on[enough])


def _enough(
    shared: Floats, owner: Ints, whole: Floats, ratio: float, decimals: int | None
) -> Bools:
    """Whether the overlaps of each owner add up to enough of its length.

    Args:
        shared: Seconds of each overlap ``[P]``.
        owner: Whose it is, below N ``[P]``.
        whole: Seconds of each owner ``[N]``.
        ratio: Share of them that is enough.
        decimals: As for `intersect`; ``None`` adds up shares, not seconds, as psds_eval does.
    """
    if decimals is None:
        return np.asarray(sum_by(owner, shared / whole[owner], len(whole)) >= ratio)
    return at_least(sum_by(owner, shared, len(whole)), ratio, whole, decimals)


def pairs_in_clip(detections: EventArrays, truth: EventArrays) -> tuple[Ints, Ints]:
    """Every pair of a detection and a true event of the same clip, by index ``[N]`` each."""
    # Events come clip by clip, so those of a clip are one stretch.
    first = np.searchsorted(truth.clip, detections.clip, side="left")
    counts = np.searchsorted(truth.clip, detections.clip, side="right") - first
    found = np.repeat(np.arange(len(counts)), counts)
    true = np.arange(len(found)) - np.repeat(np.cumsum(counts) - counts - first, counts)
    return found, true


def _overlaps(detections: EventArrays, truth: EventArrays) -> tuple[Ints, Ints, Floats]:
    """Pairs of a detection and a true event of one clip that overlap, and by how many seconds."""
    found, true = pairs_in_clip(detections, truth)
    shared = np.minimum(detections.offset[found], truth.offset[true]) - np.maximum(
        detections.onset[found], truth.onset[true]
    )
    chosen = shared > 0
    return found[chosen], true[chosen], shared[chosen]
