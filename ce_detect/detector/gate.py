"""The gate: one module from inputs to verdicts, and the result it gives."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from ce_detect.detector.head import Head
from ce_detect.errors import AbstainedError, UsageError
from ce_detect.signature import Signature

ABSTAINED = -1
"""Label of an input on which the gate abstains."""


@dataclass(frozen=True, slots=True)
class GateResult:
    """Verdicts on a batch; arrays are of the caller's kind, NumPy or torch.

    Attributes:
        logits: ``(batch, classes)`` of the classifier.
        label: ``(batch,)`` the classifier's decision, or what a policy made of it.
        score: ``(batch,)`` larger = more adversarial.
        p_value: ``(batch,)`` conformal, in (0, 1]: share of clean inputs that look at least as adversarial.
        probability: ``(batch,)`` of being adversarial, at the prevalence stated in the recipe; NaN for a detector that
            never saw an attack.
        is_adversarial: ``(batch,)`` the verdict: ``score > threshold``.
        threshold: the calibrated threshold.
    """

    logits: Any
    label: Any
    score: Any
    p_value: Any
    probability: Any
    is_adversarial: Any
    threshold: float


class Verdict(NamedTuple):
    """Outputs of the gate module, tensors with the batch first; see `GateResult`."""

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

    def verdict(self, logits: Tensor, features: Tensor) -> Verdict:
        """Judge signatures ``(batch, features)`` of inputs with logits ``(batch, classes)``."""
        score = self.head(features)
        at_least = (self.clean_scores >= score[:, None]).sum(1)
        p_value = (1 + at_least) / (self.clean_scores.shape[0] + 1)
        probability = torch.sigmoid(self.head.log_likelihood_ratio(score) + self.prior)
        return Verdict(logits, logits.argmax(1), score, p_value, probability, ~(score <= self.threshold))


class Gate(Detector):
    """Signature and detector in one module: differentiable up to the score, exportable as one graph.

    Attributes:
        signature: inputs to logits and features.
        clean_only: a second detector on the same signature that no attack taught; `forward` leaves it alone. None where
            the detector itself is of that kind.
    """

    def __init__(
        self,
        signature: Signature,
        head: Head,
        *,
        clean_scores: Tensor,
        threshold: float,
        prevalence: float,
        clean_only: Detector | None = None,
    ) -> None:
        super().__init__(head, clean_scores=clean_scores, threshold=threshold, prevalence=prevalence)
        self.signature = signature
        self.clean_only = clean_only

    def forward(self, x: Tensor) -> Verdict:
        """Judge inputs ``(batch, channels, height, width)``."""
        return self.verdict(*self.signature(x))


@dataclass(frozen=True, slots=True)
class Flag:
    """Leave the labels as they are; the caller looks at ``is_adversarial``."""

    def apply(self, result: GateResult, x: Any) -> GateResult:
        """Return the result as it is."""
        return result


@dataclass(frozen=True, slots=True)
class Abstain:
    """Set the label of an adversarial input to −1, or raise.

    Attributes:
        raise_error: raise `AbstainedError` instead of returning.
    """

    raise_error: bool = False

    def apply(self, result: GateResult, x: Any) -> GateResult:
        """Replace labels by −1 where the verdict is adversarial.

        Raises:
            AbstainedError: an input is adversarial and ``raise_error`` is set.
        """
        flagged = _positions(result)
        if self.raise_error and flagged:
            raise AbstainedError(f"adversarial inputs at positions {list(flagged)}", indices=flagged)
        return _relabelled(result, flagged, ABSTAINED)


@dataclass(frozen=True, slots=True)
class FallBack:
    """Ask somebody else about adversarial inputs.

    Attributes:
        to: takes the adversarial inputs ``(m, channels, height, width)`` and returns labels ``(m,)`` or logits
            ``(m, classes)``: a slower, sturdier model, or a queue for people.
    """

    to: Callable[[Any], Any]

    def apply(self, result: GateResult, x: Any) -> GateResult:
        """Replace labels by the answers of ``to`` where the verdict is adversarial."""
        flagged = _positions(result)
        if not flagged:
            return result
        answer = self.to(x[list(flagged)])
        return _relabelled(result, flagged, answer.argmax(-1) if answer.ndim == 2 else answer)


Policy = Flag | Abstain | FallBack


def as_policy(policy: Policy | str | Callable[[Any], Any]) -> Policy:
    """Read ``"flag"``, ``"abstain"`` or a callable as a policy.

    Raises:
        UsageError: none of these.
    """
    if isinstance(policy, Flag | Abstain | FallBack):
        return policy
    if policy == "flag":
        return Flag()
    if policy == "abstain":
        return Abstain()
    if callable(policy):
        return FallBack(policy)
    raise UsageError(f"policy {policy!r} is none of 'flag', 'abstain' or a callable")


def _positions(result: GateResult) -> tuple[int, ...]:
    return tuple(
        int(i) for i in result.is_adversarial.nonzero()[0 if isinstance(result.score, np.ndarray) else slice(None)]
    )


def _relabelled(result: GateResult, positions: tuple[int, ...], label: Any) -> GateResult:
    labels = result.label.copy() if isinstance(result.label, np.ndarray) else result.label.clone()
    if positions:
        index = list(positions)
        labels[index] = (
            label if isinstance(labels, np.ndarray) else torch.as_tensor(label, device=labels.device).to(labels.dtype)
        )
    return replace(result, label=labels)
