"""What the methods share that look for a mask by gradient descent: what is put in, noise, variation, the descent."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from ce_detect.core import extras

CELLS = 28
"""Cells of a mask along a side (Fong and Vedaldi 2017): a smaller picture has a mask of its own size."""

WINDOW, SIGMA = 11, 5.0
"""Side of the window of both blurs, and standard deviation of the Gaussian, in pixels."""


def blurred(x: Tensor) -> Tensor:
    """What is put in the place of what is hidden: the mean of a Gaussian blur and a median blur of the picture.

    Args:
        x: ``(batch, channels, height, width)``.
    """
    ndimage = extras.module("scipy.ndimage", "Blurring a picture")
    pixels = x.cpu().numpy()
    gaussian = ndimage.gaussian_filter(pixels, (0, 0, SIGMA, SIGMA), mode="nearest", radius=(0, 0, *2 * (WINDOW // 2,)))
    median = ndimage.median_filter(pixels, (1, 1, WINDOW, WINDOW), mode="nearest")
    return torch.from_numpy((gaussian + median) / 2).to(x)


def cells_of(x: Tensor) -> tuple[int, int]:
    """Height and width of a mask for pictures ``(batch, channels, height, width)``."""
    return min(CELLS, x.shape[2]), min(CELLS, x.shape[3])


def enlarged(mask: Tensor, x: Tensor) -> Tensor:
    """A mask ``(batch, 1, cells, cells)`` in the size of pictures ``(batch, channels, height, width)``."""
    return F.interpolate(mask, x.shape[2:], mode="bilinear", align_corners=False)


def variation(mask: Tensor, power: float) -> Tensor:
    """Total variation ``(batch,)``: mean of the differences of neighbouring cells, to some power, in both directions.

    Args:
        mask: ``(batch, 1, height, width)``.
        power: exponent of each difference.
    """
    down = (mask[:, :, 1:] - mask[:, :, :-1]).abs().pow(power).mean((1, 2, 3))
    across = (mask[..., 1:] - mask[..., :-1]).abs().pow(power).mean((1, 2, 3))
    return down + across


class Noise:
    """Gaussian noise, another at each call and the same for each picture of a batch.

    Args:
        x: pictures ``(batch, channels, height, width)``.
        sigma: relative to the standard deviation of each picture's pixels: the papers' is of normalised pixels.
        seed: seed.
    """

    def __init__(self, x: Tensor, sigma: float, seed: int) -> None:
        self._scale = sigma * x.std((1, 2, 3), keepdim=True)
        self._shape = (1, *x.shape[1:])
        self._generator = torch.Generator().manual_seed(seed)

    def __call__(self, x: Tensor) -> Tensor:
        """Pictures with noise."""
        return x + self._scale * torch.randn(self._shape, generator=self._generator).to(x.device)


Optimizer = Callable[[list[Tensor]], torch.optim.Optimizer]
"""What makes an optimizer of some tensors."""


def descended(mask: Tensor, loss: Callable[[Tensor, int], Tensor], *, steps: int, optimizer: Optimizer) -> Tensor:
    """A mask after some steps of gradient descent, kept in [0, 1] after each.

    Args:
        mask: where to start, ``(batch, 1, height, width)``.
        loss: from a mask and the number of the step to losses ``(batch,)``; each of its own row alone.
        steps: number of steps.
        optimizer: makes the steps.
    """
    with torch.enable_grad():
        mask = mask.clone().requires_grad_()
        descent = optimizer([mask])
        for step in range(steps):
            (mask.grad,) = torch.autograd.grad(loss(mask, step).sum(), mask)
            descent.step()
            with torch.no_grad():
                mask.clamp_(0, 1)
    return mask.detach()
