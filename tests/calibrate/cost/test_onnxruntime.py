"""Costs in ONNX Runtime: what they are measured of, and how they hold a gate to its budget."""

from __future__ import annotations

import importlib.metadata
import json
import logging
import math
import sys
from importlib.metadata import PackageNotFoundError
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import onnxruntime
import pytest
import torch
from support import calibrated
from support.models import subject, tiny_images

from ce_detect import interventions
from ce_detect.calibrate.cost import onnxruntime as served
from ce_detect.calibrate.cost import pytorch as metering
from ce_detect.calibrate.cost.onnxruntime import OnnxRuntimeCost, can_measure
from ce_detect.calibrate.cost.pytorch import BATCHES, SERVED, Meter
from ce_detect.calibrate.cost.table import CostTable
from ce_detect.calibrate.search.candidates import Item, of
from ce_detect.classifiers.wrapping import wrap
from ce_detect.cli._figures import cost as described
from ce_detect.demo.model import fashion_cnn
from ce_detect.export import fused_graph
from ce_detect.fitting import robust_copy
from ce_detect.guard.detected_model import DetectedModel


def meter(folder: Path, classifier: Any = None) -> Meter:
    """Of a tiny model, or of another of the same input; costs are kept in the folder."""
    classifier = subject("plain").classifier if classifier is None else classifier
    table = CostTable(folder, classifier, batches=BATCHES)
    shape = classifier.input_shape
    x = tiny_images("plain", max(BATCHES)) if shape == (3, 16, 16) else torch.rand(max(BATCHES), *shape)
    return Meter(classifier, classifier.logits, x, table, "logistic")


def masked() -> tuple[Item, ...]:
    """Nine more forward passes."""
    return (of(interventions.GridMask(cells=3)),)


def fashion() -> Any:
    """A classifier large enough for its arithmetic to matter."""
    return wrap(fashion_cnn(), input_shape=(1, 28, 28), bounds=(0.0, 1.0))


def test_a_gate_in_onnx_runtime_costs_what_it_runs(tmp_path: Path) -> None:
    """Nine more forward passes take at least three times as long as the free statistics, which are not for nothing."""
    costs = meter(tmp_path, fashion())
    free, whole = costs.served(()), costs.served(masked())
    assert tuple(free) == tuple(whole) == BATCHES
    assert free[1] > 1.0
    assert whole[max(BATCHES)] > 3 * free[max(BATCHES)]


def test_a_hardened_copy_costs_a_forward_pass_there_too(tmp_path: Path) -> None:
    """Its weights are not the classifier's yet: ONNX Runtime would compute what is equal only once."""
    classifier = fashion()
    copy = robust_copy.untrained(classifier)
    assert copy is not None
    costs = meter(tmp_path, classifier)
    assert costs.served((of(robust_copy.for_timing(copy)),))[max(BATCHES)] > costs.served(())[max(BATCHES)] + 0.5


def test_it_is_measured_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another calibration of the same model makes the same choices; another version of the runtime measures again."""
    first = meter(tmp_path).served(masked())
    monkeypatch.setattr(OnnxRuntimeCost, "ratios", lambda *_, **__: [9.0] * len(BATCHES))
    assert meter(tmp_path).served(masked()) == first
    monkeypatch.setattr(onnxruntime, "__version__", "0.0")
    assert set(meter(tmp_path).served(masked()).values()) == {9.0}


def costing(monkeypatch: pytest.MonkeyPatch, gate: float, free: list[float], whole: list[float]) -> None:
    """Let a gate have these costs in PyTorch, and in ONNX Runtime with and without items."""
    monkeypatch.setattr(Meter, "gate", lambda *_: gate)
    monkeypatch.setattr(Meter, "served", lambda _, items: dict(zip(BATCHES, whole if items else free, strict=True)))


@pytest.mark.parametrize(
    ("gate", "free", "whole", "expected"),
    [
        (1.2, [1.1, 1.1, 1.1], [1.4, 1.5, 1.6], 1.6 / SERVED),
        (1.2, [1.1, 1.1, 1.1], [1.65, 1.5, 1.6], 1.5),
        (1.45, [1.1, 1.1, 1.1], [1.4, 1.5, 1.5], 1.45),
        (1.2, [1.44, 1.1, 1.1], [3.0, 1.5, 1.54], 1.4),  # on single inputs there is hardly any room
        (1.2, [1.43, 1.1, 1.1], [1.65, 1.5, 1.54], 1.5),
        (1.2, [1.7, 1.7, 1.7], [3.0, 3.0, 3.0], 1.2),
        (1.6, [1.1, 1.1, 1.1], [9.0, 9.0, 9.0], 1.6),  # too dear already
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


def test_without_a_budget_nothing_is_exported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """There is nothing to hold a cost against."""
    costs = meter(tmp_path)
    monkeypatch.setattr(OnnxRuntimeCost, "ratios", lambda *_, **__: pytest.fail("measured in ONNX Runtime"))
    assert costs.cost(masked(), math.inf) == costs.gate(masked())


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
        items = (of(interventions.GradientStep()),)
    else:
        monkeypatch.setattr(fused_graph, why, failing)
    monkeypatch.setattr(Meter, "_ratios", lambda *_, against=None, **__: [1.7 if against is None else 1.9])
    with caplog.at_level(logging.INFO, "ce_detect"):
        assert costs.served(items) == {}
        assert costs.cost(items, 2.0) == 1.9
    assert caplog.text.count("no cost in ONNX Runtime") == (why in ("bare", "fused"))


def test_what_cannot_become_a_graph_is_not_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hooked models, half precision, other devices, a machine without one of the packages, or with a broken one."""
    assert can_measure(subject("plain").classifier)
    assert not can_measure(subject("branching").classifier)
    with monkeypatch.context() as half:
        half.setattr(subject("residual").classifier, "dtype", torch.float16)
        assert not can_measure(subject("residual").classifier)
    with monkeypatch.context() as elsewhere:
        elsewhere.setattr(type(subject("plain").classifier), "device", torch.device("cuda"))
        assert not can_measure(subject("plain").classifier)
    with monkeypatch.context() as missing:
        missing.setattr(served, "find_spec", lambda name: None if name == "onnxscript" else find_spec(name))
        assert not can_measure(subject("plain").classifier)
    with monkeypatch.context() as broken:
        broken.setitem(sys.modules, "onnxruntime", None)
        assert not can_measure(subject("plain").classifier)
    assert can_measure(subject("plain").classifier)


def test_the_wheel_for_gpus_measures_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is the same import package under another name: there is no distribution ``onnxruntime`` then."""

    def missing(name: str) -> str:
        raise PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "version", missing)
    monkeypatch.setattr(importlib.metadata, "distribution", missing)
    classifier: Any = subject("plain").classifier
    assert can_measure(classifier)
    assert OnnxRuntimeCost(classifier).runtime == f"onnxruntime {onnxruntime.__version__}"


def test_the_graph_of_the_bare_model_is_the_model() -> None:
    """Logits of the graph that gates are held against are those of the classifier, for every batch size."""
    classifier = fashion()
    content = fused_graph.bare(classifier).SerializeToString()
    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    for count in (1, 5):
        x = torch.rand(count, 1, 28, 28, generator=torch.Generator().manual_seed(count))
        (logits,) = session.run(None, {"input": x.numpy()})
        torch.testing.assert_close(torch.from_numpy(logits), classifier.logits(x).detach(), rtol=1e-4, atol=1e-4)


def test_the_manifest_says_what_serving_costs(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By batch size; where the free statistics leave too little, a warning says so."""
    settings: dict[str, Any] = {"recipe": calibrated.CLEAN, "fpr": 0.1, "jobs": 1, "cache": calibrated.cache()}
    monkeypatch.setattr(
        Meter, "served", lambda _, items: dict(zip(BATCHES, (3.1, 1.2, 1.3) if items else (1.9, 1.1, 1.1), strict=True))
    )
    monkeypatch.setattr(Meter, "gate", lambda *_: 1.9)
    guard = DetectedModel(fashion_cnn()).calibrate(calibrated.images().x, budget=2.0, **settings)
    assert guard.manifest["figures"]["served_cost"] == {"1": 3.1, "8": 1.2, "32": 1.3}
    keys_sorted = json.loads(json.dumps(guard.manifest, sort_keys=True))
    assert "in ONNX Runtime 3.10 / 1.20 / 1.30 in batches of 1 / 8 / 32" in described(keys_sorted)
    assert "take 1.90 times the model in batches of 1: there the budget of 2.00 does not bind" in caplog.text
    free = DetectedModel(fashion_cnn()).calibrate(calibrated.images().x, budget=math.inf, **settings)
    assert free.manifest["figures"]["served_cost"] == {}
    assert "ONNX" not in described(free.manifest)
