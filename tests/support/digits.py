"""Small models trained in seconds on scikit-learn's 1,797 handwritten digits of 8 by 8 pixels."""

from __future__ import annotations

import functools
from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from sklearn.datasets import load_digits
from torch import Tensor, nn

TRAINED = 1000
"""The first so many digits are for training; tests take the others."""


@functools.lru_cache
def digits() -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """All digits ``(1797, 1, 8, 8)`` with pixels in [0, 1], and their labels, shuffled: they come writer by writer."""
    bunch = load_digits()
    order = np.random.default_rng(0).permutation(len(bunch.target))
    return (bunch.images[order, None] / 16).astype(np.float32), bunch.target[order].astype(np.int64)


def rows_of_digits(
    count: int, length: int, seed: int, *, training: bool
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Images ``(count, 1, 8, 8 * length)`` of several digits side by side, and the digits ``(count, length)``."""
    x, y = digits()
    some = slice(TRAINED) if training else slice(TRAINED, None)
    x, y = x[some], y[some]
    drawn = np.random.default_rng(seed).integers(len(x), size=(count, length))
    return np.concatenate([x[column] for column in drawn.T], axis=3), y[drawn]


def several_hot(shown: NDArray[np.int64]) -> NDArray[np.float32]:
    """Which of ten labels hold, ``(count, 10)``, from the digits that an image shows."""
    return np.eye(10, dtype=np.float32)[shown].max(axis=1)


class DigitCNN(nn.Module):
    """Two stages of convolution, batch norm and ReLU, global pooling, a linear head; takes any size."""

    def __init__(self, outputs: int = 10) -> None:
        super().__init__()
        self.stage1 = nn.Sequential(nn.Conv2d(1, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU())
        self.stage2 = nn.Sequential(nn.Conv2d(16, 32, 3, stride=2, padding=1), nn.BatchNorm2d(32), nn.ReLU())
        self.stage3 = nn.Sequential(nn.Conv2d(32, 32, 3, padding=1), nn.BatchNorm2d(32), nn.ReLU())
        self.head = nn.Linear(32, outputs)

    def forward(self, x: Tensor) -> Tensor:
        """Return logits ``(batch, outputs)``."""
        return self.head(self.stage3(self.stage2(self.stage1(x))).amax((2, 3)))


class DigitWary(DigitCNN):
    """The same after a look at the data, which cannot be captured."""

    def forward(self, x: Tensor) -> Tensor:
        """Return logits ``(batch, outputs)``."""
        if float(x.detach().amax()) > 1e6:
            raise OverflowError("pixels too large")
        return super().forward(x)


class DigitViT(nn.Module):
    """A vision transformer: patches of 2 by 2 pixels, a class token, two layers of PyTorch's own encoder."""

    def __init__(self, *, norm_first: bool = True) -> None:
        super().__init__()
        self.patches = nn.Conv2d(1, 32, 2, stride=2)
        self.token = nn.Parameter(torch.randn(1, 1, 32) / 8)
        self.position = nn.Parameter(torch.randn(1, 17, 32) / 8)
        layer = nn.TransformerEncoderLayer(32, 4, 64, dropout=0, batch_first=True, norm_first=norm_first)
        self.encoder = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.norm, self.head = nn.LayerNorm(32), nn.Linear(32, 10)

    def forward(self, x: Tensor) -> Tensor:
        """Return logits ``(batch, 10)``."""
        h = self.patches(x).flatten(2).transpose(1, 2)
        h = torch.cat([self.token.expand(h.shape[0], -1, -1), h], dim=1) + self.position
        return self.head(self.norm(self.encoder(h))[:, 0])


class Number(nn.Module):
    """Reads three digits as one of 1,000 numbers, with a linear head over what a digit classifier says of each."""

    def __init__(self, digit: nn.Module) -> None:
        super().__init__()
        self.digit, self.head = digit, nn.Linear(30, 1000, bias=False)
        places = np.array([[n // 100, 10 + n // 10 % 10, 20 + n % 10] for n in range(1000)])
        with torch.no_grad():
            self.head.weight.zero_().scatter_(1, torch.from_numpy(places), 1.0)

    def forward(self, x: Tensor) -> Tensor:
        """Return logits ``(batch, 1000)`` of images ``(batch, 1, 8, 24)``."""
        parts = torch.cat(x.chunk(3, dim=3))
        return self.head(torch.cat(self.digit(parts).log_softmax(1).chunk(3), dim=1))


def trained(
    model: nn.Module,
    x: NDArray[np.float32],
    y: NDArray[np.generic],
    loss: Callable[[Tensor, Tensor], Tensor],
    epochs: int,
) -> nn.Module:
    """Train with Adam, in batches of 50; the same weights every time for a model from a fixed seed."""
    inputs, target = torch.from_numpy(x), torch.from_numpy(y)
    generator = torch.Generator().manual_seed(0)
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    for _ in range(epochs):
        for part in torch.randperm(len(inputs), generator=generator).split(50):
            optimizer.zero_grad()
            loss(model(inputs[part]), target[part]).backward()
            optimizer.step()
    return model.eval()


def seeded(build: Callable[[], nn.Module]) -> nn.Module:
    """A model with weights drawn from a fixed seed."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return build()


@functools.lru_cache
def classifier_of_digits(build: Callable[[], nn.Module], epochs: int = 8) -> nn.Module:
    """A model with one logit a digit, trained on the first digits."""
    x, y = digits()
    return trained(seeded(build), x[:TRAINED], y[:TRAINED], F.cross_entropy, epochs)


@functools.lru_cache
def labeller_of_pairs(epochs: int = 8) -> nn.Module:
    """A multi-label model: which digits an image of two shows."""
    x, shown = rows_of_digits(1500, 2, seed=0, training=True)
    hot = several_hot(shown)
    return trained(seeded(DigitCNN), x, hot, F.binary_cross_entropy_with_logits, epochs)
