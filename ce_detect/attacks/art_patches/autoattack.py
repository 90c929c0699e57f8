"""AutoAttack, of parts that end in minutes."""

from __future__ import annotations

from typing import Any

import numpy as np
from art.attacks import evasion

from ce_detect.attacks.art_estimator import Estimator
from ce_detect.attacks.art_patches.square import SquareAttack
from ce_detect.core.types import Floats


class AutoAttack:
    """APGD on two losses, DeepFool and Square, each on the images that withstood those before it.

    ART's own class needs the undeclared package ``multiprocess``, fails for two classes, and takes hours with the
    settings it fixes. With targets it is APGD alone: the other two cannot be aimed.
    """

    def __init__(
        self, estimator: Estimator, *, eps: float, eps_step: float, max_iter: int, square_iter: int, targeted: bool,
        batch_size: int,
    ) -> None:  # fmt: skip
        self.estimator, self.eps, self.targeted = estimator, eps, targeted
        common: Any = {"batch_size": batch_size, "verbose": False}
        losses = ("cross_entropy", "difference_logits_ratio")[: 2 if estimator.nb_classes > 2 else 1]
        self.parts = [
            evasion.AutoProjectedGradientDescent(
                estimator, eps=eps, eps_step=eps_step, max_iter=max_iter, nb_random_init=1, loss_type=loss,
                targeted=targeted, **common,
            )
            for loss in losses
        ]  # fmt: skip
        if not targeted:
            gradients = min(10, estimator.nb_classes)
            self.parts += [
                evasion.DeepFool(estimator, max_iter=max_iter, epsilon=0.02, nb_grads=gradients, **common),
                SquareAttack(estimator, eps=eps, max_iter=square_iter, p_init=0.8, **common),
            ]

    def generate(self, x: Floats, y: Floats | None = None) -> Floats:
        """Return attacked images; ``y`` are target classes, one-hot."""
        wanted = self.estimator.labels(x) if y is None else y.argmax(1)
        attacked, left = x.copy(), np.arange(len(x))
        for part in self.parts:
            if not len(left):
                break
            moved = part.generate(x=x[left], y=None if y is None else y[left])
            labels = self.estimator.labels(moved)
            changed = labels == wanted[left] if self.targeted else labels != wanted[left]
            within = np.abs(moved - x[left]).max((1, 2, 3)) <= self.eps * (1 + 1e-4)
            attacked[left[changed & within]] = moved[changed & within]
            left = left[~(changed & within)]
        return attacked
