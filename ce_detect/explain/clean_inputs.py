"""Clean inputs of the same class beside what is explained: how far their effects go, and how one of them looks."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ce_detect.data import tensors, validation
from ce_detect.data.lazy import Pixels
from ce_detect.detector.gate import GateModule

LEAST = 20
"""Clean inputs of a class, below which nothing is said of how far their effects go."""


@dataclass(frozen=True, slots=True)
class CleanInputs:
    """Clean inputs with what a gate sees of them.

    Attributes:
        pixels: ``(n, channels, height, width)``.
        features: signatures ``(n, features)``.
        label: the classifier's decisions ``(n,)``.
        score: scores ``(n,)``.
    """

    pixels: Pixels
    features: Tensor
    label: Tensor
    score: Tensor

    def of_class(self, label: int) -> Tensor:
        """Signatures ``(m, features)`` of those with this decision; none where they are fewer than `LEAST`."""
        found = self.features[self.label == label]
        return found if len(found) >= LEAST else found[:0]

    def typical(self, label: int) -> int | None:
        """Which of those with this decision has the median score; None where there is none."""
        (places,) = torch.nonzero(self.label == label, as_tuple=True)
        if not len(places):
            return None
        return int(places[self.score[places].median(0).indices])


def clean_inputs(gate: GateModule, x: Pixels) -> CleanInputs:
    """Judge clean inputs.

    Args:
        gate: a calibrated gate.
        x: ``(n, channels, height, width)``, within the bounds.

    Raises:
        InputError: inputs that cannot be judged.
    """
    classifier = gate.signature.classifier
    validation.check_all(x, input_shape=classifier.input_shape, bounds=classifier.bounds)
    with torch.no_grad():
        judged = [gate.signature(part) for part in tensors.batches(x, gate.signature.batch, classifier.device)]
        logits, features = (torch.cat(column) for column in zip(*judged, strict=True))
        verdict = gate.verdict(logits, features)
    return CleanInputs(x, features, verdict.label, verdict.score)
