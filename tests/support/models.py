"""A registry of tiny models that tests sweep."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from ce_detect.classifiers.hooked import HookClassifier
from ce_detect.classifiers.segmented import TorchClassifier
from ce_detect.classifiers.wrapping import wrap


class PlainCNN(nn.Module):
    """Convolution, batch norm and ReLU in two stages, global pooling, a linear head. Takes any size."""

    def __init__(self) -> None:
        super().__init__()
        self.stage1 = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8), nn.ReLU())
        self.stage2 = nn.Sequential(nn.Conv2d(8, 12, 3, stride=2, padding=1), nn.BatchNorm2d(12), nn.ReLU())
        self.stage3 = nn.Sequential(nn.Conv2d(12, 12, 3, padding=1), nn.BatchNorm2d(12), nn.ReLU())
        self.head = nn.Linear(12, 4)

    def forward(self, x: Tensor) -> Tensor:
        """Return logits ``(batch, 4)``."""
        return self.head(self.stage3(self.stage2(self.stage1(x))).mean((2, 3)))


class Block(nn.Module):
    """Two convolutions with batch norm beside a shortcut."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride=stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.shortcut = nn.Conv2d(inputs, outputs, 1, stride=stride) if stride > 1 else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """Return the sum of both paths after a ReLU."""
        h = F.relu(self.bn1(self.conv1(x)))
        return F.relu(self.bn2(self.conv2(h)) + self.shortcut(x))


class ResidualCNN(nn.Module):
    """Residual blocks at two resolutions; pixels of 0 to 255, normalised inside."""

    mean: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor([120.0, 110.0, 100.0]).view(3, 1, 1))
        self.stem = nn.Conv2d(3, 8, 3, padding=1)
        self.block1 = Block(8, 8, 1)
        self.block2 = Block(8, 16, 2)
        self.block3 = Block(16, 16, 1)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(16, 5)

    def forward(self, x: Tensor) -> Tensor:
        """Return logits ``(batch, 5)``."""
        h = F.relu(self.stem((x - self.mean) / 60))
        h = self.block3(self.block2(self.block1(h)))
        return self.fc(torch.flatten(self.pool(h), 1))


class InPlaceCNN(nn.Module):
    """In-place ReLUs, max pooling, dropout and a head that knows the size of its input."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(1, 6, 3, padding=1), nn.ReLU(inplace=True), nn.MaxPool2d(2),
            nn.Conv2d(6, 8, 3, padding=1), nn.ReLU(inplace=True), nn.MaxPool2d(2),
        )  # fmt: skip
        self.classifier = nn.Sequential(nn.Dropout(), nn.Linear(8 * 3 * 3, 10), nn.ReLU(inplace=True), nn.Linear(10, 3))

    def forward(self, x: Tensor) -> Tensor:
        """Return logits ``(batch, 3)``."""
        x = self.features(x)
        return self.classifier(x.view(x.size(0), -1))


class Attention(nn.Module):
    """A transformer block before normalisation: attention, then a small network, each beside a shortcut."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.proj = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.mlp = nn.Sequential(nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width))

    def forward(self, x: Tensor) -> Tensor:
        """Map tokens ``(batch, tokens, width)`` to tokens of the same shape."""
        batch, tokens, width = x.shape
        qkv = self.qkv(self.norm1(x)).reshape(batch, tokens, 3, self.heads, width // self.heads)
        q, k, v = qkv.permute(2, 0, 3, 1, 4).unbind(0)
        h = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(batch, tokens, width)
        x = x + self.proj(h)
        return x + self.mlp(self.norm2(x))


class VisionTransformer(nn.Module):
    """Patches, a class token, two blocks of attention; refuses other sizes as torchvision's does."""

    def __init__(self) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, 16, 4, stride=4)
        self.token = nn.Parameter(torch.randn(1, 1, 16))
        self.position = nn.Parameter(torch.randn(1, 10, 16) / 4)
        self.block1, self.block2 = Attention(16, 2), Attention(16, 2)
        self.norm, self.head = nn.LayerNorm(16), nn.Linear(16, 6)

    def forward(self, x: Tensor) -> Tensor:
        """Return logits ``(batch, 6)``."""
        torch._assert(x.shape[2] == 12, f"expected height 12, got {x.shape[2]}")
        h = self.patches(x).flatten(2).transpose(1, 2)
        h = torch.cat([self.token.expand(h.shape[0], -1, -1), h], dim=1) + self.position
        return self.head(self.norm(self.block2(self.block1(h)))[:, 0])


class BranchingCNN(nn.Module):
    """Looks at its data before it computes, so that ``torch.export`` gives up; works in place where it can."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.relu1 = nn.Conv2d(1, 6, 3, padding=1), nn.ReLU(inplace=True)
        self.conv2, self.relu2 = nn.Conv2d(6, 6, 3, stride=2, padding=1), nn.ReLU(inplace=True)
        self.shortcut = nn.Conv2d(1, 6, 1, stride=2)
        self.conv3 = nn.Conv2d(6, 8, 3, stride=2, padding=1)
        self.fc = nn.Linear(8, 4)

    def forward(self, x: Tensor) -> Tensor:
        """Return logits ``(batch, 4)``."""
        if float(x.detach().abs().amax()) > 1e6:
            raise OverflowError("pixels too large")
        h = self.conv2(self.relu1(self.conv1(x)))
        h += self.shortcut(x)
        return self.fc(self.conv3(self.relu2(h)).mean((2, 3)))


class OneLogit(nn.Module):
    """A binary classifier with the log-odds of class 1 as its only output."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 6, 3, stride=2, padding=1)
        self.fc = nn.Linear(6, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Return log-odds ``(batch,)``."""
        return self.fc(F.relu(self.conv(x)).mean((2, 3))).squeeze(1)


@dataclass(frozen=True)
class Tiny:
    """A tiny model and what is known of it.

    Attributes:
        build: makes the bare module; weights are drawn from a fixed seed by `tiny_model`.
        shape: ``(channels, height, width)``.
        bounds: smallest and largest pixel.
        classes: number of logits after wrapping.
        cut: whether it can be cut into segments.
        elastic: whether it takes inputs of other sizes once it is wrapped.
    """

    build: Callable[[], nn.Module]
    shape: tuple[int, int, int]
    bounds: tuple[float, float]
    classes: int
    cut: bool = True
    elastic: bool = True


TINY = {
    "plain": Tiny(PlainCNN, (3, 16, 16), (0.0, 1.0), 4),
    "residual": Tiny(ResidualCNN, (3, 16, 16), (0.0, 255.0), 5),
    "in-place": Tiny(InPlaceCNN, (1, 12, 12), (-1.0, 1.0), 3, elastic=False),
    "transformer": Tiny(VisionTransformer, (3, 12, 12), (0.0, 1.0), 6, elastic=False),
    "branching": Tiny(BranchingCNN, (1, 12, 12), (0.0, 1.0), 4, cut=False, elastic=False),
    "one-logit": Tiny(OneLogit, (1, 12, 12), (0.0, 1.0), 2),
}


def tiny_model(name: str) -> nn.Module:
    """A fresh copy of a tiny model: the same weights every time, batch-norm statistics that matter, eval mode.

    The last layer is set so that logits have mean 0 and standard deviation 2, and images get different labels.
    """
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = TINY[name].build()
        for module in model.modules():
            if isinstance(module, nn.BatchNorm2d):
                nn.init.normal_(module.running_mean, std=0.3)
                nn.init.uniform_(module.running_var, 0.5, 2.0)
                nn.init.normal_(module.weight, mean=1.0, std=0.3)
                nn.init.normal_(module.bias, std=0.3)
            if isinstance(module, nn.Conv2d | nn.Linear):
                nn.init.orthogonal_(module.weight, gain=2.0)
    *_, last = (module for module in model.eval().modules() if isinstance(module, nn.Linear))
    with torch.no_grad():
        last.bias.zero_()
        x = tiny_images(name, 64, seed=1)
        last.weight *= 2 / (model(x).view(64, -1).std(0).mean())
        last.bias -= model(x).view(64, -1).mean(0)
    return model


def tiny_images(name: str, count: int, seed: int = 0) -> Tensor:
    """Images of blocks and noise within the bounds, all different."""
    channels, height, width = TINY[name].shape
    low, high = TINY[name].bounds
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.rand(count, channels, 4, 4, generator=generator)
    fine = torch.rand(count, channels, height, width, generator=generator)
    mixed = 0.8 * F.interpolate(coarse, size=(height, width), mode="nearest") + 0.2 * fine
    return low + (high - low) * mixed


@functools.lru_cache
@torch.inference_mode(False)
def tiny_classifier(name: str) -> TorchClassifier | HookClassifier:
    """A tiny model, wrapped once a session; leave it as it is."""
    return wrap(tiny_model(name), input_shape=TINY[name].shape, bounds=TINY[name].bounds)


@dataclass(frozen=True)
class Subject:
    """What a test of one tiny model needs.

    Attributes:
        name: key in ``TINY``.
        tiny: what is known of it.
        model: a fresh copy of the bare model.
        classifier: the wrapped model, shared by all tests.
        x: eight images ``(8, channels, height, width)``.
    """

    name: str
    tiny: Tiny
    model: nn.Module
    classifier: TorchClassifier | HookClassifier
    x: Tensor


def subject(name: str) -> Subject:
    """Gather what there is of a tiny model."""
    return Subject(name, TINY[name], tiny_model(name), tiny_classifier(name), tiny_images(name, 8))


def as_array(x: Tensor) -> NDArray[np.float32]:
    """A tensor as a NumPy array of its own."""
    return x.detach().numpy().copy()


PLAIN = {"input_shape": (3, 16, 16), "bounds": (0.0, 1.0)}
"""What the plain CNN is wrapped with."""

GREY = {"input_shape": (1, 12, 12), "bounds": (0.0, 1.0)}
"""What the branching CNN and the one of a single logit are wrapped with."""


class Around(nn.Module):
    """Does something with the output of a model."""

    def __init__(self, model: nn.Module, function: object) -> None:
        super().__init__()
        self.model = model
        self.function = function

    def forward(self, x: Tensor) -> object:
        """Return what the function makes of the model's output."""
        return self.function(self.model(x))


def around(name: str, function: object) -> nn.Module:
    """A tiny model with its output changed, in eval mode."""
    return Around(tiny_model(name), function).eval()


def two_logits(z: Tensor) -> Tensor:
    """What the wrapper makes of one logit."""
    return torch.stack([-z / 2, z / 2], dim=1) if z.ndim == 1 else z
