"""A distance from clean signatures."""

from __future__ import annotations

import numpy as np
import torch
from support.heads import CENTER, SCALE, data, squashed

from ce_detect.heads.mahalanobis import DistanceHead


def test_distance_is_that_of_mahalanobis() -> None:
    """With the diagonal and the directions of an inverse covariance, the score is a Mahalanobis distance."""
    z = squashed(data()[0])
    mean, covariance = z.mean(0), np.cov(z.T)
    values, vectors = np.linalg.eigh(covariance)
    directions = vectors[:, 1:] * np.sqrt(1 / values[0] - 1 / values[1:])
    tensors = [torch.from_numpy(array) for array in (mean, np.full(5, 1 / values[0]), directions)]
    expected = np.sqrt(np.einsum("ni,ij,nj->n", z - mean, np.linalg.inv(covariance), z - mean))
    np.testing.assert_allclose(DistanceHead(CENTER, SCALE, *tensors)(torch.from_numpy(data()[0])), expected, rtol=1e-4)
