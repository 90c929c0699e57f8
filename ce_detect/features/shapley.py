"""SHAP signatures: what each penultimate activation adds to the highest logits, against clean ones.

After Fidel, Bitton, Shabtai 2020, arXiv 1909.03418, who classify DeepSHAP values of the penultimate layer. Where the
last layer is linear, the Shapley value of activation ``i`` for the logit of class ``k`` is

    ``w_ki (h_i - mean of h_i over a background)``

exactly: DeepSHAP and expected gradients over that background give the same, so nothing is sampled and no gradient is
taken. The background is the mean of clean images of *fit*, see `ce_detect.fitting.shapley`.

The paper's signature has the values of every class in a fixed order. Ours follows the ranks of the classes, so that one
attack on any class looks alike: all values of the two highest classes, and of each further one how large they are
together.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from ce_detect.classifiers.base import PENULTIMATE, Classifier
from ce_detect.core.errors import CalibrationError
from ce_detect.features.activations import EXTREMES, WIDE

RANKS = 10
"""Highest classes whose values are looked at, at most."""

WHOLE = ("winner", "runner-up")
"""Classes of which all values are features; the most extreme ones where there are more than `WIDE`."""


class ShapleyValues(nn.Module):
    """Shapley values of the penultimate activations for the highest logits.

    Attributes:
        names: one name a feature.
        background: mean of the penultimate activations over clean images, ``(width,)``.
        weight: of the last layer, ``(classes, width)``; the classifier's own, and no part of the state.
    """

    background: Tensor
    weight: Tensor

    def __init__(self, classifier: Classifier, width: int) -> None:
        """Prepare the values.

        Args:
            classifier: whose last layer is linear and reads the site ``"penultimate"``.
            width: of its penultimate layer.

        Raises:
            CalibrationError: the classifier has no such layer.
        """
        super().__init__()
        weight = classifier.head_weight
        if weight is None or weight.shape[1] != width:
            raise CalibrationError(
                f"SHAP signatures of {width} activations need a linear last layer that reads as many, and one that can "
                "be found: this classifier has " + ("none" if weight is None else f"one of {weight.shape[1]}")
            )
        self.register_buffer("weight", weight.detach(), persistent=False)
        self.register_buffer("background", torch.zeros(width))
        which = [str(i) for i in range(width)]
        if width > WIDE:
            which = [f"{end} {rank}" for end in ("largest", "smallest") for rank in range(EXTREMES)]
        self.names = tuple(f"trace.shapley[{owner}][{one}]" for owner in WHOLE for one in which)
        self.names += tuple(f"trace.shapley-size[{rank}]" for rank in range(min(RANKS, len(weight))))

    @property
    def sites(self) -> tuple[str, ...]:
        """Sites whose latents it looks at."""
        return (PENULTIMATE,)

    def spec(self) -> dict[str, Any]:
        """Everything but the tensors and the classifier, as plain data."""
        return {"width": len(self.background)}

    def values(self, z: Tensor, latents: dict[str, Tensor]) -> Tensor:
        """Shapley values ``(batch, ranks, width)`` of the highest logits, from logits and latents by site."""
        highest = z.topk(min(RANKS, z.shape[1]), dim=1).indices
        return self.weight[highest] * (latents[PENULTIMATE] - self.background)[:, None]

    def forward(self, z: Tensor, latents: dict[str, Tensor]) -> Tensor:
        """Return ``(batch, features)`` from logits ``(batch, classes)`` and latents by site."""
        values = self.values(z, latents)
        whole = [values[:, rank] for rank in range(len(WHOLE))]
        if values.shape[2] > WIDE:
            whole = [part for one in whole for part in (one.topk(EXTREMES).values, (-one).topk(EXTREMES).values)]
        return torch.cat([*whole, (values.square().sum(2) + 1e-12).sqrt()], dim=1)
