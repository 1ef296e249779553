"""The F1 family: collar, intersection, segment, tagging, best thresholds."""
