"""Intersections: the criteria of PSDS at one threshold, or at each class's best one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from earmark.score.events import TIME_DECIMALS, EventArrays
from earmark.score.f1.counts import Owners
from earmark.score.psds.criteria import Criteria, intersect


@dataclass(frozen=True)
class IntersectionCriterion:
    """How much of a detection and of an event of its class must lie in the other.

    A detection that truth covers enough is not a false positive, even if it makes no event true.

    Args:
        dtc: Detection tolerance criterion ρ_DTC.
        gtc: Ground-truth intersection criterion ρ_GTC.
        decimals: Rounding of compared times; ``None`` compares as psds_eval does.
    """

    dtc: float = 0.5
    gtc: float = 0.5
    decimals: int | None = TIME_DECIMALS
    merge: ClassVar[bool] = True

    def count(
        self, detections: EventArrays, truth: EventArrays, clips: Sequence[str], labels: int
    ) -> tuple[Owners, Owners, Owners]:
        """Whose true positives, positives and events there are, at one threshold."""
        met = intersect(detections, truth, Criteria(self.dtc, self.gtc), self.decimals)
        hit, false = truth.at(met.hit), detections.at(~met.relevant)
        positive = np.append(false.clip, hit.clip), np.append(false.label, hit.label)
        return (hit.clip, hit.label), positive, (truth.clip, truth.label)
