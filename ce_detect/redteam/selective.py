"""Selective PGD: the classifier's gradient until it is fooled, then the detector's."""

from __future__ import annotations

import torch
from torch import Tensor

from ce_detect.redteam.descent import State, gradient, signs


class Selective:
    """One loss at a time, so that neither perturbs beyond what it needs; the margin losses do not saturate."""

    name = "selective-pgd"
    paper = "Bryniarski et al. 2022, arXiv 2106.15023"

    def direction(self, state: State) -> Tensor:
        """Follow the loss that is not met, see `Descent.direction`."""
        return signs(gradient(torch.where(state.margin < 0, state.excess, state.margin), state))
