"""Images, and the classifiers that are trained on them: plain, with noise, K+1, augmented, and adversarially.

A kind that ends with `EQUAL` is trained until it is as often right without attack as the K+1 network of `LONGER` steps.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import safetensors.torch
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from benchmarks.explain.cracks import patches
from benchmarks.face import atomic, cache_folder, counterfactual, kplusone_networks
from benchmarks.program import progress
from benchmarks.subjects.images import Arrays, data_folder
from ce_detect import load_data

RADIUS = 8
"""Of adversarial training, in grey levels of 255, where its kind names none."""

STEPS_OF_ATTACK = 7
"""Of adversarial training (Madry et al. 2018)."""

KINDS = ("plain", "plain, noise", "K+1", "K+1 augmented", "adversarial")
"""Kinds of training."""

LONGER, LONG, LONG_AUGMENTED = 1500, "K+1, 1500 steps", "K+1 augmented, 1500 steps"
"""Steps of a longer training, and its names."""

EQUAL = ", equally right"

MATCHED_KINDS = ("plain", "plain, noise", "adversarial", "adversarial at 4")
"""Kinds that are trained until they are equally often right. With the smaller radius more is right without attack."""

EQUALS = (LONG, LONG_AUGMENTED, *(f"{kind}{EQUAL}" for kind in MATCHED_KINDS))
"""Kinds that are equally often right without attack, where that is reached within `MOST` steps."""

MATCHED = slice(200, 1200)
"""Test images by which that is told; none of them is attacked."""

NEAR, EVERY, MOST = 0.005, 10, 4000
"""Difference of the shares at which a training ends, steps between two looks, and the most steps."""

CIFAR_CLASSES = (0, 1, 8)
"""Airplane, automobile, ship."""


@dataclass(frozen=True)
class Subject:
    """Images to train on and to test with, and how the pair is trained.

    Attributes:
        name: of the result files.
        title: in words.
        images: training and test images.
        settings: of the training; the classifiers that are no pair have its architecture, steps and batches.
    """

    name: str
    title: str
    images: Callable[[], tuple[Arrays, Arrays]]
    settings: dict[str, float | int | bool]


def _cracks() -> tuple[Arrays, Arrays]:
    first, other = patches(test=False), patches(test=True)
    return (first.x, first.y), (other.x, other.y)


def _pneumonia() -> tuple[Arrays, Arrays]:
    """Training split, and test split: collected otherwise, so that there are mistakes to doubt."""
    parts = [load_data(str(data_folder() / "pneumoniamnist.npz"), split=split) for split in ("train", "test")]
    order = np.random.default_rng(0).permutation(len(parts[1]))
    return (parts[0].x, _labels(parts[0].y)), (parts[1].x[order], _labels(parts[1].y)[order])


def _cifar() -> tuple[Arrays, Arrays]:
    """Three classes."""
    found = []
    for split in ("train", "test"):
        part = load_data(str(data_folder() / "cifar10.npz"), split=split)
        y = _labels(part.y)
        kept = np.isin(y, CIFAR_CLASSES)
        found.append((part.x[kept], np.searchsorted(CIFAR_CLASSES, y[kept])))
    return found[0], found[1]


def _labels(y: object) -> np.ndarray:
    return np.asarray(y).reshape(-1).astype(np.int64)


_SMALL: dict[str, float | int | bool] = {"batch": 16, "width": 8, "depth": 2, "mirror": True, "noise": 0.02}
SUBJECTS = {
    one.name: one
    for one in (
        Subject("cracks", "CrackForest patches", _cracks,
                {**_SMALL, "steps": 400, "sparsity": 10.0, "cycle": 1.0, "identity": 10.0}),
        Subject("pneumonia", "PneumoniaMNIST", _pneumonia, {**_SMALL, "steps": 400}),
        Subject("cifar", "CIFAR-10, three classes", _cifar, {**_SMALL, "steps": 400}),
    )
}  # fmt: skip
"""What is trained on, by name."""

AUGMENT = 1.0
"""Weight of learning from counterfactuals as adversarial examples."""


def pair(  # type: ignore[no-untyped-def]
    subject: Subject,
    *,
    seed: int = 0,
    augment: float = 0.0,
    steps: int | None = None,
    told: Callable[..., None] = progress,
):
    """A trained K+1 network and generator; what was trained before is in the cache."""
    (x, y), _ = subject.images()
    longer = {} if steps is None else {"steps": steps}
    asked = counterfactual.TrainingSettings(**{**subject.settings, "seed": seed, "augment": augment, **longer})
    return counterfactual.fit(x, y, asked, progress=told)


def classifier(subject: Subject, kind: str, *, seed: int = 0, told: Callable[..., None] = progress) -> nn.Module:
    """A classifier in eval mode; what was trained before is in the cache.

    Args:
        subject: what it is trained on.
        kind: of the training, of `KINDS` or `EQUALS`.
        seed: of the training.
        told: called with what is trained, and how many steps of how many are done, after each step.
    """
    if kind.startswith("K+1"):
        augment = AUGMENT if "augmented" in kind else 0.0
        longer = LONGER if kind in (LONG, LONG_AUGMENTED) else None
        return pair(subject, seed=seed, augment=augment, steps=longer, told=told).classifier
    (x, y), other = subject.images()
    width, depth = int(subject.settings["width"]), int(subject.settings["depth"])
    torch.manual_seed(seed)
    made = kplusone_networks.kplusone(None, x.shape[1], int(y.max()) + 1, width=width, depth=depth, bounds=(0.0, 1.0))
    model = kplusone_networks.ClassLogits(made)
    path = cache_folder() / "benchmarks-counterfactual" / f"{subject.name}-{kind}-{seed}.safetensors"
    if path.exists():
        made.load_state_dict(safetensors.torch.load_file(path))
    else:
        apart = None
        if kind.endswith(EQUAL):
            wanted = _share_right(classifier(subject, LONG, seed=seed), other)
            apart = partial(_apart, images=other, wanted=wanted)
        _train(model, torch.from_numpy(x), torch.from_numpy(y), subject, kind.removesuffix(EQUAL), told, apart)
        _keep(path, made)
    return model.eval().requires_grad_(False)


def _keep(path: Path, module: nn.Module) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    atomic.write(path, safetensors.torch.save(module.state_dict()))


@torch.no_grad()
def _share_right(model: nn.Module, images: Arrays) -> float:
    """Of the `MATCHED` images."""
    x, y = torch.from_numpy(images[0][MATCHED]), torch.from_numpy(images[1][MATCHED])
    return float((torch.cat([model(part).argmax(1) for part in x.split(100)]) == y).float().mean())


def _apart(model: nn.Module, images: Arrays, wanted: float) -> float:
    """How far a model in training is from being right as often as wanted."""
    found = abs(_share_right(model.eval(), images) - wanted)
    model.train()
    return found


def _train(
    model: nn.Module, x: Tensor, y: Tensor, subject: Subject, kind: str, told: Callable[..., None],
    apart: Callable[[nn.Module], float] | None,
) -> None:  # fmt: skip
    """As many steps and images as the K+1 network sees, with all classes alike; with its noise, where that is asked.

    With a distance that is to be small, until it is; at the latest after `MOST` steps, and then what came nearest.
    """
    steps, batch = int(subject.settings["steps"]) if apart is None else MOST, int(subject.settings["batch"])
    nearest, kept = math.inf, None
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    rows = [torch.nonzero(y == label)[:, 0] for label in range(int(y.max()) + 1)]
    for step in range(steps):
        labels = torch.randint(len(rows), (batch,))
        images = x[torch.stack([rows[label][torch.randint(len(rows[label]), ())] for label in labels.tolist()])]
        images = torch.where(torch.rand(batch, 1, 1, 1) < 0.5, images.flip(3), images)
        shown = _attacked(model, images, labels, _radius(kind)) if kind.startswith("adversarial") else images
        if kind.endswith("noise"):
            shown = shown + float(subject.settings["noise"]) * torch.rand(batch, 1, 1, 1) * torch.randn(images.shape)
        optimizer.zero_grad()
        cross_entropy(model(shown), labels).backward()
        optimizer.step()
        told(f"training {subject.name}", step + 1, steps)
        if apart is not None and (step + 1) % EVERY == 0 and (found := apart(model)) < nearest:
            nearest, kept = found, copy.deepcopy(model.state_dict())
            if nearest <= NEAR:
                break
    if kept is not None:
        model.load_state_dict(kept)


def _radius(kind: str) -> float:
    """Of an adversarial training, in pixel values."""
    _, at, named = kind.partition(" at ")
    return (int(named) if at else RADIUS) / 255


def _attacked(model: nn.Module, x: Tensor, labels: Tensor, radius: float) -> Tensor:
    """PGD from a random start."""
    moved = (x + radius * (2 * torch.rand_like(x) - 1)).clamp(0, 1)
    for _ in range(STEPS_OF_ATTACK):
        leaf = moved.detach().requires_grad_()
        (slope,) = torch.autograd.grad(cross_entropy(model(leaf), labels), leaf)
        moved = (moved + radius / 4 * slope.sign()).clamp(x - radius, x + radius).clamp(0, 1).detach()
    return moved
