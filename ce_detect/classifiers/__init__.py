"""The seam to any model: `base` says what a classifier is, `torch` wraps PyTorch modules."""
