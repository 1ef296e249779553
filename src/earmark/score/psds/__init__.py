"""PSDS over all thresholds: `psds` of score tables, `psds_of_detections`, `pi_psds`."""

from earmark.score.psds.accumulator import PsdsAccumulator
from earmark.score.psds.curves import Curve
from earmark.score.psds.independent import IndependentStatistics, pi_psds
from earmark.score.psds.parameters import HOUR, PSDS1, PSDS2, PsdsParameters
from earmark.score.psds.score import (
    detection_statistics,
    psds,
    psds_of_detections,
    psds_statistics,
)
from earmark.score.psds.statistics import OperatingPoints, PsdsResult, PsdsStatistics

__all__ = [
    "HOUR",
    "PSDS1",
    "PSDS2",
    "Curve",
    "IndependentStatistics",
    "OperatingPoints",
    "PsdsAccumulator",
    "PsdsParameters",
    "PsdsResult",
    "PsdsStatistics",
    "detection_statistics",
    "pi_psds",
    "psds",
    "psds_of_detections",
    "psds_statistics",
]
