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
        if x.shape[1] == 1:
            return self._summaries(grey)
        return torch.cat([self._summaries(grey), self._summaries(x - grey)], dim=1)

    def _summaries(self, planes: Tensor) -> Tensor:
        batch, _, height, width = planes.shape
        stride = max(1, height // GRID), max(1, width // GRID)
        size = F.conv2d(planes.flatten(0, 1)[:, None], self.kernels, stride=stride).abs().unflatten(0, (batch, -1))
        over = (1, 3, 4)
        root = (size + 1e-8).sqrt()  # away from zero, where a root has no gradient
        rms = (size.square().mean(over) + 1e-12).sqrt()
        return torch.log(torch.cat([size.mean(over), rms, root.mean(over)], dim=1) + FLOOR)
