"""Maps from gradients with respect to the pixels, by Captum."""

from __future__ import annotations

import torch
from torch import Tensor

from ce_detect.classifiers.base import Classifier
from ce_detect.core import extras
from ce_detect.data.lazy import batch_size
from ce_detect.explain.effect_maps import ROWS
from ce_detect.explain.methods.base import Method


class InputXGradient(Method):
    """Pixel times gradient of the label's logit, summed over channels (Captum's)."""

    name = "input-x-gradient"
    title = "Gradient x input"
    paper = "Shrikumar, Greenside, Kundaje 2017, arXiv 1704.02685"

    def _maps(self, classifier: Classifier, x: Tensor, labels: Tensor) -> Tensor:
        captum = extras.module("captum.attr", self.title, extra="explain")
        with torch.enable_grad():
            found: Tensor = captum.InputXGradient(classifier.logits).attribute(x.requires_grad_(), target=labels)
        return found.sum(1)


class IntegratedGradients(Method):
    """Gradients of the label's logit on the way from the picture's mean, summed over channels (Captum's)."""

    name = "integrated-gradients"
    title = "Integrated gradients"
    paper = "Sundararajan, Taly, Yan 2017, arXiv 1703.01365"

    def __init__(self, *, steps: int = 32) -> None:
        self.steps = steps

    def _maps(self, classifier: Classifier, x: Tensor, labels: Tensor) -> Tensor:
        captum = extras.module("captum.attr", self.title, extra="explain")
        with torch.enable_grad():
            found: Tensor = captum.IntegratedGradients(classifier.logits).attribute(
                x,
                x.mean((2, 3), keepdim=True).expand_as(x),
                target=labels,
                n_steps=self.steps,
                internal_batch_size=max(len(x), batch_size(ROWS, x.shape[1:])),
            )
        return found.sum(1)
