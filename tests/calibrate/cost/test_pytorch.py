"""Costs of gates: what they are measured of, and how both runtimes hold a gate to its budget."""

from __future__ import annotations

import logging
import math
from pathlib import Path
from typing import Any

import onnxruntime
import pytest
import torch
from support.calibrated import images
from support.cascades import guard
from support.models import subject, tiny_images

from ce_detect import interventions
from ce_detect.calibrate.cost import pytorch as metering
from ce_detect.calibrate.cost.onnxruntime import OnnxRuntimeCost
from ce_detect.calibrate.cost.pytorch import BATCHES, ONNXRUNTIME_ALLOWANCE, Meter
from ce_detect.calibrate.cost.table import CostTable
from ce_detect.calibrate.items import Item
from ce_detect.classifiers.wrapping import wrap
from ce_detect.demo.model import fashion_cnn
from ce_detect.export import fused_graph
from ce_detect.fitting import robust_copy, untrained
from ce_detect.heads.cascade import CLEARED, CascadedHead
from ce_detect.interventions import GridMask


def meter(folder: Path, classifier: Any = None) -> Meter:
    """Of a tiny model, or of another of the same input; costs are kept in the folder."""
    classifier = subject("plain").classifier if classifier is None else classifier
    table = CostTable(folder, classifier, batches=BATCHES)
    shape = classifier.input_shape
    x = tiny_images("plain", max(BATCHES)) if shape == (3, 16, 16) else torch.rand(max(BATCHES), *shape)
    return Meter(classifier, classifier.logits, x, table, "logistic")


def masked() -> tuple[Item, ...]:
    """Nine more forward passes."""
    return (Item.of(interventions.GridMask(cells=3)),)


def fashion() -> Any:
    """A classifier large enough for its arithmetic to matter."""
    return wrap(fashion_cnn(), input_shape=(1, 28, 28), bounds=(0.0, 1.0))


@pytest.mark.slow
def test_a_gate_in_onnx_runtime_costs_what_it_runs(tmp_path: Path) -> None:
    """Nine more forward passes take at least three times as long as the free statistics, which are not for nothing."""
    costs = meter(tmp_path, fashion())
    free, whole = costs.onnxruntime(()), costs.onnxruntime(masked())
    assert tuple(free) == tuple(whole) == BATCHES
    assert free[1] > 1.0
    assert whole[max(BATCHES)] > 3 * free[max(BATCHES)]


@pytest.mark.slow
def test_a_hardened_copy_costs_a_forward_pass_there_too(tmp_path: Path) -> None:
    """Its weights are not the classifier's yet: ONNX Runtime would compute what is equal only once."""
    classifier = fashion()
    copy = robust_copy.untrained(classifier)
    assert copy is not None
    costs = meter(tmp_path, classifier)
    free, whole = costs.onnxruntime(()), costs.onnxruntime((Item.of(robust_copy.for_timing(copy)),))
    assert whole[max(BATCHES)] > free[max(BATCHES)] + 0.5


@pytest.mark.slow
def test_timed_gate_clears_its_share_and_costs_less_than_without(tmp_path: Path) -> None:
    """What is timed clears a share of the images it is timed on; the rest pay, here for nine forward passes."""
    classifier = wrap(fashion_cnn(), input_shape=(1, 28, 28), bounds=(0.0, 1.0))
    x = torch.from_numpy(images().x[:8])
    signature = guard().gate.signature
    for kind in ("mlp", "logistic"):
        head = untrained.cascade_for_timing(signature, kind, x, CLEARED)  # type: ignore[arg-type]
        assert isinstance(head, CascadedHead)
        with torch.inference_mode():
            cleared = (head.first(signature.first(x)[1]) <= head.level).float().mean()
        assert abs(cleared - CLEARED) < 0.1
    table, items = CostTable(tmp_path, classifier, batches=BATCHES), (Item.of(GridMask(cells=3)),)
    some, none = (Meter(classifier, fashion_cnn(), x, table, "logistic", cleared=share) for share in (CLEARED, 0.0))
    assert (round(some.paying, 6), none.paying) == (round(1 - CLEARED, 6), 1.0)
    assert none.pytorch(items) > 1.3 * some.pytorch(items)
    assert all(ratio > 1.3 * some.onnxruntime(items)[batch] for batch, ratio in none.onnxruntime(items).items())


def test_it_is_measured_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another calibration of the same model makes the same choices; another version of the runtime measures again."""
    first = meter(tmp_path).onnxruntime(masked())
    monkeypatch.setattr(OnnxRuntimeCost, "ratios", lambda *_, **__: [9.0] * len(BATCHES))
    assert meter(tmp_path).onnxruntime(masked()) == first
    monkeypatch.setattr(onnxruntime, "__version__", "0.0")
    assert set(meter(tmp_path).onnxruntime(masked()).values()) == {9.0}


def costing(monkeypatch: pytest.MonkeyPatch, gate: float, free: list[float], whole: list[float]) -> None:
    """Let a gate have these costs in PyTorch, and in ONNX Runtime with and without items."""
    monkeypatch.setattr(Meter, "pytorch", lambda *_: gate)
    monkeypatch.setattr(
        Meter, "onnxruntime", lambda _, items: dict(zip(BATCHES, whole if items else free, strict=True))
    )


@pytest.mark.parametrize(
    ("gate", "free", "whole", "expected"),
    [
        (1.2, [1.1, 1.1, 1.1], [1.4, 1.5, 1.6], 1.6 / ONNXRUNTIME_ALLOWANCE),
        (1.2, [1.1, 1.1, 1.1], [1.65, 1.5, 1.6], 1.5),
        (1.45, [1.1, 1.1, 1.1], [1.4, 1.5, 1.5], 1.45),
        (1.2, [1.44, 1.1, 1.1], [3.0, 1.5, 1.54], 1.4),  # on single inputs there is hardly any room
        (1.2, [1.43, 1.1, 1.1], [1.65, 1.5, 1.54], 1.5),
        (1.2, [1.7, 1.7, 1.7], [3.0, 3.0, 3.0], 1.2),
        (9.0, [1.1, 1.1, 1.1], [2.2, 2.2, 2.2], 2.0),  # too dear already
    ],
)
def test_the_dearer_of_both_runtimes_decides(
    gate: float, free: list[float], whole: list[float], expected: float, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """A tenth more is allowed in ONNX Runtime, on the batch sizes where a gate without items leaves room."""
    costs = meter(tmp_path)
    costing(monkeypatch, gate, free, whole)
    assert costs.cost(masked(), 1.5) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("free", "mirrored", "cleared", "expected"),
    [
        ([1.1, 1.1, 1.1], [1.9, 1.9, 1.9], None, 0.9),  # one pass more costs 0.8 in both
        ([1.1, 1.1, 1.1], [1.9, 2.3, 1.9], None, 0.8 * (2.2 - 1.1) / 1.2),  # dearer on eight inputs
        ([1.9, 1.1, 1.1], [5.0, 1.9, 1.9], None, 0.9),  # on single inputs there is hardly any room
        ([1.1, 1.1, 1.1], [1.1, 1.1, 1.1], None, 0.9),  # nothing to be seen
        ([1.1, 1.1, 1.1], [1.3, 1.3, 1.3], 0.75, 3.6),  # a quarter of the inputs pays
        ([1.1, 1.1, 1.1], [1.5, 1.5, 1.5], 0.75, 0.8 * (2.2 - 1.1) / 0.4),
    ],
)
def test_room_is_what_the_dearer_runtime_leaves(
    free: list[float], mirrored: list[float], cleared: float | None, expected: float, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """In forward passes of an input that pays for them, each as dear as a mirrored input is there."""
    costs = meter(tmp_path) if cleared is None else meter(tmp_path).clearing(cleared)
    costing(monkeypatch, 1.0, free, mirrored)
    monkeypatch.setattr(Meter, "free", lambda _: 1.1)
    monkeypatch.setattr(Meter, "items", lambda _, items: {item.name: 0.8 for item in items})
    assert costs.room(2.0, 1.0) == pytest.approx(expected)
    assert costs.room(math.inf, 1.0) == math.inf
    monkeypatch.setattr(Meter, "items", lambda _, items: {item.name: 0.0 for item in items})
    assert costs.room(2.0, 1.0) == pytest.approx(0.9 / costs.paying)


def test_without_a_budget_nothing_is_exported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """There is nothing to hold a cost against."""
    costs = meter(tmp_path)
    monkeypatch.setattr(OnnxRuntimeCost, "ratios", lambda *_, **__: pytest.fail("measured in ONNX Runtime"))
    assert costs.cost(masked(), math.inf) == costs.pytorch(masked())


def failing(*_: object) -> Any:
    """An exporter that has no form for an operator."""
    raise RuntimeError("no ONNX form\nof an operator")


@pytest.mark.parametrize("why", ["no runtime", "not exportable", "bare", "fused"])
def test_where_nothing_can_be_measured_the_folded_model_counts(
    why: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Without ONNX Runtime, for what has no ONNX form, and where the exporter fails, which is tried only once."""
    costs, items = meter(tmp_path), masked()
    if why == "no runtime":
        monkeypatch.setattr(metering, "can_measure", lambda _: False)
        costs = meter(tmp_path)
    elif why == "not exportable":
        items = (Item.of(interventions.GradientStep()),)
    else:
        monkeypatch.setattr(fused_graph, why, failing)
    monkeypatch.setattr(Meter, "_ratios", lambda *_, against=None, **__: [1.7 if against is None else 1.9])
    with caplog.at_level(logging.INFO, "ce_detect"):
        assert costs.onnxruntime(items) == {}
        assert costs.cost(items, 2.0) == 1.9
    assert caplog.text.count("no cost in ONNX Runtime") == (why in ("bare", "fused"))
