"""What is measured of a gate once it is made: its cost, and its verdicts on the *test* split."""

from __future__ import annotations

import logging
import math
from typing import Any

from ce_detect.calibrate import cascade
from ce_detect.calibrate.cost.pytorch import Meter
from ce_detect.calibrate.dataset import CalibrationData
from ce_detect.calibrate.items import Item
from ce_detect.calibrate.settings import CalibrationSettings
from ce_detect.detector.gate import GateModule
from ce_detect.evaluate import report
from ce_detect.heads.cascade import CascadedHead

logger = logging.getLogger("ce_detect")


def costs(
    gate: GateModule, data: CalibrationData, meter: Meter, items: tuple[Item, ...], settings: CalibrationSettings
) -> dict[str, Any]:
    """What a gate costs: ``cost`` in PyTorch, ``served_cost`` in ONNX Runtime by batch size, and more of a cascade."""
    by_batch = {} if math.isinf(settings.budget) else _in_onnxruntime(meter, items, settings.budget)
    figures = {
        "cost": meter.pytorch(items),
        "served_cost": {str(batch): ratio for batch, ratio in by_batch.items()},
    }
    if isinstance(gate.head, CascadedHead):
        figures |= cascade.measured(gate, data, figures, meter, items)
        cascade.check_budget(figures, meter, settings.budget)
    elif settings.cascade:
        logger.warning("no cascade: the search took no intervention, so there is nothing that a cascade could spare")
    return figures


def tested(
    gate: GateModule, data: CalibrationData, settings: CalibrationSettings, judge: report.Judge
) -> dict[str, Any] | None:
    """Figures on the *test* split, see `ce_detect.evaluate.report.evaluate`; None where there is none."""
    test = data.images.subset(data.parts["test"])
    if not len(test):
        return None
    found = report.evaluate(
        gate, test.pixels, test.y, data.tested, target=settings.fpr, corruptions=settings.recipe.corruptions,
        seed=settings.seed, judge=judge,
    )  # fmt: skip
    found.warn()
    return found.to_dict()


def _in_onnxruntime(meter: Meter, items: tuple[Item, ...], budget: float) -> dict[int, float]:
    """Costs in ONNX Runtime by batch size, and a warning where nothing could keep the budget there."""
    by_batch, tight = meter.onnxruntime(items), meter.tight(budget)
    if by_batch and tight:
        logger.warning(
            "in ONNX Runtime one forward pass with its statistics takes %s times the model in batches of %s. There the "
            "budget of %.2f is not kept: it holds in PyTorch only",
            " / ".join(f"{ratio:.2f}" for ratio in tight.values()), " / ".join(map(str, tight)), budget,
        )  # fmt: skip
    return by_batch
