"""The train x test matrix: what a detector that learned one attack makes of every other."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch

from ce_detect.core.types import Floats
from ce_detect.evaluate.metrics import auroc
from ce_detect.features.signature import Signature
from ce_detect.fitting import feature_tables, heads
from ce_detect.fitting.feature_tables import Sets, Table
from ce_detect.heads.base import HeadKind

ALL = "all"
"""Name of the row of a detector that learned every attack."""


def matrix(
    signature: Signature,
    sets: Mapping[str, Sets],
    judged: Table,
    *,
    kind: HeadKind,
    seed: int,
) -> dict[str, dict[str, float]]:
    """Fit a head on each attack alone, and on all, and score every attack with it.

    Args:
        signature: the signature of a calibrated gate; it stays as it is, only the head is fitted again.
        sets: the splits ``"fit"`` and ``"select"`` of the calibration.
        judged: signatures of images that calibration did not see: clean ones, and successes of each attack to score.
        kind: head to fit.
        seed: seed of the heads.

    Returns:
        AUROC by name of the learned attack (or `ALL`), then by name of the scored one.
    """
    fit, select = (feature_tables.table(signature, sets[name]) for name in ("fit", "select"))
    rows = {name: (name,) for name in fit.attacked} | {ALL: tuple(fit.attacked)}
    return {
        row: _scored(signature, _only(fit, names), _only(select, names), judged, kind, seed)
        for row, names in rows.items()
    }


def _only(table: Table, names: tuple[str, ...]) -> Table:
    return Table(table.clean, {name: table.attacked[name] for name in names})


def _scored(
    signature: Signature, fit: Table, select: Table, judged: Table, kind: HeadKind, seed: int
) -> dict[str, float]:
    head = heads.fitted(signature, fit, select, kind=kind, seed=seed)

    def scores(features: Floats) -> Floats:
        with torch.inference_mode():
            return np.asarray(head(torch.from_numpy(features)).numpy())

    clean = scores(judged.clean)
    return {name: auroc(clean, scores(features)) for name, features in judged.attacked.items()}
