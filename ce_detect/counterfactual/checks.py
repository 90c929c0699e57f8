"""What is wrong with the images before a training, and with its outcome: each told with its remedy."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np

from ce_detect.classifiers.base import Classifier
from ce_detect.core.errors import InputError
from ce_detect.core.types import Floats, Index
from ce_detect.counterfactual.model import Counterfactual
from ce_detect.counterfactual.settings import TrainingSettings
from ce_detect.data import Images
from ce_detect.data import tensors as inputs

LEVEL = 1 / 255
"""Change of a pixel, in parts of the range, below which an image file shows none."""

VANISHED = 0.5
"""Share of counterfactuals that change no pixel by a grey level, above which masks have vanished."""

ALIKE = 0.25
"""Deviation over images, of counterfactuals as a part of that of their images, below which they are all one."""

PATTERN = 0.98
"""Mean cosine between what two images are changed by, above which all of them get one pattern."""

REACHED = 0.5
"""Share of counterfactuals that are of the target class, below which the generator has not learned."""

_SHOWN = 256  # images that figures are of, at most


def before(images: Images, settings: TrainingSettings, classifier: Classifier | None) -> int:
    """Check images and labels, and return the number of classes.

    Raises:
        InputError: no labels, one class alone, classes without images, labels that the classifier does not have or does
            not agree with, images that are too few or smaller than the down-sampling.
    """
    if images.y is None:
        raise InputError("there are no labels: a counterfactual is trained on images and their classes, fit(x, y)")
    _check_size(images.pixels.shape[2:], settings.depth)
    if len(images) < 2 * settings.batch:
        raise InputError(
            f"{len(images)} images are too few for batches of {settings.batch}: give {2 * settings.batch} at least, or "
            "a smaller batch"
        )
    present = np.unique(images.y)
    if len(present) < 2:
        raise InputError(
            f"all {len(images)} labels are {present[0]}: a counterfactual shows an image as one of another class, so "
            "give images of two classes at least"
        )
    if present[0] < 0:
        raise InputError(f"labels from {present[0]} to {present[-1]}, expected class numbers from 0 on")
    if classifier is not None:
        return _check_agreement(images, classifier)
    if len(present) != present[-1] + 1:
        missing = np.setdiff1d(np.arange(present[-1] + 1), present)
        raise InputError(
            f"labels go up to {present[-1]}, but there is no image of class {missing[0]}: number the classes from 0 "
            "without gaps, y = numpy.unique(y, return_inverse=True)[1]"
        )
    return len(present)


def _check_size(sides: tuple[int, ...], depth: int) -> None:
    least = 2 ** (depth + 1)
    if min(sides) < least:
        fits = max((level for level in range(1, depth) if 2 ** (level + 1) <= min(sides)), default=0)
        remedy = f"take depth = {fits}" if fits else "resize them"
        raise InputError(
            f"images of {sides[0]} x {sides[1]} pixels are smaller than the down-sampling: halved {depth} times, sides "
            f"of {least} pixels at least are needed; {remedy}"
        )


def _check_agreement(images: Images, classifier: Classifier) -> int:
    """Number of classes of a classifier that agrees with the labels better than chance."""
    assert images.y is not None
    if images.y.max() >= classifier.num_classes:
        raise InputError(
            f"labels go up to {images.y.max()}, but the classifier has {classifier.num_classes} classes, numbered from "
            "0: give the labels that it was trained on"
        )
    some = slice(None, None, max(1, len(images) // _SHOWN))
    subset = images.subset(some)
    found = np.concatenate(
        [
            classifier.logits(part).argmax(1).cpu().numpy()
            for part in inputs.batches(subset.pixels, 64, classifier.device)
        ]
    )
    agreed, chance = float((found == subset.y).mean()), 1 / classifier.num_classes
    if agreed <= chance + 2 * math.sqrt(chance * (1 - chance) / len(found)):
        raise InputError(
            f"the labels do not match the classifier: it gives {agreed:.0%} of the images their label, where chance "
            f"gives {chance:.0%}. Compare the order of the classes, and preprocessing (mean, deviation, pixel range)"
        )
    return classifier.num_classes


def figures(made: Counterfactual, x: Floats, y: Index) -> dict[str, float]:
    """Figures of a trained pair on images that were held out.

    Returns:
        ``accuracy``: of the K classes. ``majority``: share of the largest class. ``reached``: share of counterfactuals
        that the K+1 network gives the target class. ``changed``: mean of the masks. ``unchanged``: share of
        counterfactuals without a pixel that changes by a grey level. ``alike``: deviation over the images, of
        counterfactuals as a part of that of the images. ``pattern``: mean cosine between the changes of two images.
        ``fakeness`` and ``fakeness_after``: means of the probability, of images and of counterfactuals.
    """
    x, y = x[:_SHOWN], y[:_SHOWN]
    low, high = made.bounds
    targets = (y + 1) % made.manifest.classes
    found = made.generate(x, targets)
    changes = (found.images - x) / (high - low)
    return {
        "accuracy": float((found.label == y).mean()),
        "majority": float(np.unique(y, return_counts=True)[1].max() / len(y)),
        "reached": float((found.label_after == targets).mean()),
        "changed": float(found.mask.mean()),
        "unchanged": float((np.abs(changes).max((1, 2, 3)) < LEVEL).mean()),
        "alike": float(found.images.std(0).mean() / max(float(x.std(0).mean()), 1e-9)),
        "pattern": _pattern(changes, targets),
        "fakeness": float(found.fakeness.mean()),
        "fakeness_after": float(found.fakeness_after.mean()),
    }


def _pattern(changes: Floats, targets: Index) -> float:
    """Mean cosine between the changes of two images with one target; 0 where there are no two."""
    found = []
    for target in np.unique(targets):
        flat = changes[targets == target].reshape(int((targets == target).sum()), -1)
        unit = flat / np.maximum(np.linalg.norm(flat, axis=1, keepdims=True), 1e-9)
        if (count := len(unit)) > 1:
            found.append((float(np.square(unit.sum(0)).sum()) - count) / (count * (count - 1)))
    return float(np.mean(found)) if found else 0.0


def after(found: Mapping[str, float]) -> tuple[str, ...]:
    """What went wrong in a training, by its `figures`, each with its remedy."""
    problems = []
    if found["accuracy"] <= found["majority"]:
        problems.append(
            "the labels do not match the images, or the training was too short: the network gives "
            f"{found['accuracy']:.0%} of held-out images their label, the largest class alone {found['majority']:.0%}. "
            "Look at some images with their labels; then ask for more steps"
        )
    if found["unchanged"] > VANISHED:
        problems.append(
            f"vanishing masks: {found['unchanged']:.0%} of counterfactuals change no pixel by a grey level. Lower the "
            "weights sparsity, cycle and identity, or raise adversarial"
        )
    elif found["reached"] < REACHED:
        problems.append(
            f"the generator does not convince: {found['reached']:.0%} of counterfactuals are of the class that was "
            "asked for. Ask for more steps, or lower sparsity, cycle and identity"
        )
    if found["alike"] < ALIKE or (found["pattern"] > PATTERN and found["unchanged"] <= VANISHED):
        problems.append(
            "mode collapse: counterfactuals of different images are alike (their deviation is "
            f"{found['alike']:.2f} of the images' own, the cosine of what changes {found['pattern']:.2f}). Raise cycle "
            "and sparsity, or lower rate"
        )
    return tuple(problems)
