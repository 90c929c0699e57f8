"""Detectors as targets of adaptive attacks: differentiable peers, and an ensemble of gates."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import reduce
from itertools import pairwise
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks.face import AttackedSet, Classifier, Gated, GateModule, Images, Joint, Pixels, conformal, log_odds
from benchmarks.peers.methods.art_binary_activation import BinaryActivation
from benchmarks.peers.methods.art_binary_input import BinaryInput
from benchmarks.peers.methods.beyond import BEYOND
from benchmarks.peers.methods.causadv import CausAdv
from benchmarks.peers.methods.feature_squeezing import FeatureSqueezing
from benchmarks.peers.methods.lid import LID
from benchmarks.peers.methods.mahalanobis import Mahalanobis, confidence
from benchmarks.peers.methods.nic import NIC, resized
from benchmarks.peers.methods.rlt import RLT
from benchmarks.peers.methods.shap_signatures import SHAPSignatures
from benchmarks.peers.protocol import pooled

Score = Callable[[Tensor, Tensor], Tensor]
"""From images and their logits to scores ``(batch,)``, with a gradient."""


class Scored:
    """A classifier behind a differentiable score, its threshold set on clean images as for a gate."""

    def __init__(self, classifier: Classifier, score: Score, clean: Pixels, fpr: float) -> None:
        self.classifier, self.score, self.bounds = classifier, score, classifier.bounds
        self.threshold = 0.0
        with torch.no_grad():
            parts = [self.joint(torch.from_numpy(np.asarray(clean[i : i + 64]))) for i in range(0, len(clean), 64)]
        self.threshold = conformal.threshold(torch.cat([part.score for part in parts]).numpy(), fpr)

    def joint(self, x: Tensor) -> Joint:
        """Judge inputs, see `benchmarks.face.Target`."""
        logits = self.classifier.logits(x)
        return Joint(logits, self.score(x, logits))


def ensemble(gates: list[GateModule]) -> Score:
    """The largest of the scores of several gates, each on the scale of its clean scores."""
    scales = [(float(gate.clean_scores.mean()), float(gate.clean_scores.std())) for gate in gates]

    def score(x: Tensor, logits: Tensor) -> Tensor:
        scores = [Gated(gate).joint(x).score for gate in gates]
        return torch.stack([(s - mean) / std for s, (mean, std) in zip(scores, scales, strict=True)]).amax(0)

    return score


def energy(classifier: Classifier, clean: Images, attacked: Mapping[str, AttackedSet]) -> Score:
    """See ``peers/methods/energy.py``."""
    return lambda x, logits: -logits.logsumexp(1)


def max_softmax(classifier: Classifier, clean: Images, attacked: Mapping[str, AttackedSet]) -> Score:
    """See ``peers/methods/max_softmax.py``."""
    return lambda x, logits: -log_odds(logits, logits.argmax(1))


def mahalanobis(classifier: Classifier, clean: Images, attacked: Mapping[str, AttackedSet]) -> Score:
    """See ``peers/methods/mahalanobis.py``: confidences of all sites, and its logistic regression as a product."""
    peer = Mahalanobis().fit(classifier, clean, attacked)
    head = affine(peer.head)

    def score(x: Tensor, logits: Tensor) -> Tensor:
        sites = [pooled(latent) for latent in classifier.trace(x).latents.values()]
        found = [confidence(site, *pair) for site, pair in zip(sites, peer.gaussians, strict=True)]
        return head(torch.stack(found, dim=1))

    return score


def rlt(classifier: Classifier, clean: Images, attacked: Mapping[str, AttackedSet]) -> Score:
    """See ``peers/methods/rlt.py``: both tests, and its quantiles as lines from knot to knot, which have a gradient."""
    peer = RLT().fit(classifier, clean, attacked)
    knots = torch.from_numpy(peer.quantiles.quantiles_.T.copy())  # (2, count)
    shares = torch.from_numpy(peer.quantiles.references_.copy())

    def score(x: Tensor, logits: Tensor) -> Tensor:
        z, sites = peer._trace(x)
        both = torch.stack([peer._recovery(sites), peer._logit_layer(x, z, sites)]).double()
        right = torch.searchsorted(knots, both.detach().contiguous()).clamp(1, knots.shape[1] - 1)
        low, high = knots.gather(1, right - 1), knots.gather(1, right)
        part = ((both - low) / (high - low).clamp_min(1e-9)).clamp(0, 1)
        share = shares[right - 1] + part * (shares[right] - shares[right - 1])
        normal = torch.special.ndtri(share.clamp(1e-7, 1 - 1e-7))
        beyond = F.relu(both - knots[:, -1:]) - F.relu(knots[:, :1] - both)
        return (normal + 1e-3 * beyond).square().sum(0).float()  # beyond the ends the quantiles are flat

    return score


def lid(classifier: Classifier, clean: Images, attacked: Mapping[str, AttackedSet]) -> Score:
    """See ``peers/methods/lid.py``."""
    peer = LID().fit(classifier, clean, attacked)
    head = affine(peer.head)
    return lambda x, logits: head(peer.estimates(x))


def shap(classifier: Classifier, clean: Images, attacked: Mapping[str, AttackedSet]) -> Score:
    """See ``peers/methods/shap_signatures.py``."""
    peer = SHAPSignatures().fit(classifier, clean, attacked)
    scaler, network = (step for _, step in peer.head.steps)
    center, scale = (torch.from_numpy(part).float() for part in (scaler.mean_, scaler.scale_))
    layers = [
        (torch.from_numpy(weight.T.copy()).float(), torch.from_numpy(bias).float())
        for weight, bias in zip(network.coefs_, network.intercepts_, strict=True)
    ]

    def score(x: Tensor, logits: Tensor) -> Tensor:
        h = (peer.values(x).flatten(1) - center) / scale
        for position, (weight, bias) in enumerate(layers):
            h = F.linear(h.relu() if position else h, weight, bias)
        return h[:, 0]

    return score


def feature_squeezing(classifier: Classifier, clean: Images, attacked: Mapping[str, AttackedSet]) -> Score:
    """See ``peers/methods/feature_squeezing.py``: backward, fewer bits are as many."""
    peer = FeatureSqueezing().fit(classifier, clean, attacked)
    return lambda x, logits: peer.change(x)


def beyond(classifier: Classifier, clean: Images, attacked: Mapping[str, AttackedSet]) -> Score:
    """See ``peers/methods/beyond.py``: backward, the share of labels is that of probabilities."""
    peer = BEYOND().fit(classifier, clean, attacked)
    return lambda x, logits: peer.disagreement(x)


def binary_input(classifier: Classifier, clean: Images, attacked: Mapping[str, AttackedSet]) -> Score:
    """See ``peers/methods/art_binary_input.py``."""
    network = BinaryInput().fit(classifier, clean, attacked).detector.detector.model.eval()
    return lambda x, logits: network(x).diff(dim=1)[:, 0]


def binary_activation(classifier: Classifier, clean: Images, attacked: Mapping[str, AttackedSet]) -> Score:
    """See ``peers/methods/art_binary_activation.py``."""
    peer = BinaryActivation().fit(classifier, clean, attacked)
    network = peer.detector.detector.model.eval()
    return lambda x, logits: network(classifier.trace(x, (peer.site,)).latents[peer.site]).diff(dim=1)[:, 0]


def causadv(classifier: Classifier, clean: Images, attacked: Mapping[str, AttackedSet]) -> Score:
    """See ``peers/methods/causadv.py``."""
    peer = CausAdv().fit(classifier, clean, attacked)
    return lambda x, logits: peer.evenness(x)


def nic(classifier: Classifier, clean: Images, attacked: Mapping[str, AttackedSet]) -> Score:
    """See ``peers/methods/nic.py``: its scikit-learn estimators as products, softmaxes and Gaussians."""
    peer = NIC().fit(classifier, clean, attacked)
    shrink = [_chain(*(_step(step) for _, step in pipeline.steps)) for pipeline in peer.scalers]
    classes = [_softmax(model) for model in peer.models]
    machines = [_machine(one) for one in peer.machines]
    scaler, last = (step for _, step in peer.last.steps)
    judge, offset = _chain(_step(scaler), _machine(last)), float(last.offset_[0])

    def score(x: Tensor, logits: Tensor) -> Tensor:
        sites = [resized(latent) for latent in classifier.trace(x).latents.values()]
        reduced = [function(site) for function, site in zip(shrink, sites, strict=True)]
        likely = [function(site) for function, site in zip(classes, reduced, strict=True)]
        views = [*reduced, *(torch.cat(pair, dim=1) for pair in pairwise(likely))]
        unusual = torch.stack([-machine(view) for machine, view in zip(machines, views, strict=True)], dim=1)
        return -(judge(unusual) + offset)

    return score


def _chain(*functions: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
    return lambda x: reduce(lambda value, function: function(value), functions, x)


def _step(estimator: Any) -> Callable[[Tensor], Tensor]:
    """A fitted scaler or principal components as a product."""
    mean = torch.from_numpy(estimator.mean_).float()
    if hasattr(estimator, "components_"):
        components = torch.from_numpy(estimator.components_.T.copy()).float()
        return lambda x: (x - mean) @ components
    scale = torch.from_numpy(estimator.scale_).float()
    return lambda x: (x - mean) / scale


def _softmax(model: Any) -> Callable[[Tensor], Tensor]:
    """A fitted logistic regression of more than two classes."""
    weight, bias = torch.from_numpy(model.coef_).float(), torch.from_numpy(model.intercept_).float()
    return lambda x: F.linear(x, weight, bias).softmax(1)


def _machine(machine: Any) -> Callable[[Tensor], Tensor]:
    """The decision function of a fitted one-class machine with Gaussian kernels."""
    vectors = torch.from_numpy(machine.support_vectors_).float()
    weight, bias = torch.from_numpy(machine.dual_coef_[0]).float(), float(machine.intercept_[0])
    return lambda x: torch.exp(-machine._gamma * (x[:, None] - vectors).square().sum(2)) @ weight + bias


def affine(pipeline: Any) -> Callable[[Tensor], Tensor]:
    """A scaler and a logistic regression as one product: from statistics to log-odds ``(batch,)``."""
    scaler, line = (step for _, step in pipeline.steps)
    weight = torch.from_numpy(line.coef_[0] / scaler.scale_).float()
    offset = float(line.intercept_[0] - (line.coef_[0] * scaler.mean_ / scaler.scale_).sum())
    return lambda found: found @ weight + offset


PEERS = {
    "energy": energy, "max-softmax": max_softmax, "mahalanobis": mahalanobis, "rlt": rlt, "lid": lid, "shap": shap,
    "art-binary-input": binary_input, "art-binary-activation": binary_activation,
    "causadv": causadv, "nic": nic, "feature-squeezing": feature_squeezing, "beyond": beyond,
}  # fmt: skip
"""Differentiable peers by name. Three are not here: ML-LOO and Odds take hundreds of forward passes for each gradient,
and subset scanning counts ranks."""
