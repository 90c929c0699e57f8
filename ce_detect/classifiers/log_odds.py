"""Log-odds and energy of logits, in nats."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


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
    return (z * own).sum(-1) - torch.logsumexp(z.masked_fill(own, -torch.inf), -1)


def every_log_odds(z: Tensor, *, multi_label: bool = False) -> Tensor:
    """Log-odds of every class, in nats, see `log_odds`.

    Args:
        z: logits ``(..., classes)``.
        multi_label: whether each logit is the log-odds of a label of its own.

    Returns:
        ``(..., classes)``. That of the likeliest class comes from its rivals: the difference of 1 and its probability
        would be rounded away.
    """
    if multi_label:
        return z
    top = z.argmax(-1, keepdim=True)
    others = z.logsumexp(-1, keepdim=True) + torch.log1p(-z.softmax(-1).scatter(-1, top, 0.0))
    rivals = z.scatter(-1, top, -torch.inf).logsumexp(-1, keepdim=True)
    return z - others.scatter(-1, top, rivals)


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


def probabilities(z: Tensor, *, multi_label: bool = False) -> Tensor:
    """Probabilities ``(..., classes)`` of logits: softmax, or of each label on its own where several may hold."""
    return z.sigmoid() if multi_label else z.softmax(-1)
