"""Orthogonal PGD: each loss along the part of its gradient that leaves the other as it is."""

from __future__ import annotations

import torch
from torch import Tensor

from ce_detect.redteam.descent import State, gradient, normalized


class Orthogonal:
    """Selective PGD with the gradients projected orthogonal to each other.

    Steps follow the projected gradient itself, since its signs would no longer be orthogonal.
    """

    name = "orthogonal-pgd"
    paper = "Bryniarski et al. 2022, arXiv 2106.15023"

    def direction(self, state: State) -> Tensor:
        """Follow the loss that is not met, see `Descent.direction`."""
        classifier = gradient(state.margin, state, again=True)
        detector = gradient(state.excess, state)
        fooled = (state.margin < 0).view(-1, 1, 1, 1)
        wanted, kept = torch.where(fooled, detector, classifier), torch.where(fooled, classifier, detector)
        along = (wanted * kept).sum((1, 2, 3), keepdim=True) / kept.square().sum((1, 2, 3), keepdim=True).clamp_min(
            1e-30
        )
        return normalized(wanted - along * kept)
