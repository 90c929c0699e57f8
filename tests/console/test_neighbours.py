"""The nearest clean image."""

from __future__ import annotations

import numpy as np

from ce_detect.console.neighbours import Neighbours
from ce_detect.data import Images, load_data


def test_a_changed_image_finds_itself() -> None:
    """Each of some images, with noise on it, is nearest to what it was; also from other bounds."""
    images = load_data("demo", limit=120)
    x, noise = images.x, np.random.default_rng(0).normal(0, 0.05, images.x.shape).astype(np.float32)
    for found in (Neighbours(images), Neighbours(Images(x * 255, bounds=(0.0, 255.0)))):
        for place in range(0, 120, 7):
            np.testing.assert_allclose(found.nearest((x + noise)[place].clip(0, 1)), x[place], atol=1e-5)


def test_images_of_another_size() -> None:
    """They are compared, too, if only small."""
    images = load_data("demo", limit=20)
    found = Neighbours(images).nearest(np.repeat(np.repeat(images.x[3], 2, axis=1), 2, axis=2))
    np.testing.assert_array_equal(found, images.x[3])
