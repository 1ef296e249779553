"""The F1 family: collar, intersection, segment, tagging, at given or at the best thresholds."""

from earmark.score.f1.best import BestF1Result, SweepStatistics, best_f1, best_statistics
from earmark.score.f1.collars import CollarCriterion
from earmark.score.f1.counts import F1Counts, F1Result, F1Statistics
from earmark.score.f1.errors import ErrorResult, ErrorStatistics, error_statistics
from earmark.score.f1.events import (
    collar_f1,
    detections_from_scores,
    f1_statistics,
    intersection_f1,
    segment_f1,
)
from earmark.score.f1.intersections import IntersectionCriterion
from earmark.score.f1.segments import SegmentCriterion
from earmark.score.f1.tagging import tag_statistics, tagging_metrics, tagging_statistics

__all__ = [
    "BestF1Result",
    "CollarCriterion",
    "ErrorResult",
    "ErrorStatistics",
    "F1Counts",
    "F1Result",
    "F1Statistics",
    "IntersectionCriterion",
    "SegmentCriterion",
    "SweepStatistics",
    "best_f1",
    "best_statistics",
    "collar_f1",
    "detections_from_scores",
    "error_statistics",
    "f1_statistics",
    "intersection_f1",
    "segment_f1",
    "tag_statistics",
    "tagging_metrics",
    "tagging_statistics",
]
