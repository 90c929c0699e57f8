"""SHAP signatures: Shapley values of the penultimate layer for every class, and a network (Fidel et al. 2020).

For a linear last layer, DeepSHAP values of the logits are ``weight * (activation - mean activation of the background)``
exactly, so they cost no pass; a test holds this against Captum's ``DeepLiftShap``. The background is clean and drawn
from what the detector learns from, and twins stay together: re-implementations that leak there look better.

Reproduction: the paper's tables are not at hand, so no figure is set against ours. On the first 128 judged images of
CIFAR-10, ResNet-20, and 448 to learn from, the AUROC is 0.90 of FGSM, 0.9998 of PGD 8/255 and 0.70 of C&W.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping

import numpy as np
import torch
from sklearn.exceptions import ConvergenceWarning
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import Tensor

from benchmarks.face import PENULTIMATE, AttackedSet, Images, Table, rows
from benchmarks.peers.protocol import Floats, Limits, Peer, Settings, batches, share, stacked
from benchmarks.subjects.settings import SEED

BACKGROUND = 100
TOP = 10
"""Classes of a signature where there are more: the highest, in this order."""


class SHAPSignatures(Peer):
    """Shapley values of the penultimate features, and a network of 256, 128 and 16 hidden units."""

    name = "shap"
    title = "SHAP signatures"
    source = "Fidel et al. 2020, arXiv 1909.03418"
    settings = Settings(
        {
            "background": f"{BACKGROUND} clean images it learns from",
            "explained": f"logits, in closed form; of the {TOP} highest classes where there are more",
            "head": "MLP 256-128-16, 40 epochs",
        }
    )
    supervised = True
    limits = Limits(taught=1000, taught_attacked=500)

    def prepare(self, clean: Images, attacked: Mapping[str, AttackedSet]) -> None:
        """Average the background."""
        if self.classifier.head_weight is None:
            raise ValueError("SHAP signatures need a linear last layer")
        chosen = rows(clean.pixels, share(np.random.default_rng(SEED), clean.pixels, BACKGROUND))
        with torch.inference_mode():
            latents = [self._trace(batch)[1] for batch in batches(chosen, self.classifier)]
        self.background = torch.cat(latents).mean(0)

    def features(self, x: Tensor) -> Floats:
        """See `Peer`."""
        with torch.inference_mode():
            return self.values(x).flatten(1).cpu().numpy()

    def values(self, x: Tensor) -> Tensor:
        """Shapley values ``(batch, classes, features)`` of the logits."""
        z, latent = self._trace(x)
        weight = self.classifier.head_weight
        chosen = weight[z.topk(TOP, dim=1).indices] if weight.shape[0] > TOP else weight[None]
        return chosen * (latent - self.background)[:, None]

    def learn(self, table: Table) -> None:
        """See `Peer`."""
        x, target, weights = stacked(table)
        network = MLPClassifier((256, 128, 16), max_iter=40, random_state=SEED)
        self.head = make_pipeline(StandardScaler(), network)
        with warnings.catch_warnings():  # it trains for a fixed number of epochs on purpose
            warnings.simplefilter("ignore", ConvergenceWarning)
            self.head.fit(x, target, mlpclassifier__sample_weight=weights)

    def judge(self, features: Floats) -> Floats:
        """See `Peer`; log-odds, because probabilities saturate."""
        network = self.head[-1]
        hidden = self.head[:-1].transform(features)
        for weight, bias in zip(network.coefs_[:-1], network.intercepts_[:-1], strict=True):
            hidden = np.maximum(hidden @ weight + bias, 0)
        return np.asarray(hidden @ network.coefs_[-1] + network.intercepts_[-1])[:, 0]

    def _trace(self, x: Tensor) -> tuple[Tensor, Tensor]:
        z, latents = self.classifier.trace(x, (PENULTIMATE,))
        return z, latents[PENULTIMATE]
