"""The criteria of PSDS, and which detections and events meet them at one threshold."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from earmark.score.events import TIME_DECIMALS, Bools, EventArrays, Floats, Ints, at_least, sum_by
from earmark.score.psds.runs import ragged


@dataclass(frozen=True)
class Criteria:
    """The tolerances of Bilen et al. (ICASSP 2020).

    Args:
        dtc: Detection tolerance ρ_dtc: how much of a detection truth of its class must cover.
        gtc: Ground-truth intersection ρ_gtc: how much of an event relevant detections must cover.
        cttc: Cross-trigger tolerance ρ_cttc: how much of a false positive truth of another class
            must cover, or ``None`` not to count cross triggers.
    """

    dtc: float
    gtc: float
    cttc: float | None = None


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
    criteria: Criteria,
    decimals: int | None = TIME_DECIMALS,
) -> Intersections:
    """Apply the criteria.

    Args:
        detections: Detections; those of one class and clip must not overlap.
        truth: Ground truth, likewise.
        criteria: How much must be covered.
        decimals: Rounding of compared times (see `earmark.score.events.at_least`).
    """
    found, true, overlap = _overlaps(detections, truth)
    same = detections.label[found] == truth.label[true]
    relevant = _enough(overlap[same], found[same], detections.seconds, criteria.dtc, decimals)
    used = same & relevant[found]
    hit = _enough(overlap[used], true[used], truth.seconds, criteria.gtc, decimals)
    if criteria.cttc is None:
        nothing = np.zeros(0, dtype=np.int64)
        return Intersections(relevant, hit, nothing, nothing)
    other = ~same & ~relevant[found]
    labels = int(truth.label.max(initial=0)) + 1
    pairs, inverse = np.unique(
        found[other] * labels + truth.label[true[other]], return_inverse=True
    )  # detection × class
    by, on = pairs // labels, pairs % labels
    enough = _enough(overlap[other], inverse, detections.seconds[by], criteria.cttc, decimals)
    return Intersections(relevant, hit, by[enough], on[enough])


def _enough(
    overlap: Floats, owner: Ints, whole: Floats, criterion: float, decimals: int | None
) -> Bools:
    """Whether the overlaps of each owner add up to enough of its length.

    Args:
        overlap: Seconds of each overlap ``[P]``.
        owner: Whose it is, below N ``[P]``.
        whole: Seconds of each owner ``[N]``.
        criterion: Fraction of them that is enough.
        decimals: As for `intersect`; ``None`` adds up fractions, not seconds, as psds_eval does.
    """
    if decimals is None:
        return np.asarray(sum_by(owner, overlap / whole[owner], len(whole)) >= criterion)
    return at_least(sum_by(owner, overlap, len(whole)), criterion, whole, decimals)


def pairs_in_clip(detections: EventArrays, truth: EventArrays) -> tuple[Ints, Ints]:
    """Every pair of a detection and a true event of the same clip, by index ``[N]`` each."""
    # Events come clip by clip, so those of a clip are one stretch.
    first, last = (np.searchsorted(truth.clip, detections.clip, side) for side in ("left", "right"))
    true, found = ragged(first, last)
    return found, true


def _overlaps(detections: EventArrays, truth: EventArrays) -> tuple[Ints, Ints, Floats]:
    """Pairs of a detection and a true event of one clip that overlap, and by how many seconds."""
    found, true = pairs_in_clip(detections, truth)
    overlap = np.minimum(detections.offset[found], truth.offset[true]) - np.maximum(
        detections.onset[found], truth.onset[true]
    )
    chosen = overlap > 0
    return found[chosen], true[chosen], overlap[chosen]
