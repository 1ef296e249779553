"""What detections of each class lie on instead: true positives, false positives, cross triggers.

Definitions: Bilen et al., "A Framework for the Robust Evaluation of Sound Event Detection",
ICASSP 2020 (arXiv:1910.08440), section 3.2.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from earmark.core.errors import ScoreError
from earmark.score.events import (
    TIME_DECIMALS,
    Events,
    Floats,
    Ints,
    check_clips,
    check_durations,
    sum_by,
    tidy,
)
from earmark.score.psds.criteria import Criteria, intersect
from earmark.score.psds.parameters import HOUR, PSDS2, PsdsParameters


@dataclass(frozen=True)
class CrossTriggers:
    """Counts and rates at one threshold.

    Args:
        labels: The C classes.
        counts: Detected class × class of the truth ``[C, C]``: true positives on the diagonal,
            cross triggers beside it. A cross trigger is a false positive too, and may lie on
            several classes.
        false_positives: All false positives of each class ``[C]``.
        true_events: Events of each class ``[C]``.
        tpr: True positives over events ``[C]``; NaN for a class without truth.
        fpr: False positives per hour of audio ``[C]``.
        ctr: Cross triggers per hour of truth of the other class ``[C, C]``; 0 on the diagonal, NaN
            where the other class has no truth.
        warnings: What was changed, in words.
    """

    labels: tuple[str, ...]
    counts: Ints
    false_positives: Ints
    true_events: Ints
    tpr: Floats
    fpr: Floats
    ctr: Floats
    warnings: tuple[str, ...]


def cross_triggers(
    detections: Events,
    truth: Events,
    durations: Mapping[str, float],
    labels: Sequence[str],
    parameters: PsdsParameters = PSDS2,
    *,
    decimals: int | None = TIME_DECIMALS,
) -> CrossTriggers:
    """Count what the detections of each class lie on.

    Args:
        detections: Detections by clip id.
        truth: Ground truth by clip id.
        durations: Seconds of each clip; names the clips that count.
        labels: The classes.
        parameters: Of which the tolerances are used; ``cttc`` must be given.
        decimals: Rounding of compared times; ``None`` compares as psds_eval does.

    Raises:
        ScoreError: If clips, classes or times do not fit together, or ``cttc`` is missing.
    """
    if parameters.cttc is None:
        raise ScoreError("cross triggers need cttc", hint="Take PSDS2 or set it.")
    check_clips(truth, durations, "truth", "durations")
    check_clips(detections, durations, "detections", "durations")
    check_durations(durations)
    clips, size = tuple(durations), len(labels)
    found, warnings = tidy(detections, clips, labels, "detections", merge=True)
    true, changed = tidy(truth, clips, labels, "truth", merge=True)
    criteria = Criteria(parameters.dtc, parameters.gtc, parameters.cttc)
    met = intersect(found, true, criteria, decimals)
    counts = np.zeros((size, size), dtype=np.int64)
    hit = true.label[met.hit]
    np.add.at(counts, (hit, hit), 1)
    np.add.at(counts, (found.label[met.trigger], met.triggered_by), 1)
    false = np.bincount(found.label[~met.relevant], minlength=size)
    events = np.bincount(true.label, minlength=size)
    hours = sum_by(true.label, true.seconds, size) / HOUR
    with np.errstate(divide="ignore", invalid="ignore"):
        tpr = np.diag(counts) / events
        ctr = np.where(hours > 0, counts / hours, np.nan)
    np.fill_diagonal(ctr, 0.0)
    total = sum(durations.values()) / HOUR
    return CrossTriggers(
        tuple(labels), counts, false, events, tpr, false / total, ctr, (*warnings, *changed)
    )
