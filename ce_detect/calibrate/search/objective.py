"""How much a set of features is worth: a ridge classifier that can be refitted on any subset in milliseconds."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ce_detect.core.types import Index
from ce_detect.evaluate.metrics import auroc
from ce_detect.fitting.feature_tables import Table
from ce_detect.heads.base import Head, squashing

import torch  # isort: skip

RIDGE = 0.05
"""Ridge penalty on squashed features, relative to the mean diagonal of their second moments."""


class Objective:
    """Mean of two AUROCs on *select*: fitted on all attacks, and fitted without the attack that is scored.

    The second says whether a signature carries over to attacks that no calibration saw. Second moments of all features
    are computed once, so each subset costs a few small linear solves.
    """

    def __init__(self, fit: Table, select: Table) -> None:
        center, scale = squashing(fit.clean)
        squash = Head(center, scale).squash

        def design(rows: NDArray[Any]) -> NDArray[np.float64]:
            squashed = squash(torch.from_numpy(rows)).double().numpy()
            return np.hstack([squashed, np.ones((len(rows), 1))])

        self._attacks = [name for name, rows in fit.attacked.items() if len(rows) and len(select.attacked[name])]
        self._select = {name: design(select.attacked[name]) for name in self._attacks}
        self._clean = design(select.clean)
        groups = {"": design(fit.clean), **{name: design(fit.attacked[name]) for name in self._attacks}}
        self._moments = {name: rows.T @ rows / len(rows) for name, rows in groups.items()}
        self._means = {name: rows.mean(0) for name, rows in groups.items()}

    def __call__(self, columns: Index) -> float:
        """Value of the features at ``columns``, in [0, 1]; larger is better."""
        used = np.append(columns, -1)  # the constant
        seen = self._aurocs(used, self._attacks, self._attacks)
        if len(self._attacks) < 2:
            return float(np.mean(seen))
        unseen = [
            self._aurocs(used, [other for other in self._attacks if other != name], [name])[0] for name in self._attacks
        ]
        return float((np.mean(seen) + np.mean(unseen)) / 2)

    def _aurocs(self, used: Index, learned: list[str], scored: list[str]) -> list[float]:
        grid = np.ix_(used, used)
        second = self._moments[""][grid] + sum(self._moments[name][grid] for name in learned) / len(learned)
        target = -self._means[""][used] + sum(self._means[name][used] for name in learned) / len(learned)
        penalty = RIDGE * np.trace(second) / len(used) * np.eye(len(used))
        weights = np.linalg.solve(second + penalty, target)
        clean = self._clean[:, used] @ weights
        return [auroc(clean, self._select[name][:, used] @ weights) for name in scored]
