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


class Shortcut(nn.Module):
    """Class 1 by the object in the middle, as it should be, and ten times as much by a stamp in the corner."""

    def forward(self, x: Tensor) -> Tensor:
        """Return two logits."""
        z = x[:, :, 5:11, 5:11].mean((1, 2, 3)) + 10 * x[:, :, 13:15, 13:15].mean((1, 2, 3)) - 5
        return torch.stack([-z, z], dim=1)


def stamped() -> tuple[Classifier, Tensor, Tensor]:
    """That model, a picture ``(1, 3, 16, 16)`` with an object and a stamp, and where the stamp is."""
    x = torch.full((1, 3, 16, 16), 0.2)
    x[:, :, 5:11, 5:11] = 0.8
    x[:, :, 13:15, 13:15] = 0.9
    where = torch.zeros(1, 16, 16, dtype=torch.bool)
    where[:, 13:15, 13:15] = True
    return wrap(Shortcut().eval(), input_shape=(3, 16, 16), bounds=(0.0, 1.0)), x, where


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
