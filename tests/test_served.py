"""Costs in ONNX Runtime: what they are measured of, and how they hold a gate to its budget."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import subject, tiny_images

from ce_detect import interventions
from ce_detect.calibrate import meter as metering
from ce_detect.calibrate import served
from ce_detect.calibrate.candidates import Item, of
from ce_detect.calibrate.cost import CostTable
from ce_detect.calibrate.meter import BATCHES, SERVED, Meter
from ce_detect.calibrate.served import Server, can_serve
from ce_detect.models import fashion_cnn


def meter(folder: Path) -> Meter:
    """Of a tiny model; costs are kept in the folder."""
    tiny = subject("plain")
    table = CostTable(folder, tiny.classifier, batches=BATCHES)
    return Meter(tiny.classifier, tiny.classifier.logits, tiny_images("plain", max(BATCHES)), table, "logistic")


def masked() -> tuple[Item, ...]:
    """Nine more forward passes."""
    return (of(interventions.GridMask(cells=3)),)


def test_a_gate_in_onnx_runtime_costs_what_it_runs(tmp_path: Path) -> None:
    """The free statistics cost more than the model alone, nine more forward passes at least twice that."""
    costs = meter(tmp_path)
    free, whole = costs.served(()), costs.served(masked())
    assert tuple(free) == tuple(whole) == BATCHES
    assert all(1.0 < free[batch] < whole[batch] for batch in BATCHES)
    assert whole[max(BATCHES)] > 2 * free[max(BATCHES)]


def test_it_is_measured_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another calibration of the same model makes the same choices."""
    first = meter(tmp_path).served(masked())
    monkeypatch.setattr(Server, "ratios", lambda *_, **__: pytest.fail("measured again"))
    assert meter(tmp_path).served(masked()) == first


def costing(monkeypatch: pytest.MonkeyPatch, gate: float, free: list[float], whole: list[float]) -> None:
    """Let a gate have these costs in PyTorch, and in ONNX Runtime with and without items."""
    monkeypatch.setattr(Meter, "gate", lambda *_: gate)
    monkeypatch.setattr(Meter, "served", lambda _, chosen: dict(zip(BATCHES, whole if chosen else free, strict=True)))


@pytest.mark.parametrize(
    ("gate", "free", "whole", "expected"),
    [
        (1.2, [1.1, 1.1, 1.1], [1.4, 1.5, 1.6], 1.6 / SERVED),
        (1.2, [1.1, 1.1, 1.1], [1.65, 1.5, 1.6], 1.5),
        (1.45, [1.1, 1.1, 1.1], [1.4, 1.5, 1.5], 1.45),
        (1.2, [1.7, 1.1, 1.1], [3.0, 1.5, 1.54], 1.4),  # on single inputs no gate keeps it
        (1.2, [1.7, 1.7, 1.7], [3.0, 3.0, 3.0], 1.2),
        (1.6, [1.1, 1.1, 1.1], [9.0, 9.0, 9.0], 1.6),  # too dear already
    ],
)
def test_the_dearer_of_both_runtimes_decides(
    gate: float, free: list[float], whole: list[float], expected: float, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """A tenth more is allowed in ONNX Runtime, on the batch sizes where a gate without items keeps it."""
    costs = meter(tmp_path)
    costing(monkeypatch, gate, free, whole)
    assert costs.cost(masked(), 1.5) == pytest.approx(expected)


def test_without_a_budget_nothing_is_exported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """There is nothing to hold a cost against."""
    costs = meter(tmp_path)
    monkeypatch.setattr(Server, "ratios", lambda *_, **__: pytest.fail("measured in ONNX Runtime"))
    assert costs.cost(masked(), math.inf) == costs.gate(masked())


@pytest.mark.parametrize(
    ("found", "costs"), [([False], ("bare", "folded")), ([True], ("bare",))], ids=["no runtime", "runtime"]
)
def test_without_onnx_runtime_the_folded_model_counts(
    found: list[bool], costs: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In the place of ONNX Runtime, the gate is then held against the model with its batch norms folded."""
    monkeypatch.setattr(metering, "can_serve", lambda _: found[0])
    against: list[str] = []

    def recorded(_: object, modules: list[Any], x: object, rounds: int = 7, against_: Any = None, **given: Any) -> Any:
        against.append("folded" if given.get("against") else "bare")
        return [1.5] * len(modules)

    counted = meter(tmp_path)
    monkeypatch.setattr(Meter, "_ratios", recorded)
    assert counted.gate(()) == 1.5
    assert tuple(dict.fromkeys(against)) == costs
    assert bool(counted.served(())) is found[0]


def test_what_cannot_become_a_graph_is_not_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hooked models, half precision, and a machine without one of the packages."""
    assert can_serve(subject("plain").classifier)
    assert not can_serve(subject("branching").classifier)
    half = torch.float16
    monkeypatch.setattr(subject("residual").classifier, "dtype", half)
    assert not can_serve(subject("residual").classifier)
    with monkeypatch.context() as missing:
        missing.setattr(served, "find_spec", lambda name: None if name == "onnxscript" else find_spec(name))
        assert not can_serve(subject("plain").classifier)


def failing(*_: object) -> Any:
    """An exporter that has no form for an operator."""
    raise RuntimeError("no ONNX form\nof an operator")


@pytest.mark.parametrize("function", ["alone", "fused"])
def test_a_graph_that_cannot_be_made_holds_nothing_up(
    function: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Calibration goes on with the costs in PyTorch, and the log says why."""
    from ce_detect.export import graph

    monkeypatch.setattr(graph, function, failing)
    with caplog.at_level(logging.INFO, "ce_detect"):
        costs = meter(tmp_path)
        assert set(costs.served(masked()).values()) == {0.0}
        assert costs.cost(masked(), 1000.0) == costs.gate(masked())
    assert "no cost in ONNX Runtime: no ONNX form" in caplog.text


def test_the_graph_of_the_model_alone_is_the_model() -> None:
    """Logits of the graph that gates are held against are those of the classifier, for every batch size."""
    import onnxruntime

    from ce_detect.classifiers.torch import wrap
    from ce_detect.export.graph import alone

    classifier: Any = wrap(fashion_cnn(), input_shape=(1, 28, 28), bounds=(0.0, 1.0))
    session = onnxruntime.InferenceSession(alone(classifier).SerializeToString(), providers=["CPUExecutionProvider"])
    check: Callable[..., None] = torch.testing.assert_close
    for count in (1, 5):
        x = torch.rand(count, 1, 28, 28, generator=torch.Generator().manual_seed(count))
        (logits,) = session.run(None, {"input": x.numpy()})
        check(torch.from_numpy(logits), classifier.logits(x).detach(), rtol=1e-4, atol=1e-4)
