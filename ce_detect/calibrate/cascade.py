"""What a cascade clears and costs, on clean images that neither its heads nor its level come from."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

import torch

from ce_detect.calibrate.cost.pytorch import ONNXRUNTIME_ALLOWANCE, Meter
from ce_detect.calibrate.dataset import CalibrationData
from ce_detect.calibrate.decisions import successes
from ce_detect.calibrate.items import Item
from ce_detect.classifiers.base import Classifier
from ce_detect.core.errors import CalibrationError
from ce_detect.data import Pixels, tensors
from ce_detect.detector.cascade import First, cascaded
from ce_detect.detector.gate import GateModule
from ce_detect.heads.cascade import CLEARED

logger = logging.getLogger("ce_detect")


def check_empty_batch(classifier: Classifier) -> None:
    """Refuse black boxes that cannot run a batch of none: the graph of a cascade does where all inputs are cleared."""
    if classifier.differentiable:
        return
    try:
        classifier.logits(classifier.probe()[:0])
    except Exception as error:  # ONNX Runtime has a dozen types of its own
        raise CalibrationError(
            "cascade: this ONNX model cannot run an empty batch, as the exported graph of a cascade has to "
            f"({str(error).splitlines()[0]}). Calibrate without a cascade"
        ) from error


def cleared(gate: GateModule, x: Pixels) -> float:
    """Share of images ``(n, channels, height, width)`` that the first head of a cascade clears."""
    look, level, found = First(gate), cascaded(gate).level, 0
    with torch.inference_mode():
        for batch in tensors.batches(x, gate.signature.chunk or 128, gate.signature.classifier.device):
            found += int((look(batch)[2] <= level).sum())
    return found / len(x)


def measured(
    gate: GateModule, data: CalibrationData, timed: Mapping[str, Any], meter: Meter, items: tuple[Item, ...]
) -> dict[str, Any]:
    """Costs for the share of clean images that a cascade really clears, and what it clears and costs beside.

    Args:
        gate: what was made, with a cascade.
        data: shares are taken on its *calibrate* split, which neither heads nor level come from.
        timed: costs with `CLEARED` of the images cleared.
        meter: what measured them.
        items: what the gate is made of.
    """
    others, clean = meter.clearing(0.0), cleared(gate, data.clean("calibrate"))
    cost = others.pytorch(items)
    by_batch = {str(batch): ratio for batch, ratio in others.onnxruntime(items).items()} if timed["served_cost"] else {}
    found = successes(gate.signature.classifier, data.tested, data.decided[data.parts["test"]])
    return {
        "cost": _on_average(timed["cost"], cost, clean),
        "served_cost": {
            batch: _on_average(timed["served_cost"][batch], ratio, clean) for batch, ratio in by_batch.items()
        },
        "cascade": {
            "cleared": round(clean, 4),
            "cleared_attacked": {name: round(cleared(gate, x.pixels), 4) for name, x in found.items() if len(x)},
            "cost_of_others": cost,
            "served_cost_of_others": by_batch,
        },
    }


def _on_average(timed: float, others: float, clean: float) -> float:
    """Cost with a share of inputs cleared, from that with `CLEARED` of them cleared and that with none."""
    return round(others - (others - timed) * clean / CLEARED, 3)


def check_budget(figures: Mapping[str, Any], meter: Meter, budget: float) -> None:
    """Warn where a cascade clears so few inputs that it does not keep the budget."""
    tight = meter.tight(budget) if figures["served_cost"] else {}
    by_batch = {batch: ratio for batch, ratio in figures["served_cost"].items() if int(batch) not in tight}
    worst = max([figures["cost"], *(ratio / ONNXRUNTIME_ALLOWANCE for ratio in by_batch.values())])
    if worst > budget:
        logger.warning(
            "the first look clears %.0f %% of clean images, so the gate costs %.2f on average over them, more than "
            "the budget of %.2f. Give more images to learn from, or ask for a smaller budget",
            100 * figures["cascade"]["cleared"], worst, budget,
        )  # fmt: skip
