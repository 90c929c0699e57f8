"""Fused graphs small enough to be worked out by hand, and what they say of themselves."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper

from ce_detect.artifacts import graph_digest
from ce_detect.core.resizing import Resizing

SHAPE = (3, 4, 5)
THRESHOLD = 0.5
MANIFEST: dict[str, Any] = {
    "model": {"input_shape": list(SHAPE), "bounds": [0.0, 1.0], "fingerprint": "f" * 64},
    "signature": {"chunk": 8},
    "fpr": 0.05,
    "guarantee": "pac",
    "confidence": 0.95,
}
KINDS = {
    "logits": (TensorProto.FLOAT, ["batch", 2]),
    "label": (TensorProto.INT64, ["batch"]),
    "score": (TensorProto.FLOAT, ["batch"]),
    "p_value": (TensorProto.FLOAT, ["batch"]),
    "probability": (TensorProto.FLOAT, ["batch"]),
    "is_adversarial": (TensorProto.BOOL, ["batch"]),
}


def resized(resizing: Resizing) -> dict[str, Any]:
    """The manifest of a gate for files of any size."""
    said = {name: getattr(resizing, name) for name in ("resize", "crop", "interpolation")}
    return {**MANIFEST, "model": {**MANIFEST["model"], "resizing": said}}


def metadata(manifest: dict[str, Any] = MANIFEST, **changed: str) -> dict[str, str]:
    """What a fused graph says of itself."""
    said = {"format": "1", "version": "0.1", "manifest": json.dumps(manifest), "threshold": repr(THRESHOLD)}
    return {f"ce_detect.{key}": value for key, value in {**said, **changed}.items()}


def graph(
    *,
    uint8: bool = False,
    outputs: tuple[str, ...] = tuple(KINDS),
    said: dict[str, str] | None = None,
    opset: int = 18,
    endless: bool = False,
) -> bytes:
    """A gate whose score is the mean of the pixels and whose logits are the first pixel of the first two channels."""
    channels, height, width = SHAPE
    pixels: list[Any] = ["batch", height, width, channels] if uint8 else ["batch", channels, height, width]
    scaled = [
        helper.make_node("Cast", ["input"], ["levels"], to=TensorProto.FLOAT),
        helper.make_node("Transpose", ["levels"], ["first"], perm=[0, 3, 1, 2]),
        helper.make_node("Div", ["first", "most"], ["x"]),
    ]
    nodes = [
        *(scaled if uint8 else [helper.make_node("Identity", ["input"], ["x"])]),
        helper.make_node("ReduceMean", ["x", "axes"], ["mean" if endless else "score"], keepdims=0),
        *(_loop() if endless else []),
        helper.make_node("Slice", ["x", "start", "stop", "along"], ["corner"]),
        helper.make_node("Reshape", ["corner", "flat"], ["logits"]),
        helper.make_node("ArgMax", ["logits"], ["label"], axis=1, keepdims=0),
        helper.make_node("Sub", ["one", "score"], ["p_value"]),
        helper.make_node("Sigmoid", ["score"], ["probability"]),
        helper.make_node("Greater", ["score", "threshold"], ["is_adversarial"]),
    ]
    constants = {
        "axes": np.array([1, 2, 3]), "start": np.array([0, 0, 0]), "stop": np.array([2, 1, 1]),
        "along": np.array([1, 2, 3]), "flat": np.array([-1, 2]), "one": np.float32([1]), "most": np.float32([255]),
        "threshold": np.array(THRESHOLD, np.float32),
    }  # fmt: skip
    made = helper.make_graph(
        nodes,
        "gate",
        [
            helper.make_tensor_value_info("input", TensorProto.UINT8 if uint8 else TensorProto.FLOAT, pixels),
            helper.make_tensor_value_info("threshold", TensorProto.FLOAT, []),
        ],
        [helper.make_tensor_value_info(name, *KINDS[name]) for name in outputs],
        [onnx.numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )
    model = helper.make_model(made, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)
    helper.set_model_props(model, metadata() if said is None else said)
    return graph_digest.sealed(model.SerializeToString())


def _loop() -> list[onnx.NodeProto]:
    """Nodes that hand on the score after more rounds than anybody waits for."""
    value = helper.make_tensor_value_info("inner", TensorProto.FLOAT, ["batch"])
    going, out = (helper.make_tensor_value_info(name, TensorProto.BOOL, []) for name in ("going", "on"))
    body = helper.make_graph(
        [helper.make_node("Identity", ["going"], ["on"]), helper.make_node("Identity", ["inner"], ["next"])],
        "body",
        [helper.make_tensor_value_info("round", TensorProto.INT64, []), going, value],
        [out, helper.make_tensor_value_info("next", TensorProto.FLOAT, ["batch"])],
    )
    trips = helper.make_tensor("trips", TensorProto.INT64, [], [2**62])
    true = helper.make_tensor("true", TensorProto.BOOL, [], [True])
    return [
        helper.make_node("Constant", [], ["rounds"], value=trips),
        helper.make_node("Constant", [], ["yes"], value=true),
        helper.make_node("Loop", ["rounds", "yes", "mean"], ["score"], body=body),
    ]


def write_graph(folder: Path, **settings: Any) -> Path:
    """Write a fused graph and return its path."""
    path = folder / "guard.onnx"
    path.write_bytes(graph(**settings))
    return path


def images(count: int, seed: int = 0) -> NDArray[np.float32]:
    """Images of many brightnesses, so that about half are flagged."""
    generator = np.random.default_rng(seed)
    x = generator.uniform(size=(count, *SHAPE)) * generator.uniform(0.2, 1, size=(count, 1, 1, 1)) + 0.1
    return x.clip(0, 1).astype(np.float32)
