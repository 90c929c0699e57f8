"""Learn from clean images of the *fit* split how early sites follow from the deepest one."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from ce_detect.classifiers.base import Classifier
from ce_detect.core.types import Floats
from ce_detect.data import tensors
from ce_detect.data.lazy import Pixels, rows
from ce_detect.features.layer_consistency import LayerConsistency, pool

MOST_IMAGES = 2000
"""Clean images to learn from, at most."""

RIDGE = 0.1
"""Ridge penalty on standardised inputs, relative to the number of images."""


def fitted(classifier: Classifier, x: Pixels) -> LayerConsistency | None:
    """Learn to predict each site's pooled features from those of the deepest one.

    Args:
        classifier: whose sites they are.
        x: clean images ``(n, channels, height, width)``.

    Returns:
        What was learned; None where there are no images, or fewer than two sites.
    """
    if len(classifier.sites) < 2 or not len(x):
        return None
    pooled: list[list[Floats]] = [[] for _ in classifier.sites]
    with torch.inference_mode():
        for images in tensors.batches(rows(x, slice(MOST_IMAGES)), 128, classifier.device):
            latents = classifier.trace(images).latents
            for kept, site in zip(pooled, classifier.sites, strict=True):
                kept.append(pool(latents[site]).float().cpu().numpy())
    return from_pooled(classifier.sites, [np.concatenate(kept) for kept in pooled]).to(classifier.device)


def from_pooled(sites: tuple[str, ...], pooled: list[NDArray[np.floating]]) -> LayerConsistency:
    """Learn from clean images.

    Args:
        sites: see `LayerConsistency`.
        pooled: for each site what `pool` gives, ``(n, width)``.
    """
    made = LayerConsistency(sites, tuple(part.shape[1] for part in pooled))
    rows = np.concatenate(pooled, axis=1).astype(np.float64)
    center, scale = rows.mean(0), rows.std(0)
    scale = np.where(scale > 1e-6 * np.abs(center) + 1e-12, scale, 1.0)
    standard = (rows - center) / scale
    deep = made.widths[-1]
    early, late = standard[:, :-deep], standard[:, -deep:]
    grams = late.T @ late + RIDGE * len(rows) * np.eye(deep)
    weight = np.linalg.solve(grams, late.T @ early)
    error = np.sqrt(np.square(early - late @ weight).mean(0)) + 1e-3
    for name, value in (("center", center), ("scale", scale), ("weight", weight), ("error", error)):
        made.get_buffer(name).copy_(torch.from_numpy(value))
    return made
