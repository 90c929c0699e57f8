"""Costs in ONNX Runtime: what can be measured there, and against what."""

from __future__ import annotations

import importlib.metadata
import sys
from importlib.metadata import PackageNotFoundError
from importlib.util import find_spec
from typing import Any

import onnxruntime
import pytest
import torch
from support.models import subject

from ce_detect.calibrate.cost import onnxruntime as on_graphs
from ce_detect.calibrate.cost.onnxruntime import OnnxRuntimeCost, can_measure
from ce_detect.classifiers.wrapping import wrap
from ce_detect.demo.model import fashion_cnn
from ce_detect.export import fused_graph


def fashion() -> Any:
    """A classifier large enough for its arithmetic to matter."""
    return wrap(fashion_cnn(), input_shape=(1, 28, 28), bounds=(0.0, 1.0))


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
        missing.setattr(on_graphs, "find_spec", lambda name: None if name == "onnxscript" else find_spec(name))
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
