"""Whether images, labels and model fit together: a classifier near chance was given something else than it expects."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from ce_detect.classifiers.base import Classifier
from ce_detect.classifiers.normalization import IMAGENET_MEAN, IMAGENET_STD
from ce_detect.core.types import Index
from ce_detect.data import Images, Pixels, rows, tensors

logger = logging.getLogger("ce_detect")

GOOD_ACCURACY = 0.9
"""Accuracy from which nothing is looked for."""

LEAST_IMAGES = 50
"""Labelled images below which nothing is said of the accuracy."""

TRIED_IMAGES = 500
"""Images on which alternatives are tried, at most."""

HELPS = 0.15
"""Gain in accuracy from which an alternative is named."""

CHANCE = 0.05
"""Accuracy above that of the most frequent label up to which a classifier is no better than a constant answer."""

ONE_LABEL = 0.95
"""Share of one label among the decisions from which a classifier of many classes is suspected."""

ALL_RIGHT = 0.998
"""Accuracy from which the images are suspected of having been trained on."""

MANY = 200
"""Labelled images from which such an accuracy says something."""

OVERCONFIDENT = 0.3
"""Confidence above accuracy from which one of the two is suspected; a calibrated classifier has both equal."""

UNSURE = 0.5
"""Mean confidence below which unlabelled images are suspected of being read wrongly."""

LEAST_A_CLASS = 10
"""Images a class below which classes are not matched with others."""

_ONCE = "normalise once (what wraps the model seems to do what the model does itself)"


@dataclass(frozen=True, slots=True)
class _Alternative:
    """Another preprocessing that the model may expect: how to say it, and how to do it."""

    remedy: str
    apply: Callable[[Tensor], Tensor]


def check(classifier: Classifier, images: Images, decided: Index) -> None:
    """Warn where the decisions make no sense, with the likely reason.

    Args:
        classifier: the wrapped model.
        images: all images of a calibration.
        decided: ``(n,)`` the classifier's decisions on them.
    """
    y = images.y
    if y is None or y.ndim != 1:
        _check_without_labels(classifier, images, decided)
        return
    _check_label_range(y, classifier.num_classes)
    accuracy = float(np.mean(decided == y))
    if accuracy >= ALL_RIGHT and len(y) >= MANY:
        _warn_of_training_images(accuracy, len(y))
    if accuracy >= GOOD_ACCURACY or len(y) < LEAST_IMAGES:
        return
    renumbered = _renumbered(decided, y, classifier.num_classes)
    if _check_preprocessing(classifier, images, decided, least=renumbered):
        return
    if renumbered > accuracy + HELPS:
        logger.warning(
            "the classifier's accuracy on these images is %.0f %%, but %.0f %% if the classes are numbered in another "
            "order: compare the order of the labels with that of the model's outputs",
            100 * accuracy, 100 * renumbered,
        )  # fmt: skip
    elif accuracy <= np.bincount(y - y.min()).max() / len(y) + CHANCE:
        logger.warning(
            "the classifier's accuracy on these images is %.0f %%, no better than a constant answer. Likely the model "
            "expects preprocessing that is not inside it (ce_detect.Normalized), or numbers its classes "
            "in another order", 100 * accuracy,
        )  # fmt: skip
    elif (confidence := _confidence(classifier, images)) > accuracy + OVERCONFIDENT:
        logger.warning(
            "the classifier's accuracy on these images is %.0f %%, but its mean confidence is %.0f %%. It is sure and "
            "wrong: look whether the labels belong to these images, and whether it was trained on images like them",
            100 * accuracy, 100 * confidence,
        )  # fmt: skip


def _warn_of_training_images(accuracy: float, count: int) -> None:
    logger.warning(
        "the classifier is right on %.4g %% of these %d images. Was it trained on them? Then it is surer of them than "
        "of new ones, and the threshold would flag more of those than you allow. Calibrate with images that it was not "
        "trained on; if these are such images, all is well", 100 * accuracy, count,
    )  # fmt: skip


def _check_without_labels(classifier: Classifier, images: Images, decided: Index) -> None:
    if _check_one_label(decided, classifier.num_classes):
        return
    confidence = _confidence(classifier, images)
    low = " That is low: are pixels scaled and normalised as it expects?" if confidence < UNSURE else ""
    logger.warning(
        "the images have no labels, so nothing can tell whether the model reads them rightly. Its mean confidence on "
        "them is %.0f %%.%s Labels y of some images would have that checked, and bring figures of accuracy. Without "
        "them all else is as it should be", 100 * confidence, low,
    )  # fmt: skip


def _confidence(classifier: Classifier, images: Images) -> float:
    """Mean probability of the decided label, on some of the images."""
    some = np.unique(np.linspace(0, len(images) - 1, TRIED_IMAGES).astype(int))
    with torch.inference_mode():
        batches = tensors.batches(rows(images.pixels, some), 128, classifier.device)
        found = [_top_probability(classifier, classifier.logits(batch)) for batch in batches]
    return float(torch.cat(found).mean())


def _top_probability(classifier: Classifier, logits: Tensor) -> Tensor:
    top = logits.sigmoid() if classifier.multi_label else logits.softmax(1)
    return top.amax(1)


def _check_one_label(decided: Index, classes: int) -> bool:
    """Warn where nearly all images get one label; return whether they do."""
    label, count = max(zip(*np.unique(decided, return_counts=True), strict=True), key=lambda found: found[1])
    if count > ONE_LABEL * len(decided):
        logger.warning(
            "the classifier gives %.0f %% of the images the label %d, of %d. That is normal where other classes are "
            "rare; else check that pixels are scaled as it expects, and pass the labels y to have that checked",
            100 * count / len(decided), label, classes,
        )  # fmt: skip
    return bool(count > ONE_LABEL * len(decided))


def _check_label_range(y: Index, classes: int) -> None:
    if y.min() < 0 or y.max() >= classes:
        logger.warning(
            "the labels run from %d to %d, but the classes of the model from 0 to %d: figures of accuracy will be off",
            y.min(), y.max(), classes - 1,
        )  # fmt: skip


def _check_preprocessing(classifier: Classifier, images: Images, decided: Index, *, least: float) -> bool:
    """Warn where the classifier does better with pixels of another scale; return whether it does.

    Args:
        classifier: the wrapped model.
        images: all images, with labels.
        decided: ``(n,)`` its decisions on them.
        least: accuracy below which another reason is likelier.
    """
    assert images.y is not None
    some = np.unique(np.linspace(0, len(images.y) - 1, TRIED_IMAGES).astype(int))
    y, sample = images.y[some], rows(images.pixels, some)
    tried = {one.remedy: _accuracy(classifier, sample, y, one.apply) for one in _alternatives(classifier, sample)}
    remedy = max(tried, key=lambda name: tried[name])
    if tried[remedy] <= float(np.mean(decided[some] == y)) + HELPS or tried[remedy] < least:
        return False
    logger.warning(
        "the classifier's accuracy on these images is %.0f %%, but %.0f %% on %d of them if you %s",
        100 * float(np.mean(decided == images.y)), 100 * tried[remedy], len(some), remedy,
    )  # fmt: skip
    return True


def _alternatives(classifier: Classifier, sample: Pixels) -> list[_Alternative]:
    low, high = classifier.bounds
    x = np.asarray(sample)
    mean, std = x.mean((0, 2, 3)), x.std((0, 2, 3)) + 1e-6
    found = [
        _Alternative("divide the pixels by 255", lambda x: x / 255),
        _Alternative("multiply the pixels by 255", lambda x: x * 255),
        _Alternative("scale the pixels to [-1, 1]: " + _wrapper((low + high) / 2, (high - low) / 2, 1.0),
                     lambda x: 2 * (x - low) / (high - low) - 1),
        _Alternative("normalise by mean and standard deviation; those of these images are "
                     + _wrapper(mean.round(4).tolist(), std.round(4).tolist(), 1.0), _normalise(mean, std, 1.0)),
        _Alternative(_ONCE, _undo(mean, std, 1.0)),
    ]  # fmt: skip
    if x.shape[1] == 3:
        scale = 1 / (high - low)
        found.append(_Alternative(f"{_ONCE}, as for ImageNet", _undo(IMAGENET_MEAN, IMAGENET_STD, scale)))
        found.append(
            _Alternative(
                "normalise as for ImageNet: " + _wrapper(IMAGENET_MEAN, IMAGENET_STD, scale),
                _normalise(IMAGENET_MEAN, IMAGENET_STD, scale),
            )
        )
    return found


def _wrapper(mean: Any, std: Any, scale: float) -> str:
    factor = "" if scale == 1 else f", scale={scale:.6g}"
    return f"ce_detect.Normalized(model, mean={mean}, std={std}{factor})"


def _normalise(mean: ArrayLike, std: ArrayLike, scale: float) -> Callable[[Tensor], Tensor]:
    shift, width = _a_channel(mean), _a_channel(std)
    return lambda x: (scale * x - shift.to(x.device)) / width.to(x.device)


def _undo(mean: ArrayLike, std: ArrayLike, scale: float) -> Callable[[Tensor], Tensor]:
    """What normalising turns into the images themselves, so that of two normalisations one is left."""
    shift, width = _a_channel(mean), _a_channel(std)
    return lambda x: (scale * x * width.to(x.device) + shift.to(x.device)) / scale


def _a_channel(value: ArrayLike) -> Tensor:
    return torch.tensor(np.asarray(value), dtype=torch.float32).reshape(-1, 1, 1)


def _accuracy(classifier: Classifier, x: Pixels, y: Index, apply: Callable[[Tensor], Tensor]) -> float:
    with torch.inference_mode():
        batches = tensors.batches(x, 128, classifier.device)
        decided = torch.cat([classifier.logits(apply(batch)).argmax(1).cpu() for batch in batches])
    return float(np.mean(decided.numpy() == y))


def _renumbered(decided: Index, y: Index, classes: int) -> float:
    """Accuracy under the best one-to-one renumbering of classes; 0 where there are too few images to tell."""
    if len(y) < LEAST_A_CLASS * classes or y.min() < 0 or y.max() >= classes:
        return 0.0
    counts = np.zeros((classes, classes))
    np.add.at(counts, (y, decided), 1)
    matched = linear_sum_assignment(counts, maximize=True)
    return float(counts[matched].sum() / len(y))
