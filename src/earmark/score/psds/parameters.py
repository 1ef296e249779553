"""What a PSDS is measured with, and the settings of DCASE Task 4 by name."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from earmark.core.errors import ScoreError
from earmark.score.psds.criteria import Criteria

HOUR = 3600.0


@dataclass(frozen=True)
class PsdsParameters:
    """What a PSDS is measured with; a value without them means nothing.

    Args:
        dtc: Detection tolerance criterion ρ_DTC.
        gtc: Ground-truth intersection criterion ρ_GTC.
        cttc: Cross-trigger tolerance criterion ρ_CTTC; needed only if ``alpha_ct`` > 0.
        alpha_ct: Weight of cross triggers in the effective false-positive rate.
        alpha_st: Weight of the standard deviation over classes.
        max_efpr: Effective false positives per hour up to which the curve is integrated.
        ct_mean: Over how many classes cross triggers are averaged: the C - 1 ``"others"``, or all
            C, as psds_eval did before 0.5 (``"old"``). Values published with the old mean are
            higher; it is here to reproduce them.
    """

    dtc: float
    gtc: float
    cttc: float | None = None
    alpha_ct: float = 0.0
    alpha_st: float = 0.0
    max_efpr: float = 100.0
    ct_mean: Literal["others", "old"] = "others"

    def __post_init__(self) -> None:
        for name in ("dtc", "gtc", "cttc"):
            value = getattr(self, name)
            if value is not None and not 0 < value <= 1:
                raise ScoreError(f"PSDS parameter {name} is {value}", hint="It must be in (0, 1].")
        if self.alpha_ct > 0 and self.cttc is None:
            raise ScoreError("PSDS with alpha_ct > 0 needs cttc")
        if not (self.alpha_ct >= 0 and self.alpha_st >= 0 and 0 < self.max_efpr < math.inf):
            raise ScoreError("PSDS needs alpha_ct ≥ 0, alpha_st ≥ 0 and a finite max_efpr > 0")
        if self.ct_mean not in ("others", "old"):
            raise ScoreError(
                f"PSDS parameter ct_mean is {self.ct_mean}", hint="It must be others or old."
            )

    @property
    def criteria(self) -> Criteria:
        """The tolerances that counting needs; no cross triggers if they have no weight."""
        return Criteria(self.dtc, self.gtc, self.cttc if self.alpha_ct > 0 else None)

    def trigger_weight(self, classes: int) -> float:
        """What one cross trigger per hour adds to the eFPR, of ``classes`` that have truth."""
        if classes < 2 or not self.alpha_ct:
            return 0.0
        return self.alpha_ct / (classes - 1 if self.ct_mean == "others" else classes)


PSDS1 = PsdsParameters(dtc=0.7, gtc=0.7, cttc=None, alpha_ct=0.0, alpha_st=1.0)
"""DCASE Task 4, scenario 1: rewards precise times."""

PSDS2 = PsdsParameters(dtc=0.1, gtc=0.1, cttc=0.3, alpha_ct=0.5, alpha_st=1.0)
"""DCASE Task 4, scenario 2: rewards the right class."""
