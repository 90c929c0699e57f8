"""Inputs of people and cameras: images in any order, and frames that are near-copies of each other."""

from __future__ import annotations

import numpy as np
import torch

from benchmarks.face import Floats, fashion_cnn
from benchmarks.queries.attacks import Stream

FRAMES = 300


def labelled(x: Floats) -> Stream:
    """Images with the labels that the classifier gives."""
    with torch.inference_mode():
        return x, fashion_cnn().eval()(torch.from_numpy(x)).argmax(1).numpy()


def still(image: Floats, random: np.random.Generator) -> Floats:
    """A camera that does not move: noise of two grey levels, and light that flickers by one percent."""
    light = 1 + random.normal(0, 0.01, (FRAMES, 1, 1, 1))
    return _eight_bits(image * light + random.normal(0, 2 / 255, (FRAMES, *image.shape)))


def panned(image: Floats, random: np.random.Generator) -> Floats:
    """A camera that moves: steps of up to a tenth of a pixel, up to six pixels away, with the same noise."""
    path = np.cumsum(random.normal(0, 0.1, (FRAMES, 2)), axis=0).clip(-6, 6)
    moved = np.stack([_shifted(image, *place) for place in path])
    return _eight_bits(moved + random.normal(0, 2 / 255, moved.shape))


def _shifted(image: Floats, down: float, right: float) -> Floats:
    from scipy.ndimage import shift

    return np.asarray(shift(image, (0, down, right), order=1, mode="nearest"))


def _eight_bits(x: Floats) -> Floats:
    return (np.round(np.clip(x, 0, 1) * 255) / 255).astype(np.float32)


CAMERAS = {"still camera": still, "moving camera": panned}
"""Streams of frames by name."""
