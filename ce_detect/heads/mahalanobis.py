"""Mahalanobis distance from clean signatures: the head that no attack teaches."""

from __future__ import annotations

import torch
from torch import Tensor

from ce_detect.heads.base import Head


class DistanceHead(Head):
    """Distance of a signature from clean ones; learns from clean data alone.

    A squared Mahalanobis distance under probabilistic principal components (Tipping and Bishop 1999): few directions in
    which clean signatures vary, and noise in all others. Its inverse covariance is a diagonal less a product of two
    thin matrices, so it is small to store and quick to apply however many features there are.

    Attributes:
        mean: ``(features,)`` of squashed clean signatures.
        precision: ``(features,)``, the diagonal of the inverse covariance before the directions are taken off.
        directions: ``(features, k)``; the squares of the products with them are taken off.
        root, shift: ``(features,)`` each, root of the precision and what it makes of the mean; not stored.
        offsets: ``(k,)``, products of the mean with the directions; not stored.
        signs: ``(features + k, 1)``, of the squares; not stored.
    """

    mean: Tensor
    precision: Tensor
    directions: Tensor
    root: Tensor
    shift: Tensor
    offsets: Tensor
    signs: Tensor

    def __init__(self, center: Tensor, scale: Tensor, mean: Tensor, precision: Tensor, directions: Tensor) -> None:
        super().__init__(center, scale)
        self.register_buffer("mean", mean.float())
        self.register_buffer("precision", precision.float())
        self.register_buffer("directions", directions.float())
        features, taken_off = directions.shape
        signs = torch.tensor([1.0] * features + [-1.0] * taken_off)
        self.register_buffer("signs", signs[:, None], persistent=False)
        self._prepare()

    def _prepare(self) -> None:
        mean, root = self.mean.double(), self.precision.double().sqrt()
        self.register_buffer("root", root.float(), persistent=False)
        self.register_buffer("shift", (root * mean).float(), persistent=False)
        self.register_buffer("offsets", (mean @ self.directions.double()).float(), persistent=False)

    def forward(self, features: Tensor) -> Tensor:
        """Return distances ``(batch,)`` from a signature ``(batch, features)``."""
        return self.distance(self.squash(features))

    def distance(self, squashed: Tensor) -> Tensor:
        """Return distances ``(batch,)`` from squashed features."""
        parts = torch.cat([squashed * self.root - self.shift, squashed @ self.directions - self.offsets], dim=1)
        square = (parts * parts @ self.signs).squeeze(1)
        return square.clamp_min(1e-12).sqrt()  # a difference may round below zero, where a root has no gradient
