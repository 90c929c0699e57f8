"""Heads that nothing was learned for, as large and as slow as those that will be: to measure what a gate costs."""

from __future__ import annotations

import torch

from ce_detect.features.activations import LOG_ODDS
from ce_detect.features.signature import Signature
from ce_detect.fitting.heads import FIRST, MEMBERS, WIDTH, copy_in, doubting
from ce_detect.fitting.mahalanobis import MOST_DIRECTIONS
from ce_detect.heads.base import Head, HeadKind
from ce_detect.heads.cascade import CascadedHead
from ce_detect.heads.fusion import FusedHead
from ce_detect.heads.mahalanobis import DistanceHead
from ce_detect.heads.network import NetworkHead


def for_timing(signature: Signature, kind: HeadKind) -> Head:
    """The `head` of a signature, with the doubt of a robust copy where it has one."""
    made, copy = head(len(signature.names), kind), copy_in(signature)
    return made if copy is None or kind == "distance" else doubting(signature, copy, made)


def cascade_for_timing(signature: Signature, kind: HeadKind, x: torch.Tensor, cleared: float) -> Head:
    """The same in a cascade that clears a share of inputs ``x``, whichever."""
    second = for_timing(signature, kind)
    if not len(signature.interventions):
        return second
    by_log_odds = torch.eye(signature.free)[signature.names.index(LOG_ODDS)]  # or all inputs would score alike
    first = head(signature.free, kind, FIRST.networks, precision=by_log_odds)
    with torch.inference_mode():
        scores = first.to(x.device)(signature.first(x)[1])
    return CascadedHead(first, second, level=float(scores.quantile(cleared)) if cleared else -torch.inf)


def head(features: int, kind: HeadKind, members: int = MEMBERS, *, precision: torch.Tensor | None = None) -> Head:
    """A head of the usual size with zero weights.

    Args:
        features: how many it takes.
        kind: ``"mlp"``, ``"logistic"`` or ``"distance"``.
        members: networks in the ensemble of the ``mlp`` head.
        precision: of the distance from clean signatures, ``(features,)``; zero where not given.
    """
    zero, one = torch.zeros(features), torch.ones(features)
    directions = torch.zeros(features, min(features, 4 * MOST_DIRECTIONS))
    clean = DistanceHead(zero, one, zero, zero if precision is None else precision, directions)
    if kind == "distance":
        return clean
    if kind == "logistic":
        return FusedHead(NetworkHead(zero, one, zero[:, None], torch.zeros(1), []), clean, 0.0, 1.0)
    hidden = torch.zeros(members, features, WIDTH), torch.zeros(members, 1, WIDTH)
    last = torch.zeros(members, WIDTH, 1), torch.zeros(members, 1, 1)
    return FusedHead(NetworkHead(zero, one, zero[:, None], torch.zeros(1), [hidden, last]), clean, 0.0, 1.0)
