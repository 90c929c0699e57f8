"""A made graph, to try the load on the server without a calibrated gate."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from onnx import TensorProto, helper, numpy_helper

from benchmarks.face import graph_digest


def made_graph(path: Path) -> Path:
    """A gate of about the work of a small residual network on 32 by 32 colour images, of random weights."""
    generator = np.random.default_rng(0)
    weights = {
        "w1": generator.normal(0, 0.2, (64, 3, 3, 3)), "w2": generator.normal(0, 0.05, (64, 64, 3, 3)),
        "w3": generator.normal(0, 0.05, (64, 64, 3, 3)), "w4": generator.normal(0, 0.3, (64, 10)),
    }  # fmt: skip
    kinds = {
        "logits": (TensorProto.FLOAT, ["batch", 10]), "label": (TensorProto.INT64, ["batch"]),
        "score": (TensorProto.FLOAT, ["batch"]), "p_value": (TensorProto.FLOAT, ["batch"]),
        "probability": (TensorProto.FLOAT, ["batch"]), "is_adversarial": (TensorProto.BOOL, ["batch"]),
    }  # fmt: skip
    nodes = [
        helper.make_node("Conv", ["input", "w1"], ["c1"], pads=[1] * 4),
        helper.make_node("Relu", ["c1"], ["r1"]),
        helper.make_node("Conv", ["r1", "w2"], ["c2"], pads=[1] * 4),
        helper.make_node("Relu", ["c2"], ["r2"]),
        helper.make_node("Conv", ["r2", "w3"], ["c3"], pads=[1] * 4),
        helper.make_node("GlobalAveragePool", ["c3"], ["pooled"]),
        helper.make_node("Flatten", ["pooled"], ["flat"]),
        helper.make_node("MatMul", ["flat", "w4"], ["logits"]),
        helper.make_node("ArgMax", ["logits"], ["label"], axis=1, keepdims=0),
        helper.make_node("ReduceMax", ["logits", "axes"], ["score"], keepdims=0),
        helper.make_node("Sigmoid", ["score"], ["probability"]),
        helper.make_node("Sub", ["one", "probability"], ["p_value"]),
        helper.make_node("Greater", ["score", "threshold"], ["is_adversarial"]),
    ]
    constants = {name: value.astype(np.float32) for name, value in weights.items()}
    constants |= {"axes": np.array([1]), "one": np.float32([1]), "threshold": np.array(1, np.float32)}
    graph = helper.make_graph(
        nodes,
        "gate",
        [
            helper.make_tensor_value_info("input", TensorProto.FLOAT, ["batch", 3, 32, 32]),
            helper.make_tensor_value_info("threshold", TensorProto.FLOAT, []),
        ],
        [helper.make_tensor_value_info(name, *kind) for name, kind in kinds.items()],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
    manifest = {"model": {"input_shape": [3, 32, 32], "bounds": [0.0, 1.0]}, "signature": {"chunk": None}, "fpr": 0.05}
    said = {"format": "1", "version": "0", "threshold": "1.0", "manifest": json.dumps(manifest)}
    helper.set_model_props(model, {f"ce_detect.{name}": value for name, value in said.items()})
    path.write_bytes(graph_digest.sealed(model.SerializeToString()))
    return path
