"""Our own detectors as `compare.py` sees them: the gates that ``detection.py`` left, one a budget."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from peers.protocol import Floats, Peer
from subjects import Subject

from ce_detect import DetectedModel
from ce_detect.calibrate.sets import AttackedSet
from ce_detect.data import Images

BUDGETS = (1.1, 1.5, 2.0, 4.5)


class Ours(Peer):
    """A gate that was calibrated with the same recipe, splits and seed; it is not fitted again.

    Args:
        subject: see `Subject`.
        budget: one of `BUDGETS`.
    """

    source = "this project"

    def __init__(self, subject: Subject, budget: float) -> None:
        self.name = f"ours-{budget:g}"
        self.title = f"ce-detect, budget {budget:g}"
        self.path = subject.artifact(budget)
        self._subject = subject

    def prepare(self, clean: Images, attacked: Mapping[str, AttackedSet]) -> None:
        """Load the gate."""
        guard = DetectedModel.load(self.path, self._subject.model())
        self.gate: Any = guard.gate
        self.settings = {"interventions": list(guard.manifest["signature"]["names"])}

    def features(self, x: torch.Tensor) -> Floats:
        """The gate's score."""
        with torch.inference_mode():
            step = self.gate.signature.chunk or len(x)
            return np.concatenate([self.gate.judge(part).score.cpu().numpy() for part in x.split(step)])[:, None]


def ours(subject: Subject) -> list[Ours]:
    """The gates of a subject that ``detection.py`` left."""
    found = [Ours(subject, budget) for budget in BUDGETS]
    return [gate for gate in found if gate.path.exists()]
