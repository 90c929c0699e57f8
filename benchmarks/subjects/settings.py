"""Settings that every program shares, and the subjects by name; importing this imports no torch."""

from __future__ import annotations

NAMES = ("cifar10-resnet20", "cifar10-resnet32", "cifar10-vit", "fashion", "pneumonia", "imagenet-lite0")
"""Subjects in the order of the tables."""

FILES = (*NAMES, "imagenet-lite0-400")
"""Those that are judged on images as they arrive."""

SEED = 0

FPR = 0.05
"""The false-positive rate that is asked for."""

BUDGETS = (1.1, 1.5, 2.0, 4.5)
"""Budgets of the gates that ``detection.py`` leaves for other programs."""

CASCADED = 1.5
"""Budget of the gate with a cascade that ``cascade.py`` leaves."""

BATCHES = (1, 8, 32)
"""Batch sizes at which costs are measured."""
