"""Verdicts, what becomes of flagged inputs, and thresholds with a promise; NumPy alone."""
