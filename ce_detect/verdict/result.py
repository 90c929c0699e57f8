"""What a gate answers; importing this imports no torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class GateResult:
    """Verdicts on a batch; arrays are of the caller's kind, NumPy or torch.

    Attributes:
        logits: ``(batch, classes)`` of the classifier.
        label: ``(batch,)`` the classifier's decision, or what a policy made of it.
        score: ``(batch,)`` larger = more adversarial.
        p_value: ``(batch,)`` conformal, in (0, 1]: share of clean inputs that look at least as adversarial.
        probability: ``(batch,)`` of being adversarial, at the prevalence stated in the recipe; NaN for a detector that
            never saw an attack.
        is_adversarial: ``(batch,)`` the verdict: ``score > threshold``.
        threshold: the calibrated threshold.
    """

    logits: Any
    label: Any
    score: Any
    p_value: Any
    probability: Any
    is_adversarial: Any
    threshold: float
