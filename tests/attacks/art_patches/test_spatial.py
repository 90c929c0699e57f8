"""Shifts and rotations: for each image the mildest that fools the classifier."""

from __future__ import annotations

import numpy as np
from support.attacks import FAST, labels

from ce_detect.attacks import Attack, art_adapter
from ce_detect.attacks.art_estimator import Estimator
from ce_detect.classifiers.segmented import TorchClassifier
from ce_detect.data import Images


def test_spatial_moves_each_image_by_itself(fashion: TorchClassifier, demo_images: Images) -> None:
    """What a movement does not fool stays as it is; what is fooled is what a mild movement of the image gives."""
    x = demo_images.x[:4]
    attack = Attack.of("spatial", **FAST["spatial"])
    built = art_adapter.build(attack, Estimator(fashion, access="decisions", unit=True), width=1.0, batch_size=4)
    movements = built._movements(28, 28)
    assert movements[0] == (0, 0, 0)
    assert len(movements) == 27
    assert {abs(down) for down, _, _ in movements} == {0, 3}, "10 % of 28 pixels, not of the one channel"
    attacked, before = built.generate(x), labels(fashion, x)
    for image, result, label in zip(x, attacked, before, strict=True):
        moved = np.concatenate([built._perturb(image[None], *movement) for movement in movements])
        fooling = np.flatnonzero(labels(fashion, moved) != label)
        expected = moved[fooling[0]] if len(fooling) else image
        np.testing.assert_allclose(result, expected, atol=1e-6)
