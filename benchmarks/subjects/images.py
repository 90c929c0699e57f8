"""The images that the classifiers are shown; most are in the folder that ``CE_DETECT_DATA`` names."""

from __future__ import annotations

import gzip
import os
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.subjects.settings import SEED
from ce_detect import load_data

Arrays = tuple[NDArray[np.float32], NDArray[np.int64]]
"""Images ``(n, channels, height, width)`` in [0, 1] and their labels."""

PNEUMONIA_TRAINED = 1500
"""Images of PneumoniaMNIST's training split that its classifier was trained on, the first ones."""

FASHION = Path("/usr/share/datasets/fashion-mnist")
"""Where Debian's package ``dataset-fashion-mnist`` puts its files."""


def data_folder() -> Path:
    """Folder of the benchmark data, from ``CE_DETECT_DATA``."""
    folder = os.environ.get("CE_DETECT_DATA")
    if not folder:
        raise SystemExit("set CE_DETECT_DATA to the folder with cifar10.npz and weights/cifar10_resnet20.safetensors")
    return Path(folder)


def cifar10() -> Arrays:
    """The test images of CIFAR-10 in ``CE_DETECT_DATA``, in [0, 1]."""
    images = load_data(str(data_folder() / "cifar10.npz"), split="test")
    assert images.y is not None
    return images.x, images.y


def cifar10_training() -> NDArray[np.float32]:
    """The training images of CIFAR-10 in ``CE_DETECT_DATA``, in [0, 1]."""
    return load_data(str(data_folder() / "cifar10.npz"), split="train").x


def shuffled_imagenet(some: slice = slice(None)) -> Arrays:
    """The ImageNet sample, or some of it, in random order: its files are sorted by class.

    Args:
        some: which images are decoded.

    Returns:
        Images ``(n, 3, 224, 224)`` in [0, 1], the shorter side resized to 256 and the middle cropped, and labels.
    """
    from PIL import Image

    paths = sorted((data_folder() / "imagenet-sample").glob("*.JPEG"))
    paths = [paths[place] for place in np.random.default_rng(SEED).permutation(len(paths))[some]]
    x = np.empty((len(paths), 224, 224, 3), np.float32)
    for row, path in zip(x, paths, strict=True):
        with Image.open(path) as image:
            scale = 256 / min(image.size)
            resized = image.convert("RGB").resize(
                [round(side * scale) for side in image.size], Image.Resampling.BICUBIC
            )
        left, top = ((side - 224) // 2 for side in resized.size)
        row[:] = np.asarray(resized.crop((left, top, left + 224, top + 224))) / np.float32(255)
    labels = np.array([int(path.name[:4]) for path in paths])
    return np.ascontiguousarray(x.transpose(0, 3, 1, 2)), labels


def fashion_test() -> Arrays:
    """Test images of Fashion-MNIST ``(10,000, 1, 28, 28)`` in [0, 1] and labels, from Debian's package."""
    pixels, labels = idx_split(FASHION, "t10k")
    return pixels[:, None].astype(np.float32) / 255, labels.astype(np.int64)


def idx_split(folder: Path, name: str) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Grey levels ``(n, 28, 28)`` and labels of a split, ``train`` or ``t10k``, in a folder of MNIST's file format."""
    images, labels = (
        np.frombuffer(gzip.decompress((folder / f"{name}-{kind}-ubyte.gz").read_bytes()), np.uint8, offset=header)
        for kind, header in (("images-idx3", 16), ("labels-idx1", 8))
    )
    return images.reshape(-1, 28, 28), labels


def pneumonia_untrained() -> Arrays:
    """Images of PneumoniaMNIST ``(1,666, 1, 28, 28)`` that its classifier was not trained on, shuffled, and labels.

    The test split was collected otherwise than the training split (the classifier is a tenth less accurate there), so
    all that is left is pooled: calibration and judged images must come from one distribution.
    """
    with np.load(data_folder() / "pneumoniamnist.npz") as stored:
        parts = [
            (stored[f"{name}_images"][start:], stored[f"{name}_labels"][start:])
            for name, start in (("train", PNEUMONIA_TRAINED), ("val", 0), ("test", 0))
        ]
    pixels, labels = (np.concatenate(arrays) for arrays in zip(*parts, strict=True))
    order = np.random.default_rng(0).permutation(len(pixels))
    return pixels[order].reshape(-1, 1, 28, 28).astype(np.float32) / 255, labels[order].reshape(-1).astype(np.int64)
