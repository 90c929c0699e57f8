"""Train the classifier of cracks that explanations are held against: patches of road with labels, no pixel's truth.

    CE_DETECT_DATA=... python -m benchmarks.explain.cracks

Patches of 64 x 64 grey pixels of the photographs of CrackForest (Shi et al. 2016, research only) that have a ground
truth, scaled to half of their sides. A patch has a crack where at least 64 of its pixels are marked, none where none
is. Others are left out. Every third photograph is kept for the test. The plain CNN of PneumoniaMNIST learns from the
labels alone. Weights go to the cache: they are made of images that are for research only.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.torch
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from benchmarks.face import atomic, cache_folder
from benchmarks.program import parser, progress
from benchmarks.subjects.images import data_folder
from benchmarks.subjects.networks import pneumonia_architecture

SIDE = 64
"""Side of a patch, in pixels."""

MARKED = 64
"""Fewest marked pixels of a patch that has a crack."""

CRACK = 2
"""Value of the pixels of a crack in the ground truth."""

BATCH = 32


@dataclass(frozen=True)
class Patches:
    """Patches of some photographs.

    Attributes:
        x: ``(n, 1, 32, 32)`` in [0, 1].
        y: 1 where there is a crack.
        truth: ``(n, 32, 32)``, true where at least two of the four pixels are marked.
    """

    x: NDArray[np.float32]
    y: NDArray[np.int64]
    truth: NDArray[np.bool_]


def main() -> None:
    program = parser(__doc__)
    program.add_argument("--epochs", type=int, default=5)
    options = program.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    model = trained(patches(test=False), options.epochs)
    weights_path().parent.mkdir(parents=True, exist_ok=True)
    atomic.write(weights_path(), safetensors.torch.save(model.state_dict()))
    test = patches(test=True)
    with torch.inference_mode():
        labels = torch.cat([model(part).argmax(1) for part in torch.from_numpy(test.x).split(64)]).numpy()
    found = [(labels == test.y)[test.y == kind].mean() for kind in (0, 1)]
    print(f"{len(test.y)} test patches, {test.y.mean():.0%} with cracks")
    print(f"right: without a crack {found[0]:.3f}, with one {found[1]:.3f}")


def patches(*, test: bool) -> Patches:
    """Patches of the photographs that serve the test, or of the others."""
    from PIL import Image
    from scipy.io import loadmat

    folder = data_folder() / "crackforest"
    parts: list[tuple[NDArray[np.float32], int, NDArray[np.bool_]]] = []
    for number, path in enumerate(sorted((folder / "groundTruth").glob("*.mat"))):
        if (number % 3 == 0) != test:
            continue
        truth = loadmat(path)["groundTruth"][0, 0]["Segmentation"] == CRACK
        with Image.open(folder / "image" / f"{path.stem}.jpg") as image:
            grey = np.asarray(image.convert("L"), np.float32) / 255
        tops, lefts = (range(0, side - SIDE + 1, SIDE) for side in grey.shape)
        for top, left in product(tops, lefts):
            marked = truth[top : top + SIDE, left : left + SIDE]
            if not 0 < marked.sum() < MARKED:
                parts.append((grey[None, top : top + SIDE, left : left + SIDE], int(marked.any()), marked))
    x, y, marks = zip(*parts, strict=True)
    order = np.random.default_rng(0).permutation(len(y))
    return Patches(_halved(np.stack(x)[order]), np.array(y)[order], _halved(np.stack(marks)[order]) >= 0.5)


def _halved(images: NDArray[Any]) -> NDArray[np.float32]:
    """Means of two by two pixels."""
    *first, height, width = images.shape
    means: NDArray[np.float32] = images.reshape(*first, height // 2, 2, width // 2, 2).mean((-3, -1), dtype=np.float32)
    return means


def trained(images: Patches, epochs: int) -> nn.Module:
    """A classifier of these patches, in eval mode."""
    model = pneumonia_architecture().train()
    x, y = torch.from_numpy(images.x), torch.from_numpy(images.y)
    steps = epochs * (len(x) // BATCH)
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3, weight_decay=1e-2)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=3e-3, total_steps=steps)
    weight = 1 / torch.bincount(y).float()
    for epoch in range(epochs):
        for rows in torch.randperm(len(x))[: len(x) // BATCH * BATCH].split(BATCH):
            loss = cross_entropy(model(_turned(x[rows])), y[rows], weight=weight)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
        progress("training on cracks", epoch + 1, epochs)
    return model.eval()


def _turned(x: Tensor) -> Tensor:
    """A batch mirrored and turned by a quarter or not, and lighter or darker."""
    x = x.flip(3) if torch.rand(()) < 0.5 else x
    x = x.flip(2) if torch.rand(()) < 0.5 else x
    x = x.transpose(2, 3) if torch.rand(()) < 0.5 else x
    return (x * (0.8 + 0.4 * torch.rand(len(x), 1, 1, 1))).clamp(0, 1)


def weights_path() -> Path:
    """Where the weights are left."""
    return cache_folder() / "explain" / "crack_cnn.safetensors"


def crack_cnn() -> nn.Module:
    """The classifier, in eval mode."""
    if not weights_path().exists():
        raise SystemExit("train the crack classifier first: python -m benchmarks.explain.cracks")
    model = pneumonia_architecture()
    model.load_state_dict(safetensors.torch.load_file(weights_path()))
    return model.eval()


if __name__ == "__main__":
    main()
