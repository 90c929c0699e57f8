"""Attacks that are functions of the user's: found, told apart, called and checked."""

from __future__ import annotations

import functools
import hashlib
import inspect
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ce_detect.classifiers.base import Classifier
from ce_detect.core.errors import CalibrationError, UsageError
from ce_detect.core.types import Setting
from ce_detect.storage.importing import find

_ROUNDING = 1e-4
"""Share of the pixel range by which a returned image may miss the bounds; it is clipped."""


IDENTITY = frozenset({"source", "version"})
"""Settings that tell a function from others with its name, and are not passed on to it."""


def load(name: str) -> Callable[..., Any]:
    """Return the function that a name stands for.

    Raises:
        CalibrationError: there is no such module, file or function.
    """
    try:
        return find(name)
    except UsageError as error:
        raise CalibrationError(f"attack {name!r} cannot be found: {error}") from error


def place(function: Callable[..., Any]) -> str:
    """Name of a function for cache keys and tables: its module and its own name, with dots."""
    inner: Any = function.func if isinstance(function, functools.partial) else function
    named = inner if hasattr(inner, "__qualname__") else type(inner)
    return f"{named.__module__}.{named.__qualname__}"


def check_settings(kind: str, settings: Mapping[str, object]) -> None:
    """Refuse settings that a recipe cannot hold, or that are kept for other use.

    Raises:
        CalibrationError: such a setting.
    """
    for key, value in settings.items():
        if key in {"kind", *IDENTITY} or not isinstance(value, bool | int | float | str):
            raise CalibrationError(
                f"{key} = {value!r} of attack {kind!r}: settings are numbers, strings and bools, and none is called "
                "kind, source or version"
            )


def digest(function: Callable[..., Any], kind: str) -> str:
    """Tell a function by its source.

    Raises:
        CalibrationError: its source cannot be had, or does not tell everything.
    """
    try:
        source = inspect.getsource(function) if inspect.isfunction(function) else None
    except (OSError, TypeError):
        source = None
    if source is None or getattr(function, "__closure__", None):
        raise CalibrationError(
            f"attack {kind!r} cannot be told by its source (a closure, a functools.partial, an object, or typed at a "
            "prompt), so attacked images could not be kept: give it a version, Attack.custom(..., version='1'), and "
            "another one whenever it changes; or pass values as settings of a plain function"
        )
    return hashlib.sha256(source.encode()).hexdigest()[:16]


def run(
    function: Callable[..., Any], name: str, settings: Mapping[str, Setting], classifier: Classifier,
    x: NDArray[np.float32],
) -> NDArray[np.float32]:  # fmt: skip
    """Call the function on images and on the classifier's labels for them, and check what it returns.

    Raises:
        CalibrationError: it raised, or returned something else than images of the same shape within the bounds.
    """
    import torch

    images = torch.from_numpy(x.copy()).to(classifier.device)
    with torch.no_grad():
        labels = torch.cat([classifier.logits(batch).argmax(1) for batch in images.split(64)])
    try:
        with torch.enable_grad():
            attacked = function(classifier, images, labels, **settings)
    except Exception as error:
        raise CalibrationError(f"attack {name!r} raised {type(error).__name__}: {error}") from error
    if isinstance(attacked, torch.Tensor):
        attacked = attacked.detach().cpu().numpy()
    return _checked(name, attacked, x, classifier.bounds)


def _checked(name: str, attacked: object, x: NDArray[np.float32], bounds: tuple[float, float]) -> NDArray[np.float32]:
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
