"""Polyphonic sound detection score, exact over all thresholds."""
