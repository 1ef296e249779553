"""The F1 family: collar, intersection, segment, tagging, at given or at the best thresholds."""

from earmark.score.f1.best import (
    BestF1Result,
    SweepStatistics,
    best_collar_statistics,
    best_f1,
    best_intersection_statistics,
    best_segment_statistics,
)
from earmark.score.f1.events import (
    F1Counts,
    F1Result,
    F1Statistics,
    collar_f1,
    collar_statistics,
    detections_from_scores,
    intersection_f1,
    intersection_statistics,
    segment_f1,
    segment_statistics,
)
from earmark.score.f1.tagging import tag_statistics, tagging_metrics, tagging_statistics

__all__ = [
    "BestF1Result",
    "F1Counts",
    "F1Result",
    "F1Statistics",
    "SweepStatistics",
    "best_collar_statistics",
    "best_f1",
    "best_intersection_statistics",
    "best_segment_statistics",
    "collar_f1",
    "collar_statistics",
    "detections_from_scores",
    "intersection_f1",
    "intersection_statistics",
    "segment_f1",
    "segment_statistics",
    "tag_statistics",
    "tagging_metrics",
    "tagging_statistics",
]
