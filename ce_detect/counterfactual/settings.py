"""What a training is asked for."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from ce_detect.core.errors import CalibrationError


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingSettings:
    """How the K+1 network and the generator are trained.

    Attributes:
        steps: of each of the two optimisers.
        batch: images in a step.
        width: channels of the first layers; each halving of the image doubles them.
        depth: how often the networks halve the image.
        rate: step size of Adam, for both networks.
        adversarial: weight of the loss by which a counterfactual is to be of the target class and not "fake".
        cycle: weight of the mean absolute difference between an image and the way there and back.
        identity: weight of the same between an image and its counterfactual for the class that it has.
        sparsity: weight of the mean absolute difference between an image and its counterfactual (L1).
        r1: weight of the penalty on the gradient of fakeness at real images (R1, Mescheder et al. 2018, arXiv
            1801.04406); 0 for none.
        augment: weight of the loss by which the K+1 network gives a counterfactual the label of the image that it was
            made of, among the K classes: counterfactuals as adversarial examples that it learns from. 0 for none.
        noise: largest size of Gaussian noise that training adds to real images and counterfactuals alike, in parts of
            the pixel range. Each image gets a size of its own. It keeps the network from telling them apart by grain.
        decay: of the moving average of all weights, which is what is kept.
        mirror: whether training images are mirrored at random, as is right where left and right mean nothing.
        frozen: whether a classifier of one's own stays as it is, so that nothing but the output "fake" is trained.
        seed: of weights, order of images and targets.
    """

    steps: int = 1500
    batch: int = 32
    width: int = 16
    depth: int = 2
    rate: float = 1e-3
    adversarial: float = 1.0
    cycle: float = 5.0
    identity: float = 5.0
    sparsity: float = 5.0
    r1: float = 0.1
    augment: float = 0.0
    noise: float = 0.0
    decay: float = 0.995
    mirror: bool = False
    frozen: bool = False
    seed: int = 0

    def __post_init__(self) -> None:
        for name, (least, most, whole) in _RANGES.items():
            value = getattr(self, name)
            kind = int if whole else int | float
            if isinstance(value, bool) or not isinstance(value, kind) or not least <= value <= most:
                number = "a whole number" if whole else "a number"
                ends = f"of at least {least:g}" if math.isinf(most) else f"from {least:g} to {most:g}"
                raise CalibrationError(f"{name} = {value!r} of a training is not {number} {ends}")
        for name in ("mirror", "frozen"):
            if not isinstance(getattr(self, name), bool):
                raise CalibrationError(f"{name} = {getattr(self, name)!r} of a training is not True or False")

    def plain(self) -> dict[str, Any]:
        """Plain data, as artifacts hold it."""
        return dataclasses.asdict(self)


_WEIGHT = (0, math.inf, False)
_RANGES = MappingProxyType(
    {
        "steps": (1, math.inf, True), "batch": (2, math.inf, True), "width": (1, 1024, True), "depth": (1, 8, True),
        "rate": (1e-8, 1.0, False), "adversarial": _WEIGHT, "cycle": _WEIGHT, "identity": _WEIGHT,
        "sparsity": _WEIGHT, "r1": _WEIGHT, "augment": _WEIGHT, "noise": (0, 1, False), "decay": (0, 0.99999, False),
        "seed": (0, math.inf, True),
    }
)  # fmt: skip
"""Least, most, and whether it is whole."""
