"""The adversarial patch, with and without a target."""

from __future__ import annotations

from typing import Any

import numpy as np
from art.attacks import evasion

from ce_detect.attacks.art_estimator import Estimator
from ce_detect.core.types import Floats


class AdversarialPatchNumpy(evasion.AdversarialPatchNumpy):  # type: ignore[misc]
    """Returns attacked images rather than the patch, and also without a target; ART's other patch needs torchvision."""

    def __init__(self, classifier: Estimator, *, targeted: bool, **settings: Any) -> None:
        super().__init__(classifier, targeted=True, **settings)
        if not targeted:
            self.learning_rate *= -1

    def reset_patch(self, initial_patch_value: float) -> None:
        """Fill the patch with one value; ART takes no NumPy scalars, and passes one."""
        super().reset_patch(float(initial_patch_value))

    def generate(self, x: Floats, y: Floats | None = None) -> Floats:
        """Return images under one patch, each at a place, an angle and a scale of its own."""
        super().generate(x, self.estimator.labels(x) if y is None else y)
        return np.asarray(self.apply_patch(x, scale=None))
