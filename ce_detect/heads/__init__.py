"""Scoring heads: from a signature to a score, as tensors."""
