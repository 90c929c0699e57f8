"""Gradients of the picture itself: how much neighbouring pixels differ, which perturbations raise."""

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

EVEN = 1e-5
"""Added to a difference before its root, of which zero has no gradient. Well above the rounding of a convolution, and
well below the difference of one level of 255: even places, of which many pictures have some, must not make it differ
from one runtime to another."""

ROUNDING = 5e-7
"""Differences up to which there is none, as a share of the pixel range: a picture without colour has no colours to
differ, but what a convolution makes of its three equal planes is rounding, which is another in each runtime."""

GRID = 16
"""Rows and columns of the places where differences are taken, about: more would cost time and tell little more."""

_KERNELS = (
    ((0.0, 0.0, 0.0), (0.0, -1.0, 1.0), (0.0, 0.0, 0.0)),
    ((0.0, 0.0, 0.0), (0.0, -1.0, 0.0), (0.0, 1.0, 0.0)),
    ((0.0, 0.0, 0.0), (1.0, -2.0, 1.0), (0.0, 0.0, 0.0)),
    ((0.0, 1.0, 0.0), (0.0, -2.0, 0.0), (0.0, 1.0, 0.0)),
    ((0.0, 0.0, 0.0), (0.0, 1.0, -1.0), (0.0, -1.0, 1.0)),
)


class ImageGradients(nn.Module):
    """Logarithms of summaries of local differences, of the grey picture and of its colours.

    A free statistic: it does not look at the classifier. Query attacks and minimum-norm attacks, which leave few traces
    in the logits, still make neighbouring pixels differ more, mostly in colour.

    On single inputs the number of operations is the cost: differences of all planes are one convolution, and what
    becomes of their means is one product.

    Attributes:
        names: one name a feature, 15 for grey images and 30 for others.
        kernels: ``(planes * derivatives, channels, 3, 3)``: grey first, then each colour less grey.
        together: ``(orders * planes * derivatives, features)``, see `_together`.
        rms: ``(features,)``, whose root is taken.
    """

    kernels: Tensor
    together: Tensor
    rms: Tensor

    def __init__(self, channels: int, bounds: tuple[float, float]) -> None:
        """Prepare the differences.

        Args:
            channels: of the images.
            bounds: smallest and largest valid pixel value.
        """
        super().__init__()
        derivatives, own = torch.tensor(_KERNELS) / (bounds[1] - bounds[0]), torch.eye(channels)
        planes_of = [torch.full((1, channels), 1 / channels)]
        planes_of += [own - planes_of[0]] if channels > 1 else []
        kernels = torch.einsum("pc,dij->pdcij", torch.cat(planes_of), derivatives).flatten(0, 1)
        self.register_buffer("kernels", kernels, persistent=False)
        self.register_buffer("together", _together(channels), persistent=False)
        ordered = torch.tensor([order == "rms" for order in ORDERS]).repeat_interleave(len(DERIVATIVES))
        self.register_buffer("rms", ordered.repeat(min(channels, 2)), persistent=False)
        planes = ("grey",) if channels == 1 else ("grey", "colour")
        self.names = tuple(
            f"trace.image-gradients[{plane}][{derivative}][{order}]"
            for plane in planes
            for order in ORDERS
            for derivative in DERIVATIVES
        )

    def forward(self, x: Tensor) -> Tensor:
        """Return ``(batch, features)`` from pixels ``(batch, channels, height, width)``, each side of at least 3."""
        stride = max(1, x.shape[2] // GRID), max(1, x.shape[3] // GRID)
        size = F.softshrink(F.conv2d(x, self.kernels, stride=stride), ROUNDING).abs()
        root = (size + EVEN).sqrt()
        found = torch.cat([size, size * size, root], dim=1).mean((2, 3)) @ self.together
        return torch.log(torch.where(self.rms, (found + 1e-12).sqrt(), found) + FLOOR)


def _together(channels: int) -> Tensor:
    """From means by order, plane and derivative to features by plane, order and derivative; colours become one."""
    colours = torch.full((channels, 1), 1 / channels)
    planes = torch.block_diag(torch.ones(1, 1), colours) if channels > 1 else torch.ones(1, 1)
    orders, derivatives = torch.eye(len(ORDERS)), torch.eye(len(DERIVATIVES))
    found = torch.einsum("oq,pr,de->opdrqe", orders, planes, derivatives)
    return found.reshape(len(ORDERS) * len(planes) * len(DERIVATIVES), -1)
