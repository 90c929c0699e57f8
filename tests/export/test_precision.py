"""The classifier of a graph in fewer bits."""

from __future__ import annotations

import functools
from collections import Counter
from typing import Literal

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto
from support.gates import OUTPUTS, gate
from support.models import tiny_images

from ce_detect.artifacts.manifest import DeployPart
from ce_detect.core.errors import ExportError
from ce_detect.detector.gate import GateModule
from ce_detect.export import parity
from ce_detect.export.fused_graph import exported, finished
from ce_detect.export.precision import lowered, ranges
from ce_detect.interventions import Flip, Scale

Lower = Literal["fp16", "int8"]


@functools.cache
def made(name: str) -> tuple[GateModule, onnx.ModelProto]:
    """A gate with changed pixels and a changed latent, and its graph in float32."""
    interventions = (
        [Flip()] if name == "one-logit" else [Flip(), Scale(site=gate(name, "logistic").signature.changed[0])]
    )
    one = gate(name, "logistic", interventions=interventions)
    return one, exported(one)


def deployed(name: str, precision: Lower) -> onnx.ModelProto:
    """The graph as it is deployed."""
    one, model = made(name)
    found = ranges(model, [tiny_images(name, 16).numpy()]) if precision == "int8" else []
    part = DeployPart(precision=precision, ranges=found)
    return finished(model, one, {"deploy": part.plain()})


@pytest.mark.parametrize(
    ("name", "precision", "close"),
    [
        ("plain", "fp16", 0.02),
        ("plain", "int8", 0.4),
        *(
            pytest.param(name, precision, close, marks=pytest.mark.slow)
            for name in ("residual", "transformer")
            for precision, close in (("fp16", 0.02), ("int8", 0.4))
        ),
    ],
)
def test_the_graph_says_about_the_same(name: str, precision: Lower, close: float) -> None:
    """It takes and gives what it did, for any batch, and says what it computes with; logits are of deviation 2."""
    one, _ = made(name)
    lower = deployed(name, precision)
    opened = parity.session(lower.SerializeToString())
    assert [(value.name, value.type) for value in opened.get_inputs()] == [("input", "tensor(float)")]
    assert [value.name for value in opened.get_outputs()] == OUTPUTS
    assert opened.get_overridable_initializers()[0].name == "threshold"
    x = tiny_images(name, 40, seed=3).numpy()
    found = parity.differences(one, opened, x)
    assert found.precision == precision
    assert found.logits > 0
    assert np.isfinite(found.score)
    with torch.inference_mode():
        expected = one(torch.from_numpy(x)).logits.numpy()
    assert np.abs(opened.run(["logits"], {"input": x})[0] - expected).mean() < close
    every = opened.run(["is_adversarial"], {"input": x, "threshold": np.array(-1e9, np.float32)})[0]
    assert every.all()


def test_only_the_classifier_is_converted() -> None:
    """Weights between the ends of each pass have fewer bits; those of the ends, in eight bits, and all else have 32."""
    types = {
        precision: {tensor.name: tensor.data_type for tensor in deployed("plain", precision).graph.initializer}
        for precision in ("fp16", "int8")
    }
    for found in types.values():
        outside = [kind for name, kind in found.items() if name.startswith(("gate.head.", "gate.clean_scores"))]
        assert outside
        assert set(outside) == {TensorProto.FLOAT}
    small = {name for name, kind in types["int8"].items() if kind == TensorProto.INT8 and "weight_quantized" in name}
    assert len(small) == 2  # of four layers, stored once though three passes read them
    halves = {name for name, kind in types["fp16"].items() if kind == TensorProto.FLOAT16 and name.endswith("weight")}
    assert len(halves) == 4
    nodes = Counter(node.op_type for node in deployed("plain", "int8").graph.node)
    before = Counter(node.op_type for node in made("plain")[1].graph.node)
    assert nodes["Gemm"] == before["Gemm"]


def test_ranges_are_those_of_clean_images() -> None:
    """Each tensor has one; more images widen them, and those of other images are others."""
    _, model = made("plain")
    x = tiny_images("plain", 16).numpy()
    few, many, apart = ranges(model, [x[:4]]), ranges(model, [x]), ranges(model, [image[None] for image in x])
    np.testing.assert_allclose(apart, many, rtol=1e-5, atol=1e-5)
    assert all(low <= high for low, high in many)
    assert all(
        wide[0] <= narrow[0] + 1e-6 and narrow[1] <= wide[1] + 1e-6 for narrow, wide in zip(few, many, strict=True)
    )
    assert few != many


def test_ranges_of_another_graph_are_refused() -> None:
    """As where another version of torch exports the gate otherwise."""
    _, model = made("plain")
    with pytest.raises(ExportError, match=r"the artifact ranges of 1: .* another version of torch"):
        lowered(model, DeployPart(precision="int8", ranges=[(0.0, 1.0)]))


def test_a_classifier_of_two_layers_is_refused() -> None:
    """There is nothing between them; the file would be called what it is not."""
    with pytest.raises(ExportError, match=r"no layer between its first and its last one.*deploy = 'fp32'"):
        deployed("one-logit", "int8")
