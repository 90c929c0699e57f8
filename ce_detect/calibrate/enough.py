"""Whether there are images enough for the promise that is asked for: told before any work is done."""

from __future__ import annotations

import itertools
import logging
import math
from typing import Any

from ce_detect.calibrate.settings import CalibrationSettings
from ce_detect.core.errors import TooFewSamplesError
from ce_detect.data import splits
from ce_detect.verdict import conformal

logger = logging.getLogger("ce_detect")

LEAST_CLEAN = 50
"""Clean images in *fit* below which no detector is learned."""


def check(count: int, settings: CalibrationSettings, *, of: str = "images") -> None:
    """Refuse what so many distinct images cannot give.

    Args:
        count: distinct images; or all of them, before it is known which are equal.
        settings: with the promise, and the recipe whose splits share the images.
        of: what errors call them.

    Raises:
        TooFewSamplesError: too few for the promise, or to learn from; says how many would do.
    """
    shares = settings.recipe.splits
    sizes = splits.sizes(count, shares)
    try:
        conformal.rank(sizes["calibrate"], settings.fpr, **_promise(settings))
    except TooFewSamplesError as error:
        reason = f"{error}. Of the {count} {of} given, the recipe keeps {shares['calibrate']:.0%} for the threshold"
        raise _too_few(reason, count, settings, _or_marginal(settings)) from None
    if sizes["fit"] < LEAST_CLEAN:
        reason = f"{sizes['fit']} of {count} {of} are left to learn from, at least {LEAST_CLEAN} are needed"
        raise _too_few(reason, count, settings)


def _too_few(reason: str, count: int, settings: CalibrationSettings, otherwise: str = "") -> TooFewSamplesError:
    """The error, with the number of images that would do."""
    needed = _needed(settings, settings.guarantee)
    message = f"{reason}: {needed} distinct images in all would do{otherwise}"
    return TooFewSamplesError(message, needed=needed, given=count)


def warn_of_the_largest(count: int, settings: CalibrationSettings) -> None:
    """Say so where the threshold will be the largest clean score, and what would help.

    Args:
        count: distinct images, enough for the promise.
        settings: with the promise, and the recipe whose splits share the images.
    """
    clean, promise = splits.sizes(count, settings.recipe.splits)["calibrate"], _promise(settings)
    if conformal.rank(clean, settings.fpr, **promise) < clean:
        return
    flagged = 1 - conformal.rank(clean, settings.fpr, guarantee="marginal") / clean
    logger.warning(
        "the threshold will be the largest of %d clean scores, so an attack must score above every one of them. "
        "With %d images in all it would flag half of the %.3g %% that you allow%s",
        clean, _with_so_many("calibrate", _flagging_half(settings), settings), 100 * settings.fpr,
        f". guarantee = 'marginal', which promises the rate on average only, flags {100 * flagged:.3g} % with these"
        if settings.guarantee == "pac" else "",
    )  # fmt: skip


def _promise(settings: CalibrationSettings) -> dict[str, Any]:
    return {"guarantee": settings.guarantee, "confidence": settings.confidence}


def _or_marginal(settings: CalibrationSettings) -> str:
    if settings.guarantee == "marginal":
        return ""
    needed = _needed(settings, "marginal")
    return f"; guarantee = 'marginal', which promises the rate on average only, needs {needed}"


def _needed(settings: CalibrationSettings, guarantee: conformal.Guarantee) -> int:
    """Smallest number of distinct images that would do."""
    samples = conformal.needed_samples(settings.fpr, guarantee=guarantee, confidence=settings.confidence)
    return max(_with_so_many(split, size, settings) for split, size in (("calibrate", samples), ("fit", LEAST_CLEAN)))


def _with_so_many(split: str, size: int, settings: CalibrationSettings) -> int:
    """Number of distinct images from which on a split gets so many; shares are rounded, so it is tried."""
    shares = settings.recipe.splits
    most = math.ceil((size + 1) / shares[split])
    return 1 + next(count for count in range(most, -1, -1) if splits.sizes(count, shares)[split] < size)


def _flagging_half(settings: CalibrationSettings) -> int:
    """Clean scores with which the threshold flags half of the rate that is allowed."""
    promise = _promise(settings)
    numbers = (conformal.needed_samples(settings.fpr, **promise) * k for k in itertools.count(1))
    return next(n for n in numbers if 1 - conformal.rank(n, settings.fpr, **promise) / n >= settings.fpr / 2)
