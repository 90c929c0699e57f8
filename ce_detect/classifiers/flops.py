"""How much work a forward pass is: as a clock would say, but the same on every machine."""

from __future__ import annotations

import torch
from torch.utils.flop_counter import FlopCounterMode

from ce_detect.classifiers.base import Classifier


def flops(classifier: Classifier) -> int:
    """Floating-point operations of one forward pass of one image, at least 1: those of an ONNX Runtime are not seen."""
    counter = FlopCounterMode(display=False)
    with torch.no_grad(), counter:
        classifier.logits(classifier.probe())
    return max(1, counter.get_total_flops())
