"""Effects: what an intervention does to the log-odds.

All effects are measured on logits, never on softmax probabilities, where saturation hides or reverses them. With logits
``z`` and ``c = argmax z``, and logits ``z'`` after an intervention:

==================  =====================================================================================
target effect       ``o_c(z) - o_c(z')`` with the log-odds ``o_c(z) = z_c - logsumexp(z_k, k != c)``
target logit        ``z_c - z'_c``: separates "c fell" from "the others rose"
non-target effect   mean over ``k != c`` of ``|z_k - z'_k|``: class distortion (Kim, Kim, Ro, IEEE TIP 31)
rival rise          max over ``k != c`` of ``(z'_k - z_k) - (z'_c - z_c)``: where the evidence goes
divergence          ``KL(softmax z, softmax z')``, at most `MAX_DIVERGENCE`
agreement           cosine of the centred logits
==================  =====================================================================================

The logits of a multi-label classifier are each the log-odds of a label of its own. There ``o_c(z) = z_c`` with the top
label ``c``, so that target effect and target logit are equal; the divergence is the sum over labels of
``KL(Bernoulli(sigmoid z_k), Bernoulli(sigmoid z'_k))``; and the cosine is that of the logits as they are, whose zero
means something.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

EFFECTS = ("target effect", "target logit", "non-target effect", "rival rise", "divergence", "agreement")
"""Names of the effects, in the order in which `effects` returns them."""

MAX_DIVERGENCE = 20.0
"""Cap of the divergence, in nats."""


def log_odds(z: Tensor, label: Tensor, *, multi_label: bool = False) -> Tensor:
    """Log-odds of ``label``, in nats: against all other classes, or on its own where several labels may hold.

    Args:
        z: logits ``(..., classes)``.
        label: class of each row, ``(...)``, int64.
        multi_label: whether each logit is the log-odds of a label of its own.

    Returns:
        ``(...)``.
    """
    if multi_label:
        return z.gather(-1, label.unsqueeze(-1)).squeeze(-1)
    own = F.one_hot(label, z.shape[-1]).bool()
    return _own(z, own) - torch.logsumexp(z.masked_fill(own, -torch.inf), -1)


def energy(z: Tensor, *, multi_label: bool = False) -> Tensor:
    """Log of the total weight of evidence, in nats.

    Args:
        z: logits ``(..., classes)``.
        multi_label: whether each logit is the log-odds of a label of its own.

    Returns:
        ``(...)``: ``logsumexp(z)`` (Liu et al. 2020, arXiv 2010.03759), or the sum over labels of ``log(1 + exp z_k)``
        (Wang et al. 2021, arXiv 2109.14162).
    """
    return F.softplus(z).sum(-1) if multi_label else torch.logsumexp(z, -1)


def _own(z: Tensor, own: Tensor) -> Tensor:
    return (z * own).sum(-1)


def effects(z: Tensor, z_do: Tensor, *, multi_label: bool = False) -> Tensor:
    """Effects of an intervention on the decision ``argmax z``.

    Args:
        z: logits ``(batch, classes)`` without the intervention.
        z_do: logits ``(draws, batch, classes)`` with it.
        multi_label: whether each logit is the log-odds of a label of its own.

    Returns:
        ``(draws, batch, 6)``, in the order of `EFFECTS`.
    """
    label = z.argmax(-1)
    own = F.one_hot(label, z.shape[-1]).bool()
    change = z_do - z
    own_change = _own(change, own)
    others = z.shape[-1] - 1
    after = log_odds(z_do, label.expand(z_do.shape[:-1]), multi_label=multi_label)
    target = log_odds(z, label, multi_label=multi_label) - after
    distortion = (change.abs() * ~own).sum(-1) / others
    rival = change.masked_fill(own, -torch.inf).amax(-1) - own_change
    divergence, agreement = _by_label(z, z_do) if multi_label else _by_class(z, z_do)
    return torch.stack(
        [target, -own_change, distortion, rival, divergence.clamp(0.0, MAX_DIVERGENCE), agreement], dim=-1
    )


def _by_class(z: Tensor, z_do: Tensor) -> tuple[Tensor, Tensor]:
    """Divergence and agreement.

    With ``p = softmax z`` and changes ``d``, the divergence is the log of the mean of ``exp(d - mean d)`` under ``p``.
    The difference of two logarithms would round by far more than a small divergence is.
    """
    log_p, change = z.log_softmax(-1), z_do - z
    divergence = torch.logsumexp(log_p + change - (log_p.exp() * change).sum(-1, keepdim=True), -1)
    return divergence, F.cosine_similarity(z_do - z_do.mean(-1, keepdim=True), z - z.mean(-1, keepdim=True), dim=-1)


def _by_label(z: Tensor, z_do: Tensor) -> tuple[Tensor, Tensor]:
    """The same for labels on their own, each of which either holds or not."""
    p, change = z.sigmoid(), z_do - z
    held, other = F.logsigmoid(z) + (1 - p) * change, F.logsigmoid(-z) - p * change
    return torch.logaddexp(held, other).sum(-1), F.cosine_similarity(z_do, z, dim=-1)
