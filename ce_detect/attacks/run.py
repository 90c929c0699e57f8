"""From an attack and a classifier to attacked images."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from torch import nn

from ce_detect.attacks.attack import Attack
from ce_detect.attacks.custom import IDENTITY
from ce_detect.classifiers.base import Classifier
from ce_detect.core.errors import CalibrationError
from ce_detect.core.types import Bounds, Floats

_ROUNDING = 1e-4
"""Share of the pixel range by which an image that a function returns may miss the bounds; it is clipped."""

_BATCH = 64
"""Images that are labelled in one batch for a function."""


def run(attack: Attack, classifier: Classifier, x: Floats, *, batch_size: int) -> Floats:
    """Attack images, away from the labels that the classifier gives them.

    ART and functions draw from the global generators of Python, NumPy and torch; seed them for a repeatable result.

    Args:
        attack: what is done.
        classifier: the classifier under attack.
        x: ``(n, channels, height, width)`` float32, within the bounds.
        batch_size: images attacked at a time.

    Returns:
        Attacked images of the same shape, within the bounds.

    Raises:
        CalibrationError: too few classes, settings that ART refuses, or a function that fails or returns something else
            than images.
    """
    with _as_it_was(classifier):
        if attack.function is not None:
            return _call(attack.function, attack, classifier, x)
        from ce_detect.attacks import art_adapter  # ART takes seconds to import, and functions do without

        return art_adapter.run(attack, classifier, x, batch_size=batch_size)


@contextlib.contextmanager
def _as_it_was(classifier: Classifier) -> Iterator[None]:
    """Undo what attacks do to the weights, which the user's model shares: they stop or leave gradients there."""
    parameters = list(classifier.parameters()) if isinstance(classifier, nn.Module) else []
    before = [(parameter.requires_grad, parameter.grad) for parameter in parameters]
    try:
        yield
    finally:
        for parameter, (trainable, gradient) in zip(parameters, before, strict=True):
            parameter.requires_grad_(trainable)
            parameter.grad = gradient


def _call(function: Callable[..., Any], attack: Attack, classifier: Classifier, x: Floats) -> Floats:
    """Call the user's function on images and on the classifier's labels for them, and check what it returns.

    Raises:
        CalibrationError: it raised, or returned something else than images of the same shape within the bounds.
    """
    images = torch.from_numpy(x.copy()).to(classifier.device)
    with torch.no_grad():
        labels = torch.cat([classifier.logits(batch).argmax(1) for batch in images.split(_BATCH)])
    settings = {key: value for key, value in attack.settings if key not in IDENTITY}
    try:
        with torch.enable_grad():
            attacked = function(classifier, images, labels, **settings)
    except Exception as error:
        raise CalibrationError(f"attack {attack.name!r} raised {type(error).__name__}: {error}") from error
    if isinstance(attacked, torch.Tensor):
        attacked = attacked.detach().cpu().numpy()
    return _checked(attack.name, attacked, x, classifier.bounds)


def _checked(name: str, attacked: object, x: Floats, bounds: Bounds) -> Floats:
    if not isinstance(attacked, np.ndarray) or not np.issubdtype(attacked.dtype, np.number):
        kind = f"an array of {attacked.dtype}" if isinstance(attacked, np.ndarray) else type(attacked).__name__
        raise CalibrationError(f"attack {name!r} returned {kind}, expected a tensor or an array of numbers")
    if attacked.shape != x.shape:
        raise CalibrationError(
            f"attack {name!r} returned shape {attacked.shape}, expected {x.shape}, that of its images"
        )
    if not np.isfinite(attacked).all():
        count = int((~np.isfinite(attacked)).any(axis=(1, 2, 3)).sum())
        raise CalibrationError(f"attack {name!r} returned NaN or infinity in {count} of {len(x)} images")
    low, high = bounds
    slack = _ROUNDING * (high - low)
    if attacked.min() < low - slack or attacked.max() > high + slack:
        raise CalibrationError(
            f"attack {name!r} returned pixels from {attacked.min():g} to {attacked.max():g}, expected "
            f"{low:g} to {high:g}; clip them: .clamp(*classifier.bounds)"
        )
    return np.clip(attacked.astype(np.float32), np.float32(low), np.float32(high))
