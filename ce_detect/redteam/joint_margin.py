"""Joint-loss Carlini-Wagner: both margins in one loss, with a weight that is found on the way."""

from __future__ import annotations

import torch
from torch import Tensor

from ce_detect.redteam.descent import State, gradient, signs

CONFIDENCE = 0.1
"""Margin that each of the two losses asks for, so that meeting one does not just undo the other."""

FACTOR = 1.25
"""What the weight is multiplied or divided by after a step, as the detector or the classifier is ahead."""


class JointMargin:
    """Hinge losses of classifier and detector, weighted.

    Carlini and Wagner search the weight in an outer loop; here each image adapts its own in every step, which spends
    no steps on weights that do not work.
    """

    name = "joint-cw"
    paper = "Carlini and Wagner 2017, arXiv 1705.07263, as EvadeML uses it against detectors"

    def direction(self, state: State) -> Tensor:
        """Follow both losses, see `Descent.direction`."""
        fooled, passes = state.margin < 0, state.excess <= 0
        factor = torch.where(fooled & ~passes, FACTOR, torch.where(~fooled & passes, 1 / FACTOR, 1.0))
        state.weight = (state.weight * factor).clamp(1e-3, 1e3)
        loss = torch.relu(state.margin + CONFIDENCE) + state.weight * torch.relu(state.excess + CONFIDENCE)
        return signs(gradient(loss, state))
