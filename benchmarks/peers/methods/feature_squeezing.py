"""Feature Squeezing: how far the prediction moves when the picture is squeezed (Xu et al. 2018, arXiv 1704.01155).

The score is the largest L1 distance between the softmax of an image and of its squeezed versions. Squeezers are the
paper's best joint ones: 5 bits, 2x2 median, non-local means 13-3-2 for CIFAR-10; 11-3-4 for ImageNet; 1 bit and 2x2
median for grey images (those of MNIST). Non-local means is OpenCV's formula on RGB (OpenCV's coloured filter splits
brightness and colour); the time of its pure PyTorch form is most of the measured cost, so a faster filter would cost
about 4 forwards.

Reproduction, on the first 64 judged images of CIFAR-10, ResNet-20: reproduced. Detection rate at 5 % FPR 0.32 of FGSM
8/255 (published 0.293) and 0.06 of PGD 8/255 (published 0.082).
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks.face import AttackedSet, Images
from benchmarks.peers.protocol import SMALL, Floats, Limits, Peer, Published, Settings

_ALDAHDOOH = "Aldahdooh et al. 2022, arXiv 2105.00203, CIFAR-10"
_DIFFERS = "another classifier; ours is ResNet-20 at 5 %, theirs at 5.07 % on correctly classified images"


class FeatureSqueezing(Peer):
    """Largest change of the softmax over the squeezers."""

    name = "feature-squeezing"
    title = "Feature Squeezing"
    source = "Xu et al. 2018, arXiv 1704.01155"
    settings = Settings(
        {
            "colour": "5 bits, 2x2 median, non-local means 13-3-2 (11-3-4 above 64 pixels)",
            "grey": "1 bit, 2x2 median",
            "distance": "L1 of softmax, largest",
        }
    )
    published = (
        Published(
            "detection rate of FGSM 8/255 at 5.07 % FPR", 0.293, _ALDAHDOOH, ("fgsm 8/255",), "tpr", differs=_DIFFERS
        ),
        Published(
            "detection rate of PGD 8/255 at 5.07 % FPR", 0.082, _ALDAHDOOH, ("pgd 8/255",), "tpr", differs=_DIFFERS
        ),
        Published(
            "detection rate of DeepFool at 5.07 % FPR", 0.392, _ALDAHDOOH, ("deepfool",), "tpr", differs=_DIFFERS
        ),
    )
    forwards = 4
    limits = Limits(clean=600, attacked=300, calibrate=400, corrupted=60)
    large_limits = Limits(attacked=32, corrupted=10)
    timed = 16

    def prepare(self, clean: Images, attacked: Mapping[str, AttackedSet]) -> None:
        """Nothing is learned."""

    def features(self, x: Tensor) -> Floats:
        """See `Peer`."""
        with torch.inference_mode():
            return self.change(x)[:, None].cpu().numpy()

    def change(self, x: Tensor) -> Tensor:
        """Largest L1 distance between the softmax of images and of their squeezed versions ``(batch,)``."""
        plain = self.classifier.logits(x).softmax(1)
        changes = [(self.classifier.logits(squeezed).softmax(1) - plain).abs().sum(1) for squeezed in self._squeezed(x)]
        return torch.stack(changes).amax(0)

    def _squeezed(self, x: Tensor) -> list[Tensor]:
        low, high = self.classifier.bounds
        unit = (x - low) / (high - low)
        if x.shape[1] == 1:
            versions = [fewer_bits(unit, 1), median(unit)]
        else:
            search, strength = (13, 2) if max(x.shape[2:]) <= SMALL else (11, 4)
            versions = [fewer_bits(unit, 5), median(unit), non_local_means(unit, search, 3, strength)]
        return [low + (high - low) * version for version in versions]


def fewer_bits(x: Tensor, bits: int) -> Tensor:
    """Pixels in [0, 1] rounded to ``2 ** bits`` levels; the gradient passes as if they were not."""
    levels = 2**bits - 1
    return x + ((x * levels).round() / levels - x).detach()


def median(x: Tensor) -> Tensor:
    """Median of 2x2 pixels, as SciPy takes it and as the authors did: the upper one, of a pixel and those before it."""
    height, width = x.shape[2:]
    padded = F.pad(x, [1, 0, 1, 0], mode="replicate")
    corners = [padded[:, :, dy : dy + height, dx : dx + width] for dy in (0, 1) for dx in (0, 1)]
    return torch.stack(corners).sort(0).values[2]


def non_local_means(x: Tensor, search: int, template: int, strength: float) -> Tensor:
    """Non-local means (Buades et al. 2005) of pixels in [0, 1]; windows in pixels, strength in grey levels of 255."""
    reach, half = search // 2, template // 2
    height, width = x.shape[2:]
    padded = F.pad(x, [reach + half] * 4, mode="reflect")
    centre = padded[:, :, reach : reach + height + 2 * half, reach : reach + width + 2 * half]
    total, weights = torch.zeros_like(x), torch.zeros_like(x[:, :1])
    for dy in range(search):
        for dx in range(search):
            other = padded[:, :, dy : dy + height + 2 * half, dx : dx + width + 2 * half]
            distance = F.avg_pool2d((other - centre).square().mean(1, keepdim=True), template, stride=1)
            weight = torch.exp(distance * -((255 / strength) ** 2))
            total += weight * other[:, :, half : half + height, half : half + width]
            weights += weight
    return total / weights
