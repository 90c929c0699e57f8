"""What the red team may do."""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from ce_detect.core.errors import UsageError
from ce_detect.data.corruptions import Corruption

Sizes = NDArray[np.float64]
"""Sizes of perturbations in the maximum norm: bounds that are tried, or what images took."""

MOVING = ("crop", "shift", "flip", "rotation", "perspective", "screen")
"""Natural changes after which a pixel is somewhere else: the gradient of the image itself says nothing about them."""

RESOLUTION = 1.09
"""Largest ratio of neighbouring levels: a radius is known to within it."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What the red team may do.

    Attributes:
        least, most: smallest and largest bound on the change of a pixel, in parts of the pixel range.
        steps: gradient steps of each attack at each bound.
        restarts: how often all attacks are tried again from random starts.
        queries: queries of the score-based black-box attack an image.
        decisions: images that the decision-based black-box attack tries; each takes about 2,000 queries.
        within: bounds within which the score is made as low as can be, in parts of the pixel range; may be empty.
        then: kinds of `ce_detect.data.corruptions.Corruption`, such as ``"jpeg 2"``, that the attacker expects. For
            each the score after it is made as low as can be, too. A function of yours is taken at its word: it must
            leave pixels where they are.
        seed: seed of all that is random.

    Raises:
        UsageError: a bound that makes no sense, a treatment that moves pixels, or one without a bound in `within`.
        CalibrationError: there is no such treatment.
    """

    least: float = 1 / 255 / 256
    most: float = 16 / 255
    steps: int = 100
    restarts: int = 0
    queries: int = 500
    decisions: int = 8
    within: tuple[float, ...] = (2 / 255, 4 / 255, 8 / 255)
    then: tuple[str, ...] = ()
    seed: int = 0

    def __post_init__(self) -> None:
        if not 0 < self.least < self.most <= 1:
            raise UsageError(
                f"eps from {self.least:g} to {self.most:g}: expected a smaller and a larger part of the pixel range, "
                "such as 1/65280 and 16/255"
            )
        if wrong := [eps for eps in self.within if not 0 < eps <= 1]:
            raise UsageError(f"a bound of {wrong[0]:g}: expected a part of the pixel range, such as 8/255")
        if self.then and not self.within:
            raise UsageError(f"then = {self.then!r} without a bound to attack within; name one such as 8/255")
        for treatment in self.treatments:
            if treatment.kind in MOVING:
                raise UsageError(
                    f"{treatment.name!r} moves pixels, so an attack has no gradient through it; expected a kind such "
                    "as 'jpeg 2' or 'shrink'"
                )

    @property
    def treatments(self) -> tuple[Corruption, ...]:
        """What `then` names.

        Raises:
            CalibrationError: no such kind or severity.
        """
        return tuple(map(_treatment, self.then))

    @property
    def levels(self) -> Sizes:
        """Bounds that are tried, ascending, in parts of the pixel range, each `RESOLUTION` times the last or less."""
        count = math.ceil(math.log(self.most / self.least) / math.log(RESOLUTION)) + 1
        return np.geomspace(self.least, self.most, count)


def _treatment(text: str) -> Corruption:
    """From a kind, and a severity where one is named."""
    kind, _, severity = text.rpartition(" ")
    return Corruption(kind, int(severity)) if kind and severity.isdecimal() else Corruption(text)


def fraction(text: str) -> float:
    """Read a length such as ``"8/255"`` or ``"0.03"``.

    Raises:
        UsageError: not a positive number or fraction.
    """
    try:
        found = float(Fraction(text))
    except (ValueError, ZeroDivisionError):
        found = 0.0
    if not found > 0:
        raise UsageError(f"{text!r} is not a positive number or fraction such as 8/255")
    return found
