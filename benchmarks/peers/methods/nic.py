"""NIC: invariants of activations and of their provenance (Ma and Liu 2019, NDSS).

*Value invariant*: a one-class machine over the activations of each layer. *Provenance invariant*: one over what linear
models of two neighbouring layers make of the class. A last one-class machine joins all their scores. Clean images alone
teach it: two thirds the invariants, the others the last machine.

Reproduction, on the first 128 judged images of CIFAR-10, ResNet-20, and 448 clean ones to learn from: not reproduced.
Mean detection rate at 10.1 % FPR 0.46, published 0.772. Strong attacks are found (PGD 8/255 0.99 AUROC), FGSM and C&W
are not.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from itertools import pairwise
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from sklearn.decomposition import PCA
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import OneClassSVM
from torch import Tensor

from benchmarks.face import AttackedSet, Images
from benchmarks.peers.protocol import Floats, Limits, Peer, Published, Settings, batches
from benchmarks.subjects.settings import SEED

DIRECTIONS = 50
SIDE = 4
"""Feature maps are averaged down to so many rows and columns."""


class NIC(Peer):
    """One-class machines over activations and provenance."""

    name = "nic"
    title = "NIC"
    source = "Ma and Liu 2019, NDSS"
    settings = Settings(
        {
            "activations": f"the sites at {SIDE}x{SIDE}, {DIRECTIONS} principal directions (the paper: every layer)",
            "machines": "RBF one-class SVM, nu 0.1, gamma 'scale'",
            "provenance": "softmax regression a site on the predicted class",
        }
    )
    published = (
        Published(
            "mean detection rate of 20 attacks at 10.1 % FPR",
            0.772,
            "Aldahdooh et al. 2022, arXiv 2105.00203, CIFAR-10",
            (),
            "tpr",
            0.101,
            differs="other attacks, another classifier, 50,000 training images",
        ),
    )
    limits = Limits(taught=1000)

    def prepare(self, clean: Images, attacked: Mapping[str, AttackedSet]) -> None:
        """Fit the machines."""
        parts = [self._activations(batch) for batch in batches(clean.pixels, self.classifier)]
        *sites, predicted = (np.concatenate(part) for part in zip(*parts, strict=True))
        order = np.random.default_rng(SEED).permutation(len(clean))
        first, rest = np.split(order, [2 * len(clean) // 3])
        count = min(DIRECTIONS, len(first) // 2)
        self.scalers = [
            make_pipeline(StandardScaler(), PCA(min(count, site.shape[1]), random_state=SEED), StandardScaler()).fit(
                site[first]
            )
            for site in sites
        ]
        reduced = [scaler.transform(site) for scaler, site in zip(self.scalers, sites, strict=True)]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            self.models = [LogisticRegression(max_iter=300).fit(site[first], predicted[first]) for site in reduced]
        self.machines: list[Any] = [_machine().fit(view[first]) for view in self._views(reduced)]
        self.last = make_pipeline(StandardScaler(), _machine()).fit(self._invariants(reduced)[rest])

    def features(self, x: Tensor) -> Floats:
        """See `Peer`."""
        *sites, _ = self._activations(x)
        reduced = [scaler.transform(site) for scaler, site in zip(self.scalers, sites, strict=True)]
        return -self.last.score_samples(self._invariants(reduced))[:, None]

    def _views(self, reduced: list[Floats]) -> list[Floats]:
        """What each machine looks at: activations of a site, or what two neighbouring sites make of the class."""
        classes = [model.predict_proba(site) for model, site in zip(self.models, reduced, strict=True)]
        return [*reduced, *(np.concatenate(pair, axis=1) for pair in pairwise(classes))]

    def _invariants(self, reduced: list[Floats]) -> Floats:
        """Scores of all machines, larger = more unusual ``(batch, machines)``."""
        views = zip(self.machines, self._views(reduced), strict=True)
        return np.stack([-machine.decision_function(view) for machine, view in views], axis=1)

    def _activations(self, x: Tensor) -> list[Floats]:
        with torch.inference_mode():
            z, latents = self.classifier.trace(x)
        return [*(resized(latent).cpu().numpy() for latent in latents.values()), z.argmax(1).cpu().numpy()]


def resized(latent: Tensor) -> Tensor:
    """A latent as rows; maps averaged down to `SIDE` rows and columns."""
    return (F.adaptive_avg_pool2d(latent, SIDE) if latent.ndim == 4 else latent).flatten(1)


def _machine() -> OneClassSVM:
    return OneClassSVM(nu=0.1, gamma="scale")
