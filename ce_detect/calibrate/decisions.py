"""What the classifier decides, and which attacks changed it."""

from __future__ import annotations

import numpy as np
import torch

from ce_detect.attacks.generation import AttackedSet
from ce_detect.classifiers.base import Classifier
from ce_detect.core.types import Index
from ce_detect.data import Pixels, tensors

BATCH = 128
"""Images that the classifier decides on at a time."""


def decisions(classifier: Classifier, x: Pixels) -> Index:
    """Labels ``(n,)`` that the classifier gives images."""
    labels, done = np.empty(len(x), np.int64), 0  # many small arrays would scatter over the memory that batches need
    with torch.inference_mode():
        for batch in tensors.batches(x, BATCH, classifier.device):
            labels[done : done + len(batch)] = classifier.logits(batch).argmax(1).cpu().numpy()
            done += len(batch)
    return labels


def successes(classifier: Classifier, attacked: dict[str, AttackedSet], labels: Index) -> dict[str, AttackedSet]:
    """Keep what changed the classifier's decision.

    Args:
        classifier: what was attacked.
        attacked: attacked images by name of the attack.
        labels: its decisions ``(n,)`` on the clean images.
    """
    return {
        name: twins.subset(decisions(classifier, twins.pixels) != labels[twins.index])
        for name, twins in attacked.items()
    }
