"""Local intrinsic dimensionality of the activations (Ma et al. 2018, arXiv 1801.02613).

For each layer, the maximum-likelihood estimate of the dimensionality from the distances to the ``k`` nearest of 100
clean images; a logistic regression over the layers. As in the paper, noisy clean images count as negatives. There, the
reference is the minibatch that an image happens to come in; here it is fixed, so that a score does not depend on it.

Reproduction, on the first 128 judged images of CIFAR-10, ResNet-20, and 448 to learn from: not reproduced. Mean
detection rate at 9.9 % FPR 0.38, published 0.697. One detector for all attacks has to learn opposite signs, as its
matrix shows.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks.face import AttackedSet, Images, Table, rows
from benchmarks.peers.methods.logistic import LogisticPeer
from benchmarks.peers.protocol import Floats, Limits, Published, Settings, batches, share
from benchmarks.subjects.settings import SEED

REFERENCE = 100
NEIGHBOURS = 20
LARGEST = 16
"""Feature maps of more rows and columns are averaged down to so many, for time and memory."""


class LID(LogisticPeer):
    """Dimensionalities of all sites, and a logistic regression."""

    name = "lid"
    title = "LID"
    source = "Ma et al. 2018, arXiv 1801.02613"
    settings = Settings(
        {
            "neighbours": f"{NEIGHBOURS} of {REFERENCE} fixed clean images (the paper: of the minibatch)",
            "layers": f"the classifier's sites, maps averaged down to {LARGEST}x{LARGEST} (the paper: every layer)",
            "negatives": "clean, and clean with Gaussian noise of the attacks' mean L2 size",
        }
    )
    published = (
        Published(
            "mean detection rate of 20 attacks at 9.9 % FPR",
            0.697,
            "Aldahdooh et al. 2022, arXiv 2105.00203, CIFAR-10",
            (),
            "tpr",
            0.099,
            differs="other attacks and another classifier; theirs learns one detector an attack",
        ),
    )
    limits = Limits(taught=800, taught_attacked=400)

    def prepare(self, clean: Images, attacked: Mapping[str, AttackedSet]) -> None:
        """Keep the reference's activations, and make the noisy negatives."""
        generator = np.random.default_rng(SEED)
        chosen = rows(clean.pixels, share(generator, clean.pixels, REFERENCE))
        with torch.no_grad():
            parts = [self._activations(batch) for batch in batches(chosen, self.classifier)]
        self.reference = [torch.cat(site) for site in zip(*parts, strict=True)]
        x = np.asarray(clean.pixels)
        sizes = [
            np.linalg.norm((twins.x - x[twins.index]).reshape(len(twins), -1), axis=1) for twins in attacked.values()
        ]
        size = float(np.concatenate(sizes).mean())
        noise = generator.standard_normal(x.shape, dtype=np.float32) * (size / np.sqrt(x[0].size))
        self.noisy = self.features_of(np.clip(x + noise.astype(np.float32), *self.classifier.bounds))

    def features(self, x: Tensor) -> Floats:
        """See `Peer`."""
        with torch.inference_mode():
            return self.estimates(x).cpu().numpy()

    def estimates(self, x: Tensor) -> Tensor:
        """Dimensionality at each site ``(batch, sites)``."""
        estimates = [
            dimensionality(torch.cdist(activations, reference))
            for activations, reference in zip(self._activations(x), self.reference, strict=True)
        ]
        return torch.stack(estimates, dim=1)

    def learn(self, table: Table) -> None:
        """See `Peer`."""
        super().learn(Table(np.concatenate([table.clean, self.noisy]), table.attacked))

    def _activations(self, x: Tensor) -> list[Tensor]:
        return [flat(latent) for latent in self.classifier.trace(x).latents.values()]


def flat(latent: Tensor) -> Tensor:
    """A latent as rows; large maps averaged down."""
    if latent.ndim == 4 and max(latent.shape[2:]) > LARGEST:
        latent = F.adaptive_avg_pool2d(latent, LARGEST)
    return latent.flatten(1)


def dimensionality(distances: Tensor) -> Tensor:
    """Maximum-likelihood estimate (Ma et al., eq. 4) from distances ``(batch, reference)``; 0 is the image itself."""
    itself = distances <= 1e-4 * distances.mean(1, keepdim=True)
    count = min(NEIGHBOURS, distances.shape[1] - 1)
    nearest = distances.masked_fill(itself, torch.inf).topk(count, dim=1, largest=False).values
    return -1 / torch.log(nearest / nearest[:, -1:]).mean(1).clamp_max(-1e-6)
