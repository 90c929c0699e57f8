"""Cascades: of two given features, in front of tiny models, and one that is calibrated."""

from __future__ import annotations

import functools
from typing import cast

import torch

from ce_detect import DetectedModel
from ce_detect.demo.model import fashion_cnn
from ce_detect.detector.gate import GateModule
from ce_detect.features.signature import Signature
from ce_detect.fitting import heads as learn
from ce_detect.heads.base import Head
from ce_detect.heads.cascade import CLEARED, CascadedHead
from support.calibrated import QUICK, SETTINGS, cache, images
from support.gates import gate
from support.models import tiny_images

Tensor = torch.Tensor


class Column(Head):
    """A score that is one feature."""

    def __init__(self, width: int, column: int) -> None:
        super().__init__(torch.zeros(width), torch.ones(width))
        self.column = column

    def forward(self, features: Tensor) -> Tensor:
        """Return that feature."""
        return features[:, self.column]


def of_columns(level: float = 0.0) -> CascadedHead:
    """A cascade on two features: the first is the score of the first head, the second that of the second."""
    return CascadedHead(Column(1, 0), Column(2, 1), level=level)


def linear(features: Tensor, generator: torch.Generator) -> Head:
    """A head of random weights on features like these."""
    middle = features.median(0).values
    weight = torch.randn(features.shape[1], 1, generator=generator) / features.shape[1]
    return learn.NetworkHead(middle, (features - middle).abs().mean(0) + 1e-3, weight, torch.zeros(1), [])


def cascade(name: str, kind: str, signature: Signature | None = None) -> GateModule:
    """A gate with a cascade in front of a tiny model, that clears some of its images and flags some."""
    x, generator = tiny_images(name, 40, seed=3), torch.Generator().manual_seed(1)
    whole = gate(name, kind) if signature is None else None
    signature = signature or cast(GateModule, whole).signature
    with torch.no_grad():
        free, features = signature.first(x)[1], signature(x)[1]
        first = linear(free, generator)
        second = linear(features, generator) if whole is None else whole.head
        head = CascadedHead(first, second, level=float(first(free).quantile(CLEARED)))
        head.slope.fill_(1.0)
        head.offset.fill_(0.0)
        scores = head(features)
    threshold = float(scores.sort().values[29:31].mean())
    return GateModule(signature, head, clean_scores=scores, threshold=threshold, prevalence=0.1).eval()


@functools.cache
def guard() -> DetectedModel:
    """A calibrated detector with a cascade; leave it as it is."""
    return DetectedModel(fashion_cnn()).calibrate(
        images().x, recipe=QUICK, jobs=1, cache=cache(), cascade=True, **SETTINGS
    )
