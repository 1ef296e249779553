"""What is measured of a system, or of several, and how they compare."""

from earmark.score.report.compare import Comparison, compare_systems
from earmark.score.report.measurer import (
    Measurement,
    Measurer,
    measure_detections,
    measure_tables,
)
from earmark.score.report.summary import (
    across_seeds,
    compared_reports,
    evaluation_fingerprint,
    measure,
    report,
)
from earmark.score.report.task import ScoringTask, ends_of, make_task

__all__ = [
    "Comparison",
    "Measurement",
    "Measurer",
    "ScoringTask",
    "across_seeds",
    "compare_systems",
    "compared_reports",
    "ends_of",
    "evaluation_fingerprint",
    "make_task",
    "measure",
    "measure_detections",
    "measure_tables",
    "report",
]
