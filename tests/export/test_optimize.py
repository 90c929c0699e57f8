"""A graph fit to ship."""

from __future__ import annotations

import json
from pathlib import Path

import onnx
import pytest
from support.gates import MANIFEST, graph


def test_metadata_hold_the_manifest_and_nothing_of_this_machine() -> None:
    """The manifest is JSON with sorted keys; no path of a source file rides along; the graph is valid."""
    _, content = graph()
    model = onnx.load_from_string(content)
    onnx.checker.check_model(model, full_check=True)
    metadata = {prop.key: prop.value for prop in model.metadata_props}
    assert metadata["ce_detect.manifest"] == json.dumps(MANIFEST, sort_keys=True)
    assert metadata["ce_detect.format"] == "1"
    assert "ce_detect.version" in metadata
    for word in (b"site-packages", b"stack_trace", str(Path(__file__).parent).encode(), b".py"):
        assert word not in content
    (batch,) = {d.dim_param for d in model.graph.input[0].type.tensor_type.shape.dim} - {""}
    assert batch == "batch"


@pytest.mark.slow
def test_every_tensor_is_stored_once() -> None:
    """However often a segment runs, its weights are there once, and nothing that no node reads."""
    for name in ("plain", "transformer"):
        model = onnx.load_from_string(graph(name, "mlp" if name == "plain" else "logistic")[1])
        contents = [
            (t.data_type, tuple(t.dims), onnx.numpy_helper.to_array(t).tobytes()) for t in model.graph.initializer
        ]
        inner = [one for one in contents if len(one[2]) > 4]
        assert len(set(inner)) == len(inner)
        read = {name for node in model.graph.node for name in node.input}
        assert {t.name for t in model.graph.initializer} <= read


def test_small_floors_survive() -> None:
    """What is added below a root is in the graph: onnxscript's own rewriting takes 1e-8 for zero."""
    model = onnx.load_from_string(graph()[1])
    values = [float(onnx.numpy_helper.to_array(t)) for t in model.graph.initializer if not t.dims]
    assert any(value == pytest.approx(1e-8) for value in values)
