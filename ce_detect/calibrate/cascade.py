"""What a cascade clears and costs, on clean images that neither its heads nor its level come from."""

from __future__ import annotations

import logging
from typing import Any

import torch

from ce_detect.calibrate.cost.pytorch import SERVED, Meter
from ce_detect.calibrate.dataset import CalibrationData, decisions, successes
from ce_detect.calibrate.search.candidates import Item
from ce_detect.classifiers.base import Classifier
from ce_detect.core.errors import CalibrationError
from ce_detect.data import Pixels, tensors
from ce_detect.detector.cascade import First, cascaded
from ce_detect.detector.gate import GateModule
from ce_detect.heads.cascade import CLEARED

logger = logging.getLogger("ce_detect")


def check_empty(classifier: Classifier) -> None:
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
    gate: GateModule, data: CalibrationData, timed: dict[str, Any], others: Meter, items: tuple[Item, ...]
) -> dict[str, Any]:
    """Costs for the share of clean images that a cascade really clears, and what it clears and costs beside.

    Args:
        gate: what was made, with a cascade.
        data: shares are taken on its *calibrate* split, which neither heads nor level come from.
        timed: costs with `CLEARED` of the images cleared.
        others: measures where none is.
        items: what the gate is made of.
    """
    classifier = gate.signature.classifier
    clean, whole = cleared(gate, data.clean("calibrate")), others.gate(items)

    def mixed(cost: float, whole: float) -> float:
        return round(whole - (whole - cost) * clean / CLEARED, 3)

    served = {str(batch): ratio for batch, ratio in others.served(items).items()} if timed["served_cost"] else {}
    found = successes(classifier, data.tested, decisions(classifier, data.clean("test")))
    return {
        "cost": mixed(timed["cost"], whole),
        "served_cost": {batch: mixed(timed["served_cost"][batch], ratio) for batch, ratio in served.items()},
        "cascade": {
            "cleared": round(clean, 4),
            "cleared_attacked": {name: round(cleared(gate, x.pixels), 4) for name, x in found.items() if len(x)},
            "cost_of_others": whole,
            "served_cost_of_others": served,
        },
    }


def check_budget(figures: dict[str, Any], meter: Meter, budget: float) -> None:
    """Warn where a cascade clears so few inputs that it does not keep the budget."""
    tight = meter.tight(budget) if figures["served_cost"] else {}
    served = {batch: ratio for batch, ratio in figures["served_cost"].items() if int(batch) not in tight}
    worst = max([figures["cost"], *(ratio / SERVED for ratio in served.values())])
    if worst > budget:
        logger.warning(
            "the free statistics clear %.0f %% of clean images, so the gate costs %.2f on average over them, more than "
            "the budget of %.2f. Give more images to learn from, or ask for a smaller budget",
            100 * figures["cascade"]["cleared"], worst, budget,
        )  # fmt: skip
