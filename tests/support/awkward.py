"""Small models with the traits of public code that once broke: one trait each."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn import utils
from torch.nn.utils import parametrizations, prune

SHAPE = (3, 32, 32)
WRAP: dict[str, Any] = {"input_shape": SHAPE, "bounds": (0.0, 1.0)}


def cnn() -> nn.Sequential:
    """Three convolutions, two batch norms that have seen something, four classes; always the same weights."""
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(),
        nn.Conv2d(8, 16, 3, 2, 1), nn.BatchNorm2d(16), nn.ReLU(),
        nn.Conv2d(16, 16, 3, 2, 1), nn.ReLU(),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 4),
    )  # fmt: skip
    with torch.no_grad():
        model(torch.rand(32, *SHAPE))
    return model.eval()


class Forward(nn.Module):
    """The CNN behind another forward."""

    def __init__(self, function: Callable[..., Any]) -> None:
        super().__init__()
        self.net, self.function = cnn(), function
        self.eval()

    def forward(self, x: Tensor) -> Any:
        """Return what the function makes of the CNN and the pixels."""
        return self.function(self.net, x)


def head(net: nn.Sequential, h: Tensor) -> Tensor:
    """The last layer on a pooled map."""
    z: Tensor = net[10](h.view(h.size(0), -1))
    return z


def normed(function: Callable[[nn.Module], nn.Module]) -> nn.Sequential:
    """The CNN with its convolutions reparametrised."""
    model = cnn()
    with warnings.catch_warnings():  # some are old, and say so themselves
        warnings.simplefilter("ignore", FutureWarning)
        for position in (0, 3, 6):
            model[position] = function(model[position])
    return model.eval()


def pruned() -> nn.Sequential:
    """The CNN with half the weights of a convolution masked."""
    model = cnn()
    prune.l1_unstructured(model[3], "weight", 0.5)
    return model


class StandardisedConv(nn.Conv2d):
    """A convolution that standardises its weight each time it runs."""

    def forward(self, x: Tensor) -> Tensor:
        """Convolve."""
        w = self.weight - self.weight.mean((1, 2, 3), keepdim=True)
        return F.conv2d(x, w / (w.std((1, 2, 3), keepdim=True) + 1e-5), self.bias, self.stride, self.padding)


def standardised() -> nn.Sequential:
    """The CNN with weight standardisation."""
    model = cnn()
    for position in (0, 3, 6):
        old = model[position]
        model[position] = StandardisedConv(old.in_channels, old.out_channels, 3, old.stride, 1)
    return model.eval()


def pooled_by_size(net: nn.Sequential, x: Tensor) -> Tensor:
    """Pool over the whole map by its own size, as a widely copied ResNet does."""
    h = net[:8](x)
    return head(net, F.avg_pool2d(h, h.size()[3]))


def pooled_by_number(net: nn.Sequential, x: Tensor) -> Tensor:
    """Pool over the whole map by a number, as a widely copied ResNet does."""
    return head(net, F.avg_pool2d(net[:8](x), 8))


def shuffled(net: nn.Sequential, x: Tensor) -> Tensor:
    """Shuffle channels by a reshape that names height and width."""
    h = net[:3](x)
    b, c, height, width = h.shape
    h = h.view(b, 2, c // 2, height, width).transpose(1, 2).reshape(b, c, height, width)
    z: Tensor = net[3:](h)
    return z


def subtracts(net: nn.Sequential, x: Tensor) -> Tensor:
    """Normalise in place by methods."""
    z: Tensor = net(x.sub_(0.5).div_(0.25))
    return z


def assigns(net: nn.Sequential, x: Tensor) -> Tensor:
    """Write into a channel of the input."""
    x[:, 0] = x[:, 0] * 0.5
    z: Tensor = net(x)
    return z


def masks(net: nn.Sequential, x: Tensor) -> Tensor:
    """Mask a map by windows that are drawn each time, as a shifted-window transformer does."""
    h = net[:3](x)
    windows = h.new_zeros(h.shape[2:])
    for number, rows in enumerate((slice(0, 16), slice(16, -4), slice(-4, None))):
        windows[rows] = number
    z: Tensor = net[3:](h.masked_fill(windows == torch.ones_like(windows), 0.0) + torch.zeros_like(h))
    return z


def halves(net: nn.Sequential, x: Tensor) -> Tensor:
    """Compute in bfloat16 by autocast."""
    with torch.autocast("cpu", dtype=torch.bfloat16):
        z: Tensor = net(x)
    return z.float()


class WeightsOfPixels(nn.Module):
    """A convolution whose weight is computed from the pixels, before a batch norm."""

    def __init__(self) -> None:
        super().__init__()
        self.net = cnn()
        self.eval()

    def forward(self, x: Tensor) -> Tensor:
        """Return logits; the part that the pixels have in the weight is nothing."""
        first = self.net[0]
        z: Tensor = self.net[1:](F.conv2d(x, first.weight + 0 * x.mean(), first.bias, padding=1))
        return z


CUT: dict[str, Callable[[], nn.Module]] = {
    "weight norm": lambda: normed(parametrizations.weight_norm),
    "weight norm by hooks": lambda: normed(utils.weight_norm),
    "spectral norm": lambda: normed(parametrizations.spectral_norm),
    "spectral norm by hooks": lambda: normed(utils.spectral_norm),
    "pruned": pruned,
    "weight standardisation": standardised,
    "weights of pixels": WeightsOfPixels,
    "masks": lambda: Forward(masks),
    "autocast": lambda: Forward(halves),
    "pools by size": lambda: Forward(pooled_by_size),
    "pools by number": lambda: Forward(pooled_by_number),
    "shuffles": lambda: Forward(shuffled),
    "subtracts in place": lambda: Forward(subtracts),
    "assigns in place": lambda: Forward(assigns),
}
"""Models that are cut like any other."""


class ByName(nn.Module):
    """Takes pixels by name only, and returns a dictionary."""

    def __init__(self) -> None:
        super().__init__()
        self.net = cnn()
        self.eval()

    def forward(self, *, pixel_values: Tensor, labels: Tensor | None = None) -> dict[str, Tensor]:
        """Return logits among other things."""
        return {"logits": self.net(pixel_values), "features": pixel_values.mean((2, 3))}


class TwoInputs(nn.Module):
    """Needs more than pixels."""

    def __init__(self) -> None:
        super().__init__()
        self.net = cnn()
        self.eval()

    def forward(self, x: Tensor, age: Tensor) -> Tensor:
        """Return logits."""
        z: Tensor = self.net(x) + age
        return z


class Windowed(nn.Module):
    """A transformer's block on a map whose channels come last: it computes on tokens, and returns a reshape of them."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm, self.mlp = nn.LayerNorm(width), nn.Linear(width, width)

    def forward(self, h: Tensor) -> Tensor:
        """Return a map ``(batch, height, width, channels)``."""
        tokens = h.flatten(1, 2)
        return (tokens + self.mlp(self.norm(tokens))).view(h.shape)


class Residual(nn.Module):
    """A convolution with a shortcut."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv, self.act = nn.Conv2d(width, width, 3, padding=1), nn.ReLU()

    def forward(self, h: Tensor) -> Tensor:
        """Return a map ``(batch, channels, height, width)``."""
        z: Tensor = self.act(h + self.conv(h))
        return z


class Turning(nn.Module):
    """Convolutions and transformer blocks in turns: channels come first and last. Its head is a convolution."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.stem = nn.Conv2d(3, 6, 4, 4)
        self.first = nn.ModuleList([Residual(6) for _ in range(4)])
        self.then = nn.ModuleList([Windowed(6) for _ in range(4)])
        self.head = nn.Conv2d(6, 4, 1)
        self.eval()

    def forward(self, x: Tensor) -> Tensor:
        """Return logits."""
        h = self.stem(x)
        for convolution, transformer in zip(self.first, self.then, strict=True):
            h = transformer(convolution(h).permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
        z: Tensor = self.head(h.mean((2, 3), keepdim=True)).flatten(1)
        return z
