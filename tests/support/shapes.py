"""Small models of every number of classes, channels and pixels, in every precision and wrapper that people use."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn


class SmallCNN(nn.Module):
    """Two convolutions with batch norm, the first of which takes large strides on large images, and a linear head."""

    def __init__(self, channels: int, classes: int, side: int) -> None:
        super().__init__()
        stride = max(1, side // 32)
        self.stage1 = nn.Sequential(
            nn.Conv2d(channels, 8, stride + 2, stride, padding=1, bias=False), nn.BatchNorm2d(8), nn.ReLU()
        )
        self.stage2 = nn.Sequential(nn.Conv2d(8, 24, 3, 2, padding=1), nn.BatchNorm2d(24), nn.ReLU())
        self.stage3 = nn.Sequential(nn.Conv2d(24, 24, 3, padding=1), nn.BatchNorm2d(24), nn.ReLU())
        self.head = nn.Linear(24, classes)

    def forward(self, x: Tensor) -> Tensor:
        """Return logits ``(batch, classes)``."""
        return self.head(self.stage3(self.stage2(self.stage1(x))).mean((2, 3)))


@dataclass(frozen=True)
class Shape:
    """A model and its images.

    Attributes:
        channels, side: of an image.
        classes: logits that the model returns.
        dress: what is done with the model: another precision, another layout, a wrapper.
        exportable: whether its gate can become a graph.
        slack: by how much scores may differ that should be equal.
    """

    channels: int = 3
    side: int = 16
    classes: int = 5
    dress: Callable[[nn.Module], nn.Module] = field(default=lambda model: model)
    exportable: bool = True
    slack: float = 1e-3

    @property
    def logits(self) -> int:
        """Logits of the gate: one log-odds is read as two."""
        return max(2, self.classes)

    def images(self, count: int, seed: int = 0) -> NDArray[np.float32]:
        """Images of blocks and noise in [0, 1], of many colours and contrasts, all different."""
        generator = torch.Generator().manual_seed(seed)
        parts = [torch.rand(count, self.channels, side, side, generator=generator) for side in (4, 16, 1)]
        blocks, noise, colour = (F.interpolate(part, size=(self.side, self.side), mode="nearest") for part in parts)
        return (0.5 * colour + 0.4 * blocks * colour + 0.1 * noise).numpy()

    def model(self) -> nn.Module:
        """The model: the same weights every time, and logits with mean 0 and deviation 2 on these images."""
        with torch.random.fork_rng():
            torch.manual_seed(0)
            made = SmallCNN(self.channels, self.classes, self.side)
            for module in made.modules():
                if isinstance(module, nn.Conv2d | nn.Linear):
                    nn.init.orthogonal_(module.weight, gain=2.0)
        x = torch.from_numpy(self.images(64, seed=1))
        with torch.no_grad():
            for _ in range(20):
                made(x)  # what batch norms see
            made.eval()
            made.head.bias.zero_()
            made.head.weight *= 2 / made(x).std(0).mean()
            made.head.bias -= made(x).mean(0)
        return self.dress(made)


def _compiled(model: nn.Module) -> nn.Module:
    with warnings.catch_warnings():  # importing the compiler warns about its own internals
        warnings.simplefilter("ignore")
        compiled: nn.Module = torch.compile(model)
    return compiled


SHAPES = {
    "1000 classes": Shape(classes=1000),
    "2 classes": Shape(classes=2),
    "1 logit": Shape(classes=1),
    "grey": Shape(channels=1),
    "4 channels": Shape(channels=4),
    "32x32": Shape(side=32),
    "512x512, 1000 classes": Shape(side=512, classes=1000),
    "float16": Shape(dress=lambda model: model.half(), exportable=False, slack=0.1),
    "bfloat16": Shape(dress=lambda model: model.bfloat16(), exportable=False, slack=0.5),
    "float64": Shape(dress=lambda model: model.double(), exportable=False),
    "channels-last": Shape(dress=lambda model: model.to(memory_format=torch.channels_last)),
    "compiled": Shape(dress=_compiled),
    "data-parallel": Shape(dress=lambda model: nn.DataParallel(model)),
}
"""By name."""
