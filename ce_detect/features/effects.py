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


def effects(z: Tensor, z_do: Tensor, *, multi_label: bool = False) -> Tensor:
    """Effects of an intervention on the decision ``argmax z``.

    Args:
        z: logits ``(batch, classes)`` without the intervention.
        z_do: logits ``(draws, batch, classes)`` with it.
        multi_label: whether each logit is the log-odds of a label of its own.

    Returns:
        ``(draws, batch, 6)``, in the order of `EFFECTS`.
    """
    own = z.argmax(-1, keepdim=True) == torch.arange(z.shape[-1], device=z.device)
    change = z_do - z
    own_change = change.where(own, 0.0).sum(-1, keepdim=True)
    target = -own_change if multi_label else _rivals(z_do, own) - _rivals(z, own) - own_change
    distortion = change.abs().where(~own, 0.0).sum(-1, keepdim=True) / (z.shape[-1] - 1)
    rival = change.where(~own, -torch.inf).amax(-1, keepdim=True) - own_change
    divergence, agreement = _by_label(z, z_do, change) if multi_label else _by_class(z, z_do, change)
    return torch.cat([target, -own_change, distortion, rival, divergence.clamp(0.0, MAX_DIVERGENCE), agreement], dim=-1)


def _rivals(z: Tensor, own: Tensor) -> Tensor:
    """Weight of evidence for all other classes, in nats."""
    return torch.logsumexp(z.where(~own, -torch.inf), -1, keepdim=True)


def _by_class(z: Tensor, z_do: Tensor, change: Tensor) -> tuple[Tensor, Tensor]:
    """Divergence and agreement.

    With ``p = softmax z`` and changes ``d``, the divergence is the log of the mean of ``exp(d - mean d)`` under ``p``.
    The difference of two logarithms would round by far more than a small divergence is.
    """
    log_p = z.log_softmax(-1)
    level = (log_p.exp() * change).sum(-1, keepdim=True)
    divergence = torch.logsumexp(log_p + change - level, -1, keepdim=True)
    return divergence, _cosine(z_do - z_do.mean(-1, keepdim=True), z - z.mean(-1, keepdim=True))


def _by_label(z: Tensor, z_do: Tensor, change: Tensor) -> tuple[Tensor, Tensor]:
    """The same for labels on their own, each of which either holds or not."""
    p = z.sigmoid()
    held, other = F.logsigmoid(z) + (1 - p) * change, F.logsigmoid(-z) - p * change
    return torch.logaddexp(held, other).sum(-1, keepdim=True), _cosine(z_do, z)


def _cosine(a: Tensor, b: Tensor) -> Tensor:
    lengths = a.norm(dim=-1, keepdim=True) * b.norm(dim=-1, keepdim=True)
    cosine: Tensor = (a * b).sum(-1, keepdim=True) / lengths.clamp_min(1e-8)
    return cosine
