"""Heads with random weights."""

from __future__ import annotations

from functools import partial

import torch

from ce_detect.heads.fusion import FusedHead
from ce_detect.heads.mahalanobis import DistanceHead
from ce_detect.heads.network import NetworkHead


def fused(features: int) -> FusedHead:
    """A fused head for so many features, with two networks of three units."""
    drawn = partial(torch.rand, generator=torch.Generator().manual_seed(0))
    center, scale = drawn(features), 1 + drawn(features)
    layers = [(drawn(2, features, 3), drawn(2, 1, 3)), (drawn(2, 3, 1), drawn(2, 1, 1))]
    network = NetworkHead(center, scale, drawn(features, 1), drawn(1), layers)
    clean = DistanceHead(center.clone(), scale.clone(), drawn(features), 1 + drawn(features), 0.1 * drawn(features, 4))
    return FusedHead(network, clean, 0.5, 1.5, middle=0.25, width=2.0)
