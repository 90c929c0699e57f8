"""Learn the signature of an attack: features of the *fit* and *select* splits, and a head from them."""

from __future__ import annotations

import warnings
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.neural_network import MLPClassifier

from ce_detect.attacks.generation import AttackedSet
from ce_detect.core.types import Floats
from ce_detect.data import tensors
from ce_detect.data.lazy import Concatenated, Pixels
from ce_detect.features.activations import LOG_ODDS
from ce_detect.features.effects import EFFECTS
from ce_detect.features.signature import Signature
from ce_detect.fitting.mahalanobis import MOST_DIRECTIONS, MOST_VALUES, distance_head
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

FOLDS = 4
"""Parts of the images that set the level of a cascade, each scored by a head fitted on the others and their twins."""


@dataclass(frozen=True, slots=True)
class Size:
    """How large a head may be.

    Attributes:
        networks: in the ensemble of the ``mlp`` head.
        values: in the directions of the distance from clean signatures, at most.
    """

    networks: int = MEMBERS
    values: int = MOST_VALUES


WHOLE, FIRST, SECOND = Size(), Size(MEMBERS // 2, MOST_VALUES // 2), Size(MEMBERS, MOST_VALUES // 2)
"""A head alone, and the two of a cascade, which share the room that there is in a graph."""


@dataclass(frozen=True, slots=True)
class Sets:
    """Clean images of one split and their successfully attacked twins, by name of the attack.

    Attributes:
        clean: ``(n, channels, height, width)``.
        attacked: twins by name of the attack.
        corrupted: the clean images after benign change, which count as clean too; None where the recipe has none.
    """

    clean: Pixels
    attacked: dict[str, AttackedSet]
    corrupted: Pixels | None = None


@dataclass(frozen=True, slots=True)
class Table:
    """Features of clean and attacked images.

    Attributes:
        clean: ``(n, features)``.
        attacked: ``(m, features)`` by name of the attack.
        images: number of clean images: row ``i`` of ``clean`` is of image ``i % images``; None for one a row.
        twins: images ``(m,)`` that the rows of ``attacked`` are made of, by name of the attack, where that is known.
    """

    clean: Floats
    attacked: dict[str, Floats]
    images: int | None = None
    twins: dict[str, NDArray[np.int64]] = field(default_factory=dict)

    def fold(self, number: int, *, others: bool, columns: slice) -> Table:
        """Some columns of the rows of one of `FOLDS` folds of the images, or of all other rows."""
        own = np.arange(len(self.clean)) % (self.images or max(1, len(self.clean)))
        of = {name: self.twins.get(name, np.arange(len(rows))) for name, rows in self.attacked.items()}
        kept = {name: (image % FOLDS == number) != others for name, image in of.items()}
        return Table(
            self.clean[(own % FOLDS == number) != others, columns],
            {name: rows[kept[name], columns] for name, rows in self.attacked.items()},
        )


def stacked(*tables: Table) -> tuple[Floats, NDArray[np.int64], NDArray[np.float64]]:
    """Features, classes, and weights: half for clean, half shared evenly by the attacks.

    Clean is class 0; the attacks are numbered from 1, without those that nothing is left of.
    """
    names = tables[0].attacked
    groups = [[table.clean for table in tables], *([table.attacked[name] for table in tables] for name in names)]
    sizes = [sum(map(len, group)) for group in groups]
    groups, sizes = [g for g, n in zip(groups, sizes, strict=True) if n], [n for n in sizes if n]
    shares = [1.0, *([1.0 / max(1, len(sizes) - 1)] * (len(sizes) - 1))]
    weights = np.concatenate([np.full(n, share / n) for n, share in zip(sizes, shares, strict=True)])
    target = np.concatenate([np.full(n, position) for position, n in enumerate(sizes)])
    return np.concatenate([part for group in groups for part in group]), target, weights / weights.mean()


def features(signature: Signature, x: Pixels) -> Floats:
    """Signatures ``(n, features)`` of many images, which are read and judged in batches."""
    matrix = np.empty((len(x), len(signature.names)), np.float32)
    done = 0
    with torch.inference_mode():
        for batch in tensors.batches(x, signature.chunk or 128, signature.classifier.device):
            matrix[done : done + len(batch)] = signature(batch)[1].cpu().numpy()
            done += len(batch)
    return matrix


def table(signature: Signature, sets: Sets) -> Table:
    """Signatures of everything in a split."""
    clean = sets.clean if sets.corrupted is None else Concatenated([sets.clean, sets.corrupted])
    attacked = {name: features(signature, twins.pixels) for name, twins in sets.attacked.items()}
    twins = {name: twins.index for name, twins in sets.attacked.items()}
    return Table(features(signature, clean), attacked, len(sets.clean), twins)


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
        flagged: share of clean inputs that will be flagged; it matters where there is a hardened copy.
        cascade: whether the free features alone clear inputs first. Without interventions there is nothing to spare.
    """
    if kind == "distance":
        return clean_only(signature, fit, select)
    cascade = cascade and len(signature.interventions) > 0
    size = SECOND if cascade else WHOLE
    head: Head = _fused(signature, (fit, select), kind, seed, size)
    before: Head = _fused(signature, (fit,), kind, seed, size)
    held_out = select if len(select.clean) else fit
    if copy := robust_copy(signature):
        clean = torch.from_numpy(held_out.clean)
        with torch.inference_mode():
            scores = by_rows(before, clean)
        head, before = (_doubting(signature, copy, one) for one in (head, before))
        for one in (head, before):
            one.level(scores, clean, flagged)
    elif cascade:
        head, before = _cascaded(signature, (fit, select), (head, before), kind, seed)
    slope, offset = _platt(before, held_out)
    head.slope.fill_(slope)
    head.offset.fill_(offset)
    return head


def robust_copy(signature: Signature) -> RobustCopy | None:
    """The hardened copy among the interventions of a signature, if there is one."""
    return next((module for module in signature.interventions if isinstance(module, RobustCopy)), None)


def _doubting(signature: Signature, copy: RobustCopy, inner: Head) -> DisagreementHead:
    effect = signature.names.index(f"{copy.name}.{EFFECTS[0]}")
    return DisagreementHead(inner, effect=effect, odds=signature.names.index(LOG_ODDS))


def _cascaded(
    signature: Signature, tables: tuple[Table, Table], seconds: tuple[Head, Head], kind: HeadKind, seed: int
) -> tuple[CascadedHead, CascadedHead]:
    """Cascades that end in heads fitted on both splits and on the first, with one level.

    The level is taken from scores of clean images by heads that were fitted on the other ones: all of them score clean
    inputs on one scale, see `FusedHead.standardise`, but each scores its own lower than others.
    """
    alone = without_interventions(signature)
    columns = slice(signature.free)
    free = [
        Table(table.clean[:, columns], {name: rows[:, columns] for name, rows in table.attacked.items()})
        for table in tables
    ]
    first, before = _fused(alone, tuple(free), kind, seed, FIRST), _fused(alone, (free[0],), kind, seed, FIRST)
    scores = []
    for fold in range(FOLDS):
        others = tuple(table.fold(fold, others=True, columns=columns) for table in tables)
        left = np.concatenate([table.fold(fold, others=False, columns=columns).clean for table in tables])
        with torch.inference_mode():
            scores.append(by_rows(_fused(alone, others, kind, seed, FIRST), torch.from_numpy(left)))
    level = float(torch.cat(scores).quantile(CLEARED))
    return CascadedHead(first, seconds[0], level=level), CascadedHead(before, seconds[1], level=level)


def without_interventions(signature: Signature) -> Signature:
    """The same with the free features alone."""
    statistics = signature.statistics
    return Signature(
        signature.classifier,
        [],
        sites=statistics.sites,
        layer_consistency=signature.layer_consistency,
        chunk=signature.chunk,
    )


def _fused(signature: Signature, tables: tuple[Table, ...], kind: HeadKind, seed: int, size: Size) -> FusedHead:
    rows = np.concatenate([table.clean for table in tables])
    center, scale = squashing(rows)
    clean = distance_head(signature, rows, most=size.values)
    with torch.inference_mode():
        distances = by_rows(clean, torch.from_numpy(rows))
    del rows  # the matrix may fill half the memory
    network = _network(center, scale, tables, members=size.networks if kind == "mlp" else 0, seed=seed)
    head = FusedHead(network, clean, float(distances.mean()), float(distances.std()))
    with torch.inference_mode():
        head.standardise(torch.from_numpy(np.concatenate([table.clean for table in tables])))
    return head


def clean_only(signature: Signature, fit: Table, select: Table) -> DistanceHead:
    """Fit the head that needs no attack, on the clean images of *fit* and *select*."""
    return distance_head(signature, np.concatenate([fit.clean, select.clean]))


def for_timing(signature: Signature, kind: HeadKind) -> Head:
    """The `untrained` head of a signature, with the doubt of a hardened copy where it has one."""
    head, copy = untrained(len(signature.names), kind), robust_copy(signature)
    return head if copy is None or kind == "distance" else _doubting(signature, copy, head)


def cascade_for_timing(signature: Signature, kind: HeadKind, x: torch.Tensor, cleared: float) -> Head:
    """The same in a cascade that clears a share of inputs ``x``, whichever."""
    second = for_timing(signature, kind)
    if not len(signature.interventions):
        return second
    first = untrained(signature.free, kind, FIRST.networks)
    assert isinstance(first, FusedHead)
    first.clean.precision = torch.eye(signature.free)[signature.names.index(LOG_ODDS)]
    first.clean._prepare()
    with torch.inference_mode():
        scores = first.to(x.device)(signature.first(x)[1])
    return CascadedHead(first, second, level=float(scores.quantile(cleared)) if cleared else -torch.inf)


def untrained(features: int, kind: HeadKind, members: int = MEMBERS) -> Head:
    """A head of the usual size with zero weights, for timing."""
    zero, one = torch.zeros(features), torch.ones(features)
    clean = DistanceHead(zero, one, zero, zero, torch.zeros(features, min(features, 4 * MOST_DIRECTIONS)))
    if kind == "distance":
        return clean
    if kind == "logistic":
        return FusedHead(NetworkHead(zero, one, zero[:, None], torch.zeros(1), []), clean, 0.0, 1.0)
    hidden = torch.zeros(members, features, WIDTH), torch.zeros(members, 1, WIDTH)
    last = torch.zeros(members, WIDTH, 1), torch.zeros(members, 1, 1)
    return FusedHead(NetworkHead(zero, one, zero[:, None], torch.zeros(1), [hidden, last]), clean, 0.0, 1.0)


def _network(
    center: torch.Tensor, scale: torch.Tensor, tables: tuple[Table, ...], *, members: int, seed: int
) -> NetworkHead:
    x, target, weights = stacked(*tables)
    squashed = _squashed(Head(center, scale), x)
    linear = LogisticRegression(C=0.1, max_iter=1000).fit(squashed, target, sample_weight=weights)
    networks = [
        MLPClassifier((WIDTH,), alpha=0.1, max_iter=40, batch_size=128, random_state=seed + member)
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
