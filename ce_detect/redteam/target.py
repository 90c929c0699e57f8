"""What is attacked: a classifier and a detector together.

The attackers keep their books on the CPU. A target computes on its own device and answers where it was asked.
"""

from __future__ import annotations

from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from ce_detect.classifiers.base import Classifier
from ce_detect.core.types import Bounds
from ce_detect.detector.detector import Detector
from ce_detect.detector.gate import GateModule


class Joint(NamedTuple):
    """What a target makes of inputs.

    Attributes:
        logits: ``(batch, classes)`` of the classifier.
        score: ``(batch,)`` of the detector, larger = more adversarial; above the threshold exactly where it flags.
    """

    logits: Tensor
    score: Tensor


class Target(Protocol):
    """A classifier behind a detector.

    Attributes:
        threshold: score above which an input is flagged.
        bounds: smallest and largest valid pixel value.
    """

    threshold: float
    bounds: Bounds

    def joint(self, x: Tensor) -> Joint:
        """Judge inputs ``(batch, channels, height, width)``, with a gradient as far as there is one."""
        ...


class Gated:
    """A calibrated gate as a target, with its own detector or another on the same signature."""

    def __init__(self, gate: GateModule, detector: Detector | None = None) -> None:
        self.gate = gate
        self.detector = gate if detector is None else detector
        self.threshold = float(self.detector.threshold)
        self.bounds: Bounds = gate.signature.classifier.bounds

    def joint(self, x: Tensor) -> Joint:
        """Judge inputs, see `Target.joint`."""
        logits, features = self.gate.signature(x.to(self.gate.threshold.device))
        return Joint(logits.to(x.device), self.detector.head.near(features, self.threshold).to(x.device))


class Alone:
    """A classifier that nothing watches, as a target: every input passes."""

    threshold = 0.0

    def __init__(self, classifier: Classifier) -> None:
        self.classifier = classifier
        self.bounds: Bounds = classifier.bounds

    def joint(self, x: Tensor) -> Joint:
        """Judge inputs, see `Target.joint`; the score is the threshold."""
        logits = self.classifier.logits(x.to(self.classifier.device)).to(x.device)
        return Joint(logits, logits.new_zeros(len(logits)))


def margin(logits: Tensor, labels: Tensor) -> Tensor:
    """Logit of the label above the largest other logit, ``(batch,)``; below 0 the classifier is fooled.

    The loss of Carlini and Wagner (2017); it does not saturate as cross-entropy does.
    """
    own = logits.gather(1, labels[:, None]).squeeze(1)
    others = logits.masked_fill(torch.nn.functional.one_hot(labels, logits.shape[1]).bool(), -torch.inf)
    return own - others.amax(1)
