"""Detectors as targets of adaptive attacks: differentiable peers, and an ensemble of gates."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ce_detect.calibrate.sets import AttackedSet
from ce_detect.data import Images, Pixels
from ce_detect.detector import conformal
from ce_detect.detector.gate import Gate
from ce_detect.effects import log_odds
from ce_detect.evaluate.adaptive.target import Gated, Joint

Score = Callable[[Tensor, Tensor], Tensor]
"""From images and their logits to scores ``(batch,)``, with a gradient."""


class Scored:
    """A classifier behind a differentiable score, its threshold set on clean images as for a gate."""

    def __init__(self, classifier: Any, score: Score, clean: Pixels, fpr: float) -> None:
        self.classifier, self.score, self.bounds = classifier, score, classifier.bounds
        self.threshold = 0.0
        with torch.no_grad():
            parts = [self.joint(torch.from_numpy(np.asarray(clean[i : i + 64]))) for i in range(0, len(clean), 64)]
        self.threshold = conformal.threshold(torch.cat([part.score for part in parts]).numpy(), fpr)

    def joint(self, x: Tensor) -> Joint:
        """Judge inputs, see `ce_detect.evaluate.adaptive.target.Target`."""
        logits = self.classifier.logits(x)
        return Joint(logits, self.score(x, logits))


def ensemble(gates: list[Gate]) -> Score:
    """The largest of the scores of several gates, each on the scale of its clean scores."""
    scales = [(float(gate.clean_scores.mean()), float(gate.clean_scores.std())) for gate in gates]

    def score(x: Tensor, logits: Tensor) -> Tensor:
        scores = [Gated(gate).joint(x).score for gate in gates]
        return torch.stack([(s - mean) / std for s, (mean, std) in zip(scores, scales, strict=True)]).amax(0)

    return score


def energy(classifier: Any, clean: Images, attacked: Mapping[str, AttackedSet]) -> Score:
    """See ``peers/energy.py``."""
    return lambda x, logits: -logits.logsumexp(1)


def max_softmax(classifier: Any, clean: Images, attacked: Mapping[str, AttackedSet]) -> Score:
    """See ``peers/max_softmax.py``."""
    return lambda x, logits: -log_odds(logits, logits.argmax(1))


def mahalanobis(classifier: Any, clean: Images, attacked: Mapping[str, AttackedSet]) -> Score:
    """See ``peers/mahalanobis.py``: confidences of all sites, and its logistic regression as a product."""
    from peers.mahalanobis import Mahalanobis, confidence
    from peers.protocol import pooled

    peer = Mahalanobis().fit(classifier, clean, attacked)
    scaler, line = (step for _, step in peer.head.steps)
    weight = torch.from_numpy(line.coef_[0] / scaler.scale_).float()
    offset = float(line.intercept_[0] - (line.coef_[0] * scaler.mean_ / scaler.scale_).sum())

    def score(x: Tensor, logits: Tensor) -> Tensor:
        sites = [pooled(latent) for latent in classifier.trace(x).latents.values()]
        found = [confidence(site, *pair) for site, pair in zip(sites, peer.gaussians, strict=True)]
        return torch.stack(found, dim=1) @ weight + offset

    return score


def rlt(classifier: Any, clean: Images, attacked: Mapping[str, AttackedSet]) -> Score:
    """See ``peers/rlt.py``: both tests, and its quantiles as a line from knot to knot, which has a gradient."""
    from peers.rlt import RLT

    peer = RLT().fit(classifier, clean, attacked)
    knots = torch.from_numpy(peer.quantiles.quantiles_.T.copy()).float().contiguous()  # (2, count)
    normal = torch.from_numpy(peer.quantiles.references_.copy()).float().clamp(1e-7, 1 - 1e-7)
    normal = torch.special.ndtri(normal).clamp(-5.2, 5.2)

    def score(x: Tensor, logits: Tensor) -> Tensor:
        z, sites = peer._trace(x)
        both = torch.stack([peer._recovery(sites), peer._logit_layer(x, z, sites)])
        right = torch.searchsorted(knots, both.detach().contiguous()).clamp(1, knots.shape[1] - 1)
        low, high = knots.gather(1, right - 1), knots.gather(1, right)
        part = ((both - low) / (high - low).clamp_min(1e-9)).clamp(0, 1)
        between = normal[right - 1] + part * (normal[right] - normal[right - 1])
        beyond = F.relu(both - knots[:, -1:]) - F.relu(knots[:, :1] - both)
        return (between + 1e-3 * beyond).square().sum(0)  # beyond the ends the quantiles are flat

    return score


PEERS = {"energy": energy, "max-softmax": max_softmax, "mahalanobis": mahalanobis, "rlt": rlt}
"""Differentiable peers by name."""
