"""From a signature to a verdict: a head, and what clean inputs score."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from ce_detect.heads.base import Head


class Verdict(NamedTuple):
    """Outputs of the gate module, tensors with the batch first; see `ce_detect.verdict.result.GateResult`."""

    logits: Tensor
    label: Tensor
    score: Tensor
    p_value: Tensor
    probability: Tensor
    is_adversarial: Tensor


class Detector(nn.Module):
    """Head and conformal: from a signature to a verdict.

    Attributes:
        head: features to score.
        clean_scores: ``(n,)`` scores of the *calibrate* split, ascending.
        threshold: scalar, score above which an input is flagged.
        prior: scalar, log-odds of being adversarial that is added to the head's log-likelihood ratio.
    """

    clean_scores: Tensor
    threshold: Tensor
    prior: Tensor

    def __init__(self, head: Head, *, clean_scores: Tensor, threshold: float, prevalence: float) -> None:
        super().__init__()
        self.head = head
        self.register_buffer("clean_scores", clean_scores.sort().values)
        self.register_buffer("threshold", torch.tensor(threshold, dtype=torch.float32))
        self.register_buffer("prior", torch.tensor(float(np.log(prevalence / (1 - prevalence)))))

    def verdict(self, logits: Tensor, features: Tensor, threshold: Tensor | None = None) -> Verdict:
        """Judge signatures ``(batch, features)`` of inputs with logits ``(batch, classes)``.

        Args:
            logits: of the inputs.
            features: their signatures.
            threshold: scalar, in the place of the calibrated one.
        """
        return self.judged(logits, self.head(features), threshold)

    def judged(self, logits: Tensor, score: Tensor, threshold: Tensor | None = None) -> Verdict:
        """Judge by scores ``(batch,)``, see `verdict`."""
        at_least = (self.clean_scores >= score[:, None]).float().sum(1)
        p_value = (1 + at_least) / (self.clean_scores.shape[0] + 1)
        probability = torch.sigmoid(self.head.log_likelihood_ratio(score) + self.prior)
        flagged = ~(score <= (self.threshold if threshold is None else threshold))
        return Verdict(logits, logits.argmax(1), score, p_value, probability, flagged)
