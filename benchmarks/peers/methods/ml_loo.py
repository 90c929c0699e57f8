"""ML-LOO: dispersion of leave-one-out effects of single pixel values (Yang et al. 2020, arXiv 1906.03499).

Each pixel value is set to the lowest value in turn; the interquartile range of the effects, over the pixel values, is
the statistic. *Multi-layer* means that effects on hidden units count too; a logistic regression weighs them.

A picture of 32x32 has 3,072 values. The range is estimated from a fixed random sample of them, a twelfth of the work:
where we cost less at a better score than this sample, we do so against the whole all the more.

Reproduction, on 24 attacked images of CIFAR-10, ResNet-20, 64 pixel values and 100 images to learn from: below the
paper. AUROC 0.94 of FGSM, 0.82 of C&W, 0.95 of PGD 8/255; published 0.997, 0.995, 0.999. C&W reaches 0.93 where it
alone is learned, as by the authors.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from benchmarks.face import AttackedSet, Images
from benchmarks.peers.methods.logistic import LogisticPeer
from benchmarks.peers.protocol import Floats, Limits, Published, Settings, pooled
from benchmarks.subjects.settings import SEED

SAMPLED = 256
"""Pixel values that are left out, at most."""

_YANG = "Yang et al. 2020, arXiv 1906.03499, CIFAR-10 ResNet"
_DIFFERS = "their attacks are stronger (C&W with confidence), one detector an attack, on correctly classified images"


class MLLOO(LogisticPeer):
    """Interquartile ranges of leave-one-out effects on the decision's probability and on the channels of all sites."""

    name = "ml-loo"
    title = "ML-LOO"
    source = "Yang et al. 2020, arXiv 1906.03499"
    settings = Settings(
        {
            "left out": f"{SAMPLED} pixel values drawn once (the paper: all), set to the lowest value",
            "outputs": "probability of the decision, averaged channels of the sites (the paper: single neurons)",
            "dispersion": "interquartile range",
        }
    )
    published = (
        Published("AUROC of FGSM", 0.997, _YANG, ("fgsm 8/255",), differs=_DIFFERS),
        Published("AUROC of C&W", 0.995, _YANG, ("cw-l2",), differs=_DIFFERS),
        Published("AUROC of PGD", 0.999, _YANG, ("pgd 8/255",), differs=_DIFFERS),
    )
    forwards = 3073
    limits = Limits(taught=100, taught_attacked=40, calibrate=60, clean=100, attacked=40, corrupted=5)
    large_limits = None
    timed = 4

    def prepare(self, clean: Images, attacked: Mapping[str, AttackedSet]) -> None:
        """Draw the pixel values."""
        values = int(np.prod(self.classifier.input_shape))
        drawn = np.random.default_rng(SEED).permutation(values)[:SAMPLED]
        self.left_out = torch.from_numpy(drawn).to(self.classifier.device)

    def features(self, x: Tensor) -> Floats:
        """See `Peer`."""
        with torch.inference_mode():
            return torch.stack([self._dispersion(image) for image in x.split(1)]).cpu().numpy()

    def _dispersion(self, image: Tensor) -> Tensor:
        without = image.flatten(1).repeat(len(self.left_out), 1)
        without[torch.arange(len(without)), self.left_out] = self.classifier.bounds[0]
        plain, label = self._outputs(image)
        changed = [self._outputs(part, label)[0] for part in without.unflatten(1, image.shape[1:]).split(64)]
        low, high = torch.quantile(plain - torch.cat(changed), torch.tensor([0.25, 0.75], device=image.device), dim=0)
        return high - low

    def _outputs(self, x: Tensor, label: Tensor | None = None) -> tuple[Tensor, Tensor]:
        z, latents = self.classifier.trace(x)
        label = z.argmax(1) if label is None else label
        probability = z.softmax(1)[:, label]
        return torch.cat([probability, *(pooled(latent) for latent in latents.values())], dim=1), label
