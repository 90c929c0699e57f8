"""Mahalanobis distance to the nearest class, with and without input preprocessing (Lee et al. 2018, arXiv 1807.03888).

For each layer, class means of the averaged feature maps and one shared covariance; a layer's confidence is minus the
distance to the nearest class, and a logistic regression weighs the layers. With preprocessing, a layer's confidence is
taken after a small step of the input that raises it. The authors estimate from 50,000 training images; here there are
some hundreds, so the covariance is shrunk (Ledoit and Wolf 2004), and with fewer than five images a class there is one
mean for all.

Reproduction, on the first 128 judged images of CIFAR-10, ResNet-20, and 448 to learn from: not reproduced. AUROC 0.91
of FGSM and 0.57 of C&W, published 0.9994 and 0.9584; 0.95 and 0.62 where the detector learns that attack alone, as the
authors' does. Minimum-norm C&W stays near the classes' edges, and the averaged features are few and from few images.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.covariance import LedoitWolf
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import cross_val_predict
from torch import Tensor

from benchmarks.face import AttackedSet, Images
from benchmarks.peers.methods.logistic import LogisticPeer, fitted
from benchmarks.peers.protocol import Floats, Limits, Published, Settings, batches, labels, pooled, stacked

MAGNITUDES = (0.000125, 0.00035, 0.00125)
"""Steps to choose from, as a share of the pixel range: 0.0005, 0.0014 and 0.005 of the authors' normalised inputs."""

LEAST = 5
"""Images a class, on average, below which there is one mean for all."""

_LEE = "Lee et al. 2018, arXiv 1807.03888, table 3, CIFAR-10 ResNet-34"
_DIFFERS = (
    "theirs preprocesses, learns one detector an attack, and judges correctly classified images of a larger network"
)


class Mahalanobis(LogisticPeer):
    """Confidences of all sites, and a logistic regression."""

    name = "mahalanobis"
    title = "Mahalanobis"
    source = "Lee et al. 2018, arXiv 1807.03888"
    settings = Settings(
        {"covariance": "shared by the classes, Ledoit-Wolf", "layers": "the classifier's sites, averaged maps"}
    )
    published = (
        Published("AUROC of FGSM", 0.9994, _LEE, ("fgsm 8/255",), differs=_DIFFERS),
        Published("AUROC of C&W", 0.9584, _LEE, ("cw-l2",), differs=_DIFFERS),
        Published("AUROC of DeepFool", 0.9157, _LEE, ("deepfool",), differs=_DIFFERS + "; ours has not seen DeepFool"),
    )

    def prepare(self, clean: Images, attacked: Mapping[str, AttackedSet]) -> None:
        """Estimate class means and the shared precision of each site."""
        parts = [self._pooled(batch) for batch in batches(clean.pixels, self.classifier)]
        known = labels(self.classifier, clean)
        self.gaussians = [gaussian(torch.cat(site).cpu().numpy(), known) for site in zip(*parts, strict=True)]
        self.gaussians = [tuple(part.to(self.classifier.device) for part in pair) for pair in self.gaussians]

    def features(self, x: Tensor) -> Floats:
        """See `Peer`."""
        with torch.inference_mode():
            return torch.stack(self._confidences(self._pooled(x)), dim=1).cpu().numpy()

    def _pooled(self, x: Tensor) -> list[Tensor]:
        with torch.set_grad_enabled(x.requires_grad):
            return [pooled(latent) for latent in self.classifier.trace(x).latents.values()]

    def _confidences(self, sites: list[Tensor]) -> list[Tensor]:
        return [confidence(site, *pair) for site, pair in zip(sites, self.gaussians, strict=True)]


class PreprocessedMahalanobis(Mahalanobis):
    """The same after a step of the input for each site."""

    name = "mahalanobis-preprocessed"
    title = "Mahalanobis + input preprocessing"
    settings = Settings(
        {
            **Mahalanobis.settings,
            "magnitudes": f"{MAGNITUDES} of the pixel range; cross-validated on what it learns from",
        }
    )
    forwards = 22  # of seven sites: one, and for each site a gradient (twice a forward) and one more
    limits = Limits(taught=300, taught_attacked=100, calibrate=300, clean=400, attacked=150, corrupted=40)
    large_limits = Limits(taught=30, taught_attacked=10, calibrate=20, clean=40, attacked=12, corrupted=1)
    timed = 16

    def prepare(self, clean: Images, attacked: Mapping[str, AttackedSet]) -> None:
        """Estimate, and choose the step."""
        super().prepare(clean, attacked)
        few = {name: twins.subset(slice(30)) for name, twins in attacked.items()}
        found = {}
        for self.magnitude in MAGNITUDES:
            found[self.magnitude] = self._validated(clean.subset(slice(100)), few)
        self.magnitude = max(found, key=lambda magnitude: found[magnitude])

    def features(self, x: Tensor) -> Floats:
        """See `Peer`."""
        low, high = self.classifier.bounds
        given = x.clone().requires_grad_(True)
        confidences = self._confidences(self._pooled(given))
        found = []
        for position, value in enumerate(confidences):
            (slope,) = torch.autograd.grad(value.sum(), given, retain_graph=position + 1 < len(confidences))
            with torch.inference_mode():
                moved = (x + self.magnitude * (high - low) * slope.sign()).clamp(low, high)
                found.append(self._confidences(self._pooled(moved))[position])
        return torch.stack(found, dim=1).cpu().numpy()

    def _validated(self, clean: Images, attacked: Mapping[str, AttackedSet]) -> float:
        table = self.table(clean.pixels, attacked)
        x, target, _ = stacked(table)
        return float(roc_auc_score(target, cross_val_predict(fitted(table), x, target, method="decision_function")))


def gaussian(x: Floats, y: NDArray[np.int64]) -> tuple[Tensor, Tensor]:
    """Class means ``(classes, features)`` and the shared precision ``(features, features)``."""
    present, which, counts = np.unique(y, return_inverse=True, return_counts=True)
    if counts.mean() < LEAST:
        present, which = present[:1], np.zeros(len(y), dtype=int)
    means = np.stack([x[which == position].mean(0) for position in range(len(present))])
    precision = LedoitWolf(assume_centered=True).fit((x - means[which]).astype(np.float64)).precision_
    return torch.from_numpy(means).float(), torch.from_numpy(precision).float()


def confidence(x: Tensor, means: Tensor, precision: Tensor) -> Tensor:
    """Minus the squared distance ``(batch,)`` to the nearest class (Lee et al., equation 2)."""
    off = x[:, None] - means
    return -((off @ precision) * off).sum(-1).amin(1)
