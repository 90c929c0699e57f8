"""What was measured at calibration, as the manifest tells it."""

from __future__ import annotations

from typing import Any

from msgspec import Struct, field

from ce_detect.artifacts.plain_data import Readable
from ce_detect.artifacts.ranges import Cost, Costs, Share, Shares


class CascadeFigures(Struct, frozen=True, kw_only=True):
    """What a cascade clears.

    Attributes:
        cleared: share of clean images.
        cleared_attacked: share of successful attacks, by name.
        cost_of_others: relative to the classifier alone, of what is not cleared.
        onnxruntime_cost_of_others: the same in ONNX Runtime, by size of the batch.
    """

    cleared: Share
    cleared_attacked: Shares
    cost_of_others: Cost
    onnxruntime_cost_of_others: Costs = field(name="served_cost_of_others")


class Figures(Readable, frozen=True, kw_only=True, omit_defaults=True):
    """What was measured at calibration.

    Attributes:
        cost: of a gated forward, relative to the classifier alone.
        onnxruntime_cost: the same in ONNX Runtime, by size of the batch; empty where there was no budget.
        test: figures on the *test* split, see `ce_detect.evaluate.report.Report.to_dict`; None where there is none.
        hardening: figures of each round.
        cascade: None where there is no cascade.
        robust_copy: how the copy was trained; None where there is none.
    """

    cost: Cost
    onnxruntime_cost: Costs = field(name="served_cost")
    test: dict[str, Any] | None
    hardening: list[dict[str, Any]]
    cascade: CascadeFigures | None = None
    robust_copy: dict[str, Any] | None = field(default=None, name="hardened_copy")
