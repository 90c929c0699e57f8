"""The gate: one module from inputs to verdicts."""

from __future__ import annotations

from torch import Tensor

from ce_detect.detector.detector import Detector, Verdict
from ce_detect.features.signature import Signature
from ce_detect.heads.base import Head


class GateModule(Detector):
    """Signature and detector in one module: differentiable up to the score, exportable as one graph.

    To judge many inputs fast, run it by `ce_detect.detector.inference.Inference`.

    Attributes:
        signature: inputs to logits and features.
        clean_only: a second detector on the same signature that no attack taught; `forward` leaves it alone. It judges
            by the distance from clean signatures, has a threshold of its own with the same promise, finds less, and
            assumes nothing about the attacker; its ``probability`` is NaN. None where the detector itself is that.
    """

    def __init__(
        self,
        signature: Signature,
        head: Head,
        *,
        clean_scores: Tensor,
        threshold: float,
        prevalence: float,
        clean_only: Detector | None = None,
    ) -> None:
        super().__init__(head, clean_scores=clean_scores, threshold=threshold, prevalence=prevalence)
        self.signature = signature
        self.clean_only = clean_only

    def forward(self, x: Tensor) -> Verdict:
        """Judge inputs ``(batch, channels, height, width)``."""
        return self.verdict(*self.signature(x))
