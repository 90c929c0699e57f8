"""Our own detectors as `compare.py` sees them: the gates that ``detection.py`` left, one a budget."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import nn

from benchmarks.face import AttackedSet, Compiled, Images, Inference
from benchmarks.peers.protocol import Floats, Peer
from benchmarks.subjects.settings import BUDGETS
from benchmarks.subjects.subjects import Subject
from ce_detect import DetectedModel

CLEAN_ONLY_AT = 2.0
"""Budget at which the detector that no attack taught stands beside the others."""


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
        self._judge = Inference(guard.gate).judge
        self.settings = {"interventions": list(guard.manifest["signature"]["names"])}

    def features(self, x: torch.Tensor) -> Floats:
        """The gate's score."""
        with torch.inference_mode():
            step = self.gate.signature.chunk or len(x)
            return np.concatenate([self._judge(part).score.cpu().numpy() for part in x.split(step)])[:, None]


class CleanOnly(Ours):
    """The detector beside a gate that no attack taught, on the same signature."""

    def __init__(self, subject: Subject, budget: float) -> None:
        super().__init__(subject, budget)
        self.name = f"clean-only-{budget:g}"
        self.title = f"ce-detect, budget {budget:g}, no attacks"

    def prepare(self, clean: Images, attacked: Mapping[str, AttackedSet]) -> None:
        """Load the gate."""
        super().prepare(clean, attacked)
        self._run = Compiled(_Beside(self.gate))

    def features(self, x: torch.Tensor) -> Floats:
        """The score of the detector beside the gate."""
        with torch.inference_mode():
            step = self.gate.signature.chunk or len(x)
            return np.concatenate([self._run(part)[0].cpu().numpy() for part in x.split(step)])[:, None]


class _Beside(nn.Module):
    def __init__(self, gate: Any) -> None:
        super().__init__()
        self.signature, self.detector = gate.signature, gate.clean_only

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor]:
        return (self.detector.verdict(*self.signature(x)).score,)


def clean_only(subject: Subject) -> list[CleanOnly]:
    """The same without attacks, at `CLEAN_ONLY_AT`."""
    gate = CleanOnly(subject, CLEAN_ONLY_AT)
    return [gate] if gate.path.exists() else []


def ours(subject: Subject) -> list[Ours]:
    """The gates of a subject that ``detection.py`` left."""
    found = [Ours(subject, budget) for budget in BUDGETS]
    return [gate for gate in found if gate.path.exists()]
