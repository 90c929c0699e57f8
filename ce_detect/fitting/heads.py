"""Learn heads from signatures of the *fit* and *select* splits."""

from __future__ import annotations

import warnings
from dataclasses import dataclass, replace

import numpy as np
import torch
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.neural_network import MLPClassifier

from ce_detect.core.types import Floats
from ce_detect.features.activations import LOG_ODDS
from ce_detect.features.effects import EFFECTS
from ce_detect.features.signature import Signature
from ce_detect.fitting import feature_tables
from ce_detect.fitting.feature_tables import FOLDS, Table, stacked
from ce_detect.fitting.mahalanobis import MOST_VALUES, distance_head
from ce_detect.heads.base import ROWS, Head, HeadKind, by_rows, squashing
from ce_detect.heads.cascade import CLEARED, CascadedHead
from ce_detect.heads.disagreement import DisagreementHead
from ce_detect.heads.fusion import FusedHead
from ce_detect.heads.mahalanobis import DistanceHead
from ce_detect.heads.network import NetworkHead
from ce_detect.interventions import RobustCopy

MEMBERS = 4
"""Networks in the ensemble of the ``mlp`` head."""

WIDTH = 64
"""Hidden units of each network."""

DECAYS = (0.1, 1.0, 3.0)
"""Penalties on their weights that are tried: which is best depends on the signature and on how many images teach."""

TRIED = 1
"""Networks that try each of them."""

UNUSUAL = 2.0
"""Times less that the distance from clean signatures counts than a network does: attacks that were saved or scaled are
unusual no more than natural change is, but attacks that were never seen are."""

BATCH = (128, 512)
"""Signatures in a step of their training, at least and at most."""

STEPS = 64
"""Steps in which all of them are seen once, as far as `BATCH` allows."""


@dataclass(frozen=True, slots=True)
class Size:
    """How large a head may be.

    Attributes:
        networks: in the ensemble of the ``mlp`` head.
        values: in the directions of the distance from clean signatures, at most.
        decay: penalty on the networks' weights.
    """

    networks: int = MEMBERS
    values: int = MOST_VALUES
    decay: float = DECAYS[0]


WHOLE, FIRST, SECOND = Size(), Size(MEMBERS // 2, MOST_VALUES // 2), Size(MEMBERS, MOST_VALUES // 2)
"""A head alone, and the two of a cascade, which share the room that there is in a graph."""


def fitted(
    signature: Signature, fit: Table, select: Table, *, kind: HeadKind, seed: int, flagged: float = 0.01,
    cascade: bool = False,
) -> Head:  # fmt: skip
    """Fit a head.

    A head is fitted on *fit* alone and scored on *select*: that gives the scale on which a score is a likelihood ratio
    (Platt 1999). The head that is returned is then fitted on both.

    Args:
        signature: what made the features.
        fit: signatures of the split ``"fit"``.
        select: signatures of the split ``"select"``.
        kind: ``"mlp"``, ``"logistic"`` or ``"distance"``.
        seed: seed of the networks' starts.
        flagged: share of clean inputs that will be flagged; it matters where there is a robust copy.
        cascade: whether the free features alone clear inputs first. Without interventions there is nothing to spare.
    """
    if kind == "distance":
        return clean_only(signature, fit, select)
    cascade = cascade and len(signature.interventions) > 0
    size = replace(SECOND if cascade else WHOLE, decay=best_decay(fit, select, seed) if kind == "mlp" else DECAYS[0])
    head: Head = fused_head(signature, (fit, select), kind, seed, size)
    before: Head = fused_head(signature, (fit,), kind, seed, size)
    held_out = select if len(select.clean) else fit
    if copy := copy_in(signature):
        clean = torch.from_numpy(held_out.clean)
        with torch.inference_mode():
            scores = by_rows(before, clean)
        head, before = (doubting(signature, copy, one) for one in (head, before))
        for one in (head, before):
            one.level(scores, clean, flagged)
    elif cascade:
        head, before = _cascaded(signature, (fit, select), (head, before), kind, seed)
    slope, offset = _platt(before, held_out)
    head.slope.fill_(slope)
    head.offset.fill_(offset)
    return head


def copy_in(signature: Signature) -> RobustCopy | None:
    """The robust copy among the interventions of a signature, if there is one."""
    return next((module for module in signature.interventions if isinstance(module, RobustCopy)), None)


def doubting(signature: Signature, copy: RobustCopy, inner: Head) -> DisagreementHead:
    """A head that also heeds the doubt of a robust copy, whose scale is not set yet."""
    effect = signature.names.index(f"{copy.name}.{EFFECTS[0]}")
    return DisagreementHead(inner, effect=effect, odds=signature.names.index(LOG_ODDS))


def _cascaded(
    signature: Signature, tables: tuple[Table, Table], seconds: tuple[Head, Head], kind: HeadKind, seed: int
) -> tuple[CascadedHead, CascadedHead]:
    """Cascades that end in heads fitted on both splits and on the first, with one level.

    The level is taken from scores of plain clean images by heads that were fitted on the other ones: all of them score
    clean inputs on one scale, see `FusedHead.standardise`, but each scores its own lower than others. What changed
    naturally scores higher, and would move the level up to where attacks are.
    """
    alone = without_interventions(signature)
    columns = slice(signature.free)
    free = [table.columns(columns) for table in tables]
    first, before = fused_head(alone, tuple(free), kind, seed, FIRST), fused_head(alone, (free[0],), kind, seed, FIRST)
    scores = []
    for fold in range(FOLDS):
        others = tuple(table.fold(fold, others=True) for table in free)
        left = np.concatenate([table.plain().fold(fold, others=False).clean for table in free])
        with torch.inference_mode():
            scores.append(by_rows(fused_head(alone, others, kind, seed, FIRST), torch.from_numpy(left)))
    level = float(torch.cat(scores).quantile(CLEARED))
    return CascadedHead(first, seconds[0], level=level), CascadedHead(before, seconds[1], level=level)


def without_interventions(signature: Signature) -> Signature:
    """The same with the free features alone."""
    return signature.intervening([])


def fused_head(
    signature: Signature, tables: tuple[Table, ...], kind: HeadKind, seed: int, size: Size = WHOLE
) -> FusedHead:
    """Fit a head on all rows of some tables; what its scores mean as a likelihood is not known then, see `fitted`."""
    rows = np.concatenate([table.clean for table in tables])
    rounding = feature_tables.rounding(*tables)
    center, scale = squashing(rows, rounding)
    clean = distance_head(signature, rows, rounding, most=size.values)
    with torch.inference_mode():
        distances = by_rows(clean, torch.from_numpy(rows))
    del rows  # the matrix may fill half the memory
    members = size.networks if kind == "mlp" else 0
    network = _network(center, scale, tables, members=members, seed=seed, decay=size.decay)
    head = FusedHead(network, clean, float(distances.mean()), UNUSUAL * float(distances.std()))
    with torch.inference_mode():
        head.standardise(torch.from_numpy(np.concatenate([table.clean for table in tables])))
    return head


def clean_only(signature: Signature, fit: Table, select: Table) -> DistanceHead:
    """Fit the head that needs no attack, on the clean images of *fit* and *select*."""
    rounding = feature_tables.rounding(fit, select)
    return distance_head(signature, np.concatenate([fit.clean, select.clean]), rounding)


def best_decay(fit: Table, select: Table, seed: int) -> float:
    """The penalty with which networks that learn from *fit* tell attacked images of *select* from clean ones best.

    By the mean AUROC over the attacks; the first of `DECAYS` where *select* has no attacked images.
    """
    names = [name for name, rows in select.attacked.items() if len(rows) and len(fit.attacked[name])]
    if not names or not len(select.clean):
        return DECAYS[0]
    center, scale = squashing(fit.clean, feature_tables.rounding(fit, select))

    def worth(decay: float) -> float:
        network = _network(center, scale, (fit,), members=TRIED, seed=seed, decay=decay)
        with torch.inference_mode():
            clean, *attacked = (
                by_rows(network, torch.from_numpy(rows)).numpy()
                for rows in (select.clean, *(select.attacked[name] for name in names))
            )
        areas = [
            roc_auc_score(np.repeat([0, 1], [len(clean), len(scores)]), np.concatenate([clean, scores]))
            for scores in attacked
        ]
        return float(np.mean(areas))

    return max(DECAYS, key=worth)


def _network(
    center: torch.Tensor, scale: torch.Tensor, tables: tuple[Table, ...], *, members: int, seed: int, decay: float
) -> NetworkHead:
    x, target, weights = stacked(*tables)
    squashed = _squashed(Head(center, scale), x)
    linear = LogisticRegression(C=0.1, max_iter=1000).fit(squashed, target, sample_weight=weights)
    batch = min(len(x), int(np.clip(len(x) // STEPS, *BATCH)))
    networks = [
        MLPClassifier((WIDTH,), alpha=decay, max_iter=40, batch_size=batch, random_state=seed + member)
        for member in range(members)
    ]
    with warnings.catch_warnings():  # the networks train for a fixed number of epochs on purpose
        warnings.simplefilter("ignore", ConvergenceWarning)
        for network in networks:
            network.fit(squashed, target, sample_weight=weights)
    return NetworkHead.from_estimators(center, scale, linear, networks)


def _squashed(head: Head, x: Floats) -> Floats:
    """Squash signatures in place, some rows at a time."""
    for part in torch.from_numpy(x).split(ROWS):
        part.copy_(head.squash(part))
    return x


def _platt(head: Head, rows: Table) -> tuple[float, float]:
    """Slope and offset that turn a score into a log-likelihood ratio, from images the head has not seen."""
    x, target, weights = stacked(rows)
    with torch.inference_mode():
        scores = by_rows(head, torch.from_numpy(x)).numpy()[:, None]
    line = LogisticRegression(C=1.0).fit(scores, target > 0, sample_weight=weights)
    return float(line.coef_[0, 0]), float(line.intercept_[0])
