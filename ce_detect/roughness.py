"""Roughness of the picture itself: how much neighbouring pixels differ, which perturbations raise."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

DERIVATIVES = ("dx", "dy", "dxx", "dyy", "dxy")
"""First and second differences of neighbouring pixels."""

ORDERS = ("mean", "rms", "root")
"""Mean, root mean square and mean square root of the absolute differences: from even noise to a few sharp edges."""

FLOOR = 1e-4
"""Added to a summary before its logarithm, as a share of the pixel range."""

GRID = 16
"""Rows and columns of the places where differences are taken, about: more would cost time and tell little more."""

_KERNELS = (
    ((0.0, 0.0, 0.0), (0.0, -1.0, 1.0), (0.0, 0.0, 0.0)),
    ((0.0, 0.0, 0.0), (0.0, -1.0, 0.0), (0.0, 1.0, 0.0)),
    ((0.0, 0.0, 0.0), (1.0, -2.0, 1.0), (0.0, 0.0, 0.0)),
    ((0.0, 1.0, 0.0), (0.0, -2.0, 0.0), (0.0, 1.0, 0.0)),
    ((0.0, 0.0, 0.0), (0.0, 1.0, -1.0), (0.0, -1.0, 1.0)),
)


class Roughness(nn.Module):
    """Logarithms of summaries of local differences, of the grey picture and of its colours.

    A free statistic: it does not look at the classifier. Query attacks and minimum-norm attacks, which leave few traces
    in the logits, still make the picture rougher, mostly in its colours.

    Attributes:
        names: one name a feature, 15 for grey images and 30 for others.
    """

    kernels: Tensor

    def __init__(self, channels: int, bounds: tuple[float, float]) -> None:
        """Prepare the differences.

        Args:
            channels: of the images.
            bounds: smallest and largest valid pixel value.
        """
        super().__init__()
        self.width = bounds[1] - bounds[0]
        self.register_buffer("kernels", torch.tensor(_KERNELS)[:, None], persistent=False)
        planes = ("grey",) if channels == 1 else ("grey", "colour")
        self.names = tuple(
            f"trace.roughness[{plane}][{derivative}][{order}]"
            for plane in planes
            for order in ORDERS
            for derivative in DERIVATIVES
        )

    def forward(self, x: Tensor) -> Tensor:
        """Return ``(batch, features)`` from pixels ``(batch, channels, height, width)``, each side of at least 3."""
        x = x / self.width
        grey = x.mean(1, keepdim=True)
        planes = grey if x.shape[1] == 1 else torch.cat([grey, x - grey], dim=1)
        found = self._moments(planes)  # all planes at once: on single inputs the number of operations is the cost
        if x.shape[1] > 1:
            found = torch.cat([found[:, :, :1], found[:, :, 1:].mean(2, keepdim=True)], dim=2)
        mean, square, root = found.unbind(1)
        orders = torch.stack([mean, (square + 1e-12).sqrt(), root], dim=2)
        return torch.log(orders.flatten(1) + FLOOR)

    def _moments(self, planes: Tensor) -> Tensor:
        """Means of absolute differences, of their squares and of their roots: ``(batch, 3, planes, derivatives)``."""
        batch, _, height, width = planes.shape
        stride = max(1, height // GRID), max(1, width // GRID)
        size = F.conv2d(planes.flatten(0, 1)[:, None], self.kernels, stride=stride).abs().unflatten(0, (batch, -1))
        root = (size + 1e-8).sqrt()  # away from zero, where a root has no gradient
        return torch.stack([size, size.square(), root], dim=1).mean((4, 5))
