"""Logit matching: look like a clean image of another class, to the classifier and so perhaps to the detector."""

from __future__ import annotations

import torch
from torch import Tensor

from ce_detect.redteam.descent import State, gradient, signs
from ce_detect.redteam.joint_margin import FACTOR


class LogitMatching:
    """Squared distance to the logits of a clean image of another class, and the detector's hinge loss beside it.

    A detector that reads logits cannot tell the two apart by them. Tramèr et al. leave the detector out; what is left
    of it after matching is descended here too, with a weight that grows while the input is flagged.
    """

    name = "logit-matching"
    paper = "Tramer et al. 2020, arXiv 2002.08347, sections 5 to 7"

    def direction(self, state: State) -> Tensor:
        """Follow both losses, see `Descent.direction`."""
        mismatch = (state.seen.logits - state.anchor).square().mean(1)
        flagged = (state.margin < 0) & (state.excess > 0)
        state.weight = (state.weight * torch.where(flagged, FACTOR, 1 / FACTOR)).clamp(1e-3, 1e3)
        return signs(gradient(mismatch + state.weight * torch.relu(state.excess), state))


def anchors(logits: Tensor, labels: Tensor) -> Tensor:
    """For each image the logits of the other that has another label and is the least far away in logits.

    Args:
        logits: ``(n, classes)`` of clean images.
        labels: their decisions ``(n,)``.
    """
    distance = torch.cdist(logits, logits).masked_fill(labels[:, None] == labels[None], torch.inf)
    return logits[distance.argmin(1)]
