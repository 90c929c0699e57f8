"""A mixture shows each image once, plain or changed."""

from __future__ import annotations

import numpy as np
from support.corrupted import UNIT, colour

from ce_detect.data.corruptions import Corruption, mixture

TWO = (Corruption("brightness", 2), Corruption("contrast"))


def test_mixture_shows_each_image_once() -> None:
    """With the share as asked, images appear plain or under one corruption, whatever else is in the batch."""
    x = np.concatenate([colour(), colour()[:, ::-1], colour()[:, :, ::-1], colour()[..., ::-1]])
    mixed = mixture(x, TWO, share=0.5, bounds=UNIT, seed=0)
    kinds = [x, *(corruption(x, bounds=UNIT, seed=0) for corruption in TWO)]
    is_of = np.array([(mixed == variant).all((1, 2, 3)) for variant in kinds])
    assert (is_of.sum(0) == 1).all()
    assert is_of.any(1).all()
    np.testing.assert_array_equal(mixture(x[5:9], TWO, share=0.5, bounds=UNIT, seed=0), mixed[5:9])
    np.testing.assert_array_equal(mixture(x, TWO, share=0.0, bounds=UNIT, seed=0), x)
    assert (mixture(x, TWO, share=1.0, bounds=UNIT, seed=0) != x).any((1, 2, 3)).all()


def test_shares_are_those_asked_for() -> None:
    """Of many images a quarter is changed, and each corruption happens as often as the other."""
    x = np.random.default_rng(0).integers(0, 128, (800, 1, 2, 2)).astype(np.float32) / 255
    mixed = mixture(x, (Corruption("flip"), Corruption("vignette", 2)), share=0.25, bounds=UNIT, seed=0)
    darker = (mixed.sum((1, 2, 3)) < x.sum((1, 2, 3)) - 0.01).mean()  # a flip moves light, a vignette takes it
    same = np.isclose(mixed, x, atol=1e-6).all((1, 2, 3)).mean()
    assert 0.7 < same < 0.8
    assert 0.4 < darker / (1 - same) < 0.6


def test_none_of_no_images() -> None:
    """An empty batch stays one."""
    assert mixture(colour()[:0], TWO, share=0.5, bounds=UNIT, seed=0).shape == (0, 3, 28, 28)
