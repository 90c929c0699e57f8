"""A target behind a treatment: the attacker knows that the image will be saved or scaled before it is judged."""

from __future__ import annotations

from copy import copy

import torch
from torch import Tensor

from ce_detect.core.types import Bounds
from ce_detect.data.corruptions import Corruption
from ce_detect.redteam.target import Joint, Target


class Treated:
    """Judges images as a treatment leaves them. Its gradient is that of the image itself (BPDA, Athalye et al. 2018).

    Args:
        target: what judges.
        treatment: what happens to each image before.
        seed: of what the treatment draws.
    """

    def __init__(self, target: Target, treatment: Corruption, seed: int) -> None:
        self.target, self.treatment, self.seed = target, treatment, seed
        self.bounds: Bounds = target.bounds

    @property
    def threshold(self) -> float:
        """That of the target."""
        return self.target.threshold

    @threshold.setter
    def threshold(self, value: float) -> None:
        self.target = copy(self.target)
        self.target.threshold = value

    def joint(self, x: Tensor) -> Joint:
        """Judge inputs after the treatment, see `ce_detect.redteam.target.Target.joint`."""
        made = self.treatment(x.detach().cpu().numpy(), bounds=self.bounds, seed=self.seed)
        return self.target.joint(x + (torch.from_numpy(made).to(x) - x).detach())
