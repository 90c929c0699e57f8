"""RISE: the masks, and the mean of them."""

from __future__ import annotations

import torch
from support.models import tiny_classifier, tiny_images

from ce_detect.explain.methods.rise import RISE


def test_the_map_is_the_mean_of_masks_weighted_by_probabilities() -> None:
    """Mask by mask, as equation 6 has it."""
    classifier, x = tiny_classifier("plain"), tiny_images("plain", 1)
    rise = RISE(masks=20, seed=3)
    masks = rise._drawn(20, 16, 16, torch.Generator().manual_seed(3))
    mean = x.mean((2, 3), keepdim=True)
    expected = torch.zeros(16, 16)
    for mask in masks:
        with torch.no_grad():
            p = classifier.logits(mask * x + (1 - mask) * mean).softmax(1)[0, 1]
        expected += p * mask / (20 * 0.5)
    torch.testing.assert_close(rise.maps(classifier, x, [1])[0], expected, rtol=1e-4, atol=1e-5)


def test_masks_are_smooth_and_show_about_half() -> None:
    """In [0, 1], all different, with a mean of ``keep``."""
    masks = RISE()._drawn(200, 16, 16, torch.Generator().manual_seed(0))
    assert float(masks.min()) >= 0.0
    assert float(masks.max()) <= 1.0
    assert abs(float(masks.mean()) - 0.5) < 0.03
    assert len({tuple(mask.flatten().tolist()) for mask in masks}) == 200
