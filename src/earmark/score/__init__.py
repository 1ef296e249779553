"""Measures of detection: PSDS over all thresholds and the F1 family, in NumPy alone."""
