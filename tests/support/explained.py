"""Models whose explanation is known by hand."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ce_detect.classifiers.base import Classifier
from ce_detect.classifiers.wrapping import wrap


class OneQuadrant(nn.Module):
    """Class 1 against class 0 by what is brighter than 0.45 in the top left quarter, by a feature map and a ReLU."""

    def __init__(self) -> None:
        super().__init__()
        self.bright = nn.Conv2d(3, 1, 1)
        self.relu = nn.ReLU()
        with torch.no_grad():
            self.bright.weight.fill_(1 / 3)
            self.bright.bias.fill_(-0.45)

    def forward(self, x: Tensor) -> Tensor:
        """Return two logits."""
        mean = self.relu(self.bright(x))[:, 0, :8, :8].mean((1, 2)) - 0.12
        return torch.stack([-20 * mean, 20 * mean], dim=1)


def one_quadrant() -> Classifier:
    """That model, wrapped."""
    return wrap(OneQuadrant().eval(), input_shape=(3, 16, 16), bounds=(0.0, 1.0))


def chessboard() -> Tensor:
    """A picture ``(1, 3, 16, 16)`` of dark and bright pixels in turns: its mean and its blur are hardly bright."""
    place = torch.arange(16)
    return (0.1 + 0.8 * ((place[:, None] + place) % 2 == 0)).expand(1, 3, 16, 16).clone()


class Linear(nn.Module):
    """Two logits that are a weighted sum of the pixels and its negative."""

    def __init__(self, weight: Tensor) -> None:
        super().__init__()
        self.flatten = nn.Flatten()
        self.head = nn.Linear(weight.numel(), 2)
        with torch.no_grad():
            self.head.weight.copy_(torch.stack([-weight.flatten(), weight.flatten()]))
            self.head.bias.zero_()

    def forward(self, x: Tensor) -> Tensor:
        """Return two logits."""
        z: Tensor = self.head(self.flatten(x))
        return z


def linear(weight: Tensor) -> Classifier:
    """That model of pictures ``(1, height, width)``, wrapped."""
    return wrap(Linear(weight).eval(), input_shape=(1, *weight.shape), bounds=(0.0, 1.0))
