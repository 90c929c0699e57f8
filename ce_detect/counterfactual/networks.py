"""The two networks: a classifier with one output more, and an image-to-image generator with a mask."""

from __future__ import annotations

import itertools
import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ce_detect.classifiers.base import PENULTIMATE, Classifier
from ce_detect.core.errors import ModelError
from ce_detect.core.types import Bounds

GROUPS = 8
"""Groups of channels that are normalised together, at most: real and generated images share no statistics."""

SLOPE = 0.2
"""Of the leaky ReLU below 0."""


class Trunk(nn.Module):
    """Convolutions that halve the image ``depth`` times, then the mean and the largest value of each channel.

    Args:
        channels: of an image.
        width: channels of the first layer.
        depth: see there.
        bounds: smallest and largest valid pixel value.
    """

    def __init__(self, channels: int, *, width: int, depth: int, bounds: Bounds) -> None:
        super().__init__()
        self.bounds = bounds
        sizes = [width * 2**level for level in range(depth + 1)]
        self.first = _block(channels, width)
        self.stages = nn.Sequential(
            *(nn.Sequential(_block(a, b, stride=2), _block(b, b)) for a, b in itertools.pairwise(sizes))
        )
        self.features = 2 * sizes[-1]

    def forward(self, x: Tensor) -> Tensor:
        """Return ``(batch, features)`` of pixels within the bounds."""
        h = self.stages(self.first(_centred(x, self.bounds)))
        return torch.cat([h.mean((2, 3)), h.amax((2, 3))], dim=1)


class KPlusOne(nn.Module):
    """A classifier of K classes with one output more, "fake", so that it is a discriminator too.

    Attributes:
        trunk: from pixels to features ``(batch, features)``.
        classes: the last layer of the K classes.
        fake: that of the further output.
    """

    def __init__(self, trunk: nn.Module, features: int, classes: int) -> None:
        super().__init__()
        self.trunk = trunk
        self.classes = nn.Linear(features, classes)
        self.fake = nn.Linear(features, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Return logits ``(batch, K + 1)`` of pixels ``(batch, channels, height, width)``; "fake" is the last one."""
        h = self.trunk(x).flatten(1)
        return torch.cat([self.classes(h), self.fake(h)], dim=1)


class ClassLogits(nn.Module):
    """The K classes of a `KPlusOne` network alone: it takes the place of a plain classifier, at the same cost."""

    def __init__(self, network: KPlusOne) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: Tensor) -> Tensor:
        """Return logits ``(batch, K)``."""
        logits: Tensor = self.network(x)[:, :-1]
        return logits


class Generator(nn.Module):
    """A U-Net that shows an image as one of another class: ``G(x, t) = (1 - m) x + m c``.

    The mask ``m`` in [0, 1] says where the image changes and the content ``c``, within the bounds, to what (Pumarola et
    al. 2018, arXiv 1807.09251), so that ``G(x, t)`` never leaves the bounds. The target class comes in as planes.

    Args:
        channels: of an image.
        classes: number of classes.
        width: channels of the first layer.
        depth: how often the image is halved.
        bounds: smallest and largest valid pixel value.
    """

    def __init__(self, channels: int, classes: int, *, width: int, depth: int, bounds: Bounds) -> None:
        super().__init__()
        self.channels, self.classes, self.bounds = channels, classes, bounds
        sizes = [width * 2**level for level in range(depth + 1)]
        pairs = list(itertools.pairwise(sizes))
        self.first = _block(channels + classes, width)
        self.down = nn.ModuleList(_block(a, b, stride=2) for a, b in pairs)
        self.middle = _block(sizes[-1], sizes[-1])
        self.up = nn.ModuleList(_block(a + b, a) for a, b in reversed(pairs))
        self.mask = nn.Conv2d(width, 1, 3, padding=1)
        self.content = nn.Conv2d(width, channels, 3, padding=1)

    def forward(self, x: Tensor, target: Tensor) -> Tensor:
        """Return counterfactuals of the shape of ``x``.

        Args:
            x: pixels ``(batch, channels, height, width)`` within the bounds.
            target: class that each is to have, ``(batch,)``.
        """
        low, high = self.bounds
        h = self.hidden(x, target)
        mask = self.mask(h).sigmoid()
        content = low + (high - low) * self.content(h).sigmoid()
        made: Tensor = x + mask * (content - x)
        return made

    def hidden(self, x: Tensor, target: Tensor) -> Tensor:
        """Return what mask and content are made of, ``(batch, width, height, width)``; see `forward`."""
        planes = F.one_hot(target, self.classes).to(x.dtype)[:, :, None, None].expand(-1, -1, *x.shape[2:])
        h: Tensor = self.first(torch.cat([_centred(x, self.bounds), planes], dim=1))
        kept = [h]
        for down in self.down:
            kept.append(down(kept[-1]))
        h = self.middle(kept.pop())
        for up in self.up:
            skip = kept.pop()
            h = up(torch.cat([F.interpolate(h, size=skip.shape[2:]), skip], dim=1))
        return h


def kplusone(
    classifier: Classifier | None, channels: int, classes: int, *, width: int, depth: int, bounds: Bounds
) -> KPlusOne:
    """Make a K+1 network: from scratch, or of a classifier's trunk and last layer.

    Args:
        classifier: of one's own, whose layers are copied; None for one from scratch.
        channels: of an image.
        classes: their number, K.
        width: see `Trunk`.
        depth: see there.
        bounds: smallest and largest valid pixel value.

    Raises:
        ModelError: the classifier cannot be copied, or its last layer is not linear.
    """
    if classifier is None:
        trunk = Trunk(channels, width=width, depth=depth, bounds=bounds)
        return KPlusOne(trunk, trunk.features, classes)
    weight = classifier.head_weight
    if classifier.multi_label or weight is None or (copied := classifier.copied(PENULTIMATE)) is None:
        why = "several labels may hold at once" if classifier.multi_label else "no linear last layer was found in it"
        raise ModelError(
            f"an output cannot be added to this classifier: {why}. Leave the model out, and a network is trained from "
            "scratch on the images and labels"
        )
    made = KPlusOne(copied.float(), weight.shape[1], len(weight)).to(classifier.device)
    with torch.no_grad():
        probe = classifier.probe()
        features = made.trunk(probe).flatten(1)
        made.classes.weight.copy_(weight)
        made.classes.bias.copy_((classifier.logits(probe) - features @ weight.T)[0])
        made.fake.weight.zero_()
        made.fake.bias.zero_()
    return made


def fakeness(z: Tensor) -> Tensor:
    """Log-odds of "fake" against all classes ``(batch,)``, in nats, from logits ``(batch, K + 1)``."""
    return z[:, -1] - torch.logsumexp(z[:, :-1], dim=1)


def runner_up(z: Tensor) -> Tensor:
    """The second likeliest class ``(batch,)`` by logits ``(batch, K)``."""
    first = F.one_hot(z.argmax(1), z.shape[1]).bool()
    return z.masked_fill(first, -torch.inf).argmax(1)


def _centred(x: Tensor, bounds: Bounds) -> Tensor:
    """Pixels from -1 to 1."""
    low, high = bounds
    return (x - low) * (2 / (high - low)) - 1


def _block(inputs: int, outputs: int, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 3, stride, 1),
        nn.GroupNorm(math.gcd(GROUPS, outputs), outputs),
        nn.LeakyReLU(SLOPE),
    )
