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


def effects(z: Tensor, z_do: Tensor, *, label: Tensor | None = None, multi_label: bool = False) -> Tensor:
    """Effects of an intervention on the decision ``argmax z``, or on another label.

    Args:
        z: logits ``(batch, classes)`` without the intervention.
        z_do: logits ``(draws, batch, classes)`` with it.
        label: class ``(batch,)`` in the place of the decision.
        multi_label: whether each logit is the log-odds of a label of its own.

    Returns:
        ``(draws, batch, 6)``, in the order of `EFFECTS`.
    """
    decision = z.argmax(-1, keepdim=True) if label is None else label[:, None]
    own = decision == torch.arange(z.shape[-1], device=z.device)
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
    """Divergence and agreement."""
    log_p = z.log_softmax(-1)
    p = log_p.exp()
    divergence = _divergence(p, log_p, change - (p * change).sum(-1, keepdim=True))
    return divergence, _cosine(z_do - z_do.mean(-1, keepdim=True), z - z.mean(-1, keepdim=True))


def _by_label(z: Tensor, z_do: Tensor, change: Tensor) -> tuple[Tensor, Tensor]:
    """The same for labels on their own, each of which either holds or not."""
    p, other = z.sigmoid(), (-z).sigmoid()
    log_p = torch.stack([F.logsigmoid(z), F.logsigmoid(-z)], dim=-1)
    divergence = _divergence(torch.stack([p, other], -1), log_p, torch.stack([other * change, -p * change], -1))
    return divergence.sum(-2), _cosine(z_do, z)


def _divergence(p: Tensor, log_p: Tensor, change: Tensor) -> Tensor:
    """``KL(p, p')`` over the last dimension, which is kept.

    With changes ``d`` of logits, less their mean under ``p``, the divergence is ``log(1 + s)`` with ``s`` the mean of
    ``exp(d) - 1 - d`` under ``p``. That rounds by a share of what a divergence is; a difference of logarithms, or of
    exponentials from 1, would round by far more than a small one is.

    Args:
        p: probabilities ``(..., classes)``.
        log_p: their logarithms.
        change: of logits, less its mean.
    """
    grown = (log_p + change).clamp(max=2 * MAX_DIVERGENCE).exp()
    surplus = torch.tanh(change / 2) * (grown + p) - p * change  # exp(d) - 1 = tanh(d / 2) (exp(d) + 1)
    s = surplus.sum(-1, keepdim=True).clamp_min(0.0)
    above = 1 + s
    return torch.where(above == 1, s, s * above.log() / (above - 1).clamp_min(1e-30))  # Kahan's log1p: ONNX has none


def _cosine(a: Tensor, b: Tensor) -> Tensor:
    """Cosine of two vectors, from the distance of their directions: near 1 it rounds by no more than 1 does."""
    directions = [v / v.norm(dim=-1, keepdim=True).clamp_min(1e-8) for v in (a, b)]
    cosine: Tensor = 1 - (directions[0] - directions[1]).square().sum(-1, keepdim=True) / 2
    return cosine
