"""BEYOND: whether an image agrees with its augmented neighbours (He et al. 2024, arXiv 2209.00005).

Fifty augmentations; an image is suspicious when few neighbours share the *target model's* label, as the authors have it
(ART's port asks the self-supervised model for the label and never looks at the target), or when their representations
are unlike. The paper's encoder is self-supervised (SimSiam); no such checkpoint can be had here, so **the target's own
penultimate features are the encoder**, which an attack on the target moves too. Figures of the paper do not carry over:
none is compared.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks.face import PENULTIMATE, AttackedSet, Images
from benchmarks.peers.protocol import Floats, Limits, Peer, Settings, last_map, pooled
from benchmarks.subjects.settings import SEED

NEIGHBOURS = 50


class BEYOND(Peer):
    """The larger of two standardised disagreements, in label and in representation."""

    name = "beyond"
    title = "BEYOND (target's own encoder)"
    source = "He et al. 2024, arXiv 2209.00005"
    settings = Settings(
        {
            "neighbours": f"{NEIGHBOURS}: crops of 0.2 to 1 of the area, flips, jitter 0.4 (of 0.8), grey (of 0.2)",
            "draws": "once, the same for every image",
            "encoder": "the target's penultimate features; no self-supervised checkpoint was to be had",
            "score": "largest of two disagreements, each standardised on clean images",
        }
    )
    forwards = 1 + NEIGHBOURS
    limits = Limits(taught=200, calibrate=200, clean=300, attacked=100, corrupted=20)
    large_limits = Limits(taught=20, calibrate=20, clean=30, attacked=8, corrupted=1)
    timed = 8

    def prepare(self, clean: Images, attacked: Mapping[str, AttackedSet]) -> None:
        """Draw the augmentations, and standardise the disagreements on clean images."""
        generator = np.random.default_rng(SEED)
        self.augmentations = [Augmentation(generator) for _ in range(NEIGHBOURS)]
        sites = self.classifier.sites
        self.site = PENULTIMATE if PENULTIMATE in sites else last_map(self.classifier)
        parts = torch.from_numpy(np.asarray(clean.pixels)).split(32)
        with torch.inference_mode():
            found = torch.cat([self._disagreements(part.to(self.classifier.device)) for part in parts])
        self.center, self.scale = found.mean(0), found.std(0, correction=0) + 1e-6

    def features(self, x: Tensor) -> Floats:
        """See `Peer`."""
        with torch.inference_mode():
            return self.disagreement(x)[:, None].cpu().numpy()

    def disagreement(self, x: Tensor) -> Tensor:
        """The larger of two standardised disagreements ``(batch,)``."""
        return ((self._disagreements(x) - self.center) / self.scale).amax(1)

    def _disagreements(self, x: Tensor) -> Tensor:
        """Share of neighbours with another label, and mean cosine distance of representations ``(batch, 2)``.

        A label has no gradient: that of its probability passes in its place.
        """
        low, high = self.classifier.bounds
        logits, representation = self._encoded(x)
        label = logits.argmax(1, keepdim=True)
        found = torch.zeros(len(x), 2, device=x.device)
        for augment in self.augmentations:
            moved_logits, moved = self._encoded(low + (high - low) * augment((x - low) / (high - low)))
            likely = moved_logits.softmax(1).gather(1, label).squeeze(1)
            other = (moved_logits.argmax(1) != label.squeeze(1)).float() + likely.detach() - likely
            found = found + torch.stack([other, 1 - F.cosine_similarity(representation, moved)], dim=1)
        return found / NEIGHBOURS

    def _encoded(self, x: Tensor) -> tuple[Tensor, Tensor]:
        z, latents = self.classifier.trace(x, (self.site,))
        return z, pooled(latents[self.site])


class Augmentation:
    """One augmentation with everything drawn: crop and resize, flip, jitter, grey."""

    def __init__(self, generator: np.random.Generator) -> None:
        area, ratio = generator.uniform(0.2, 1), np.exp(generator.uniform(np.log(3 / 4), np.log(4 / 3)))
        self.size = np.minimum(1, np.sqrt([area * ratio, area / ratio]))
        self.centre = generator.uniform(-1, 1, 2) * (1 - self.size)
        self.flip = -1 if generator.random() < 0.5 else 1
        self.jitter = generator.uniform(0.6, 1.4, 3) if generator.random() < 0.8 else None
        self.grey = generator.random() < 0.2

    def __call__(self, x: Tensor) -> Tensor:
        """Augment pixels in [0, 1]."""
        (width, height), (left, top) = self.size, self.centre
        theta = torch.tensor([[self.flip * width, 0, left], [0, height, top]], dtype=x.dtype, device=x.device)
        grid = F.affine_grid(theta.expand(len(x), 2, 3), list(x.shape), align_corners=False)
        x = F.grid_sample(x, grid, padding_mode="reflection", align_corners=False)
        if self.jitter is not None:
            x = self._jittered(x)
        return x.mean(1, keepdim=True).expand_as(x) if self.grey else x

    def _jittered(self, x: Tensor) -> Tensor:
        assert self.jitter is not None
        brightness, contrast, saturation = (float(factor) for factor in self.jitter)
        x = (x * brightness).clamp(0, 1)
        middle = x.mean((1, 2, 3), keepdim=True)
        x = (middle + contrast * (x - middle)).clamp(0, 1)
        grey = x.mean(1, keepdim=True)
        return (grey + saturation * (x - grey)).clamp(0, 1)
