"""The background of SHAP signatures: the mean penultimate activation of clean images of the *fit* split."""

from __future__ import annotations

import torch

from ce_detect.classifiers.base import PENULTIMATE, Classifier
from ce_detect.data import tensors
from ce_detect.data.lazy import Pixels, rows
from ce_detect.features.shapley import ShapleyValues

MOST_IMAGES = 2000
"""Clean images in the background, at most."""


def fitted(classifier: Classifier, x: Pixels) -> ShapleyValues | None:
    """Take the background from clean images; attacked ones never enter it.

    Args:
        classifier: whose last layer is looked at.
        x: clean images ``(n, channels, height, width)``.

    Returns:
        What gives the values; None where there are no images, or no linear last layer that can be found.
    """
    weight = classifier.head_weight
    if weight is None or not len(x):
        return None
    made = ShapleyValues(classifier, weight.shape[1]).to(classifier.device)
    some = rows(x, slice(MOST_IMAGES))
    total = torch.zeros_like(made.background, dtype=torch.float64, device="cpu")
    with torch.inference_mode():
        for images in tensors.batches(some, 128, classifier.device):
            total += classifier.trace(images, (PENULTIMATE,)).latents[PENULTIMATE].cpu().double().sum(0)
    made.background.copy_(total / len(some))
    return made
