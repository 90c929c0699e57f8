"""Single operations as ONNX graphs, for tests of how they are converted."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper

from ce_detect.classifiers.onnx.convert.module import OnnxModule
from ce_detect.classifiers.onnx.file import OnnxFile
from ce_detect.classifiers.onnx.session import outputs, session

F = np.float32


def seeded(*shape: int, seed: int = 0) -> np.ndarray[Any, np.dtype[np.float32]]:
    """Normal numbers of a shape."""
    return np.random.default_rng(seed).standard_normal(shape).astype(F)


@dataclass(frozen=True)
class Case:
    """An operation, its constants and its attributes; the input is ``x``.

    Attributes:
        kind: its ``op_type``.
        constants: further inputs; None where one is left out.
        attributes: its attributes.
        shape: of ``x``.
        opset: version of the operator set.
        positive: whether ``x`` has to be positive.
        outputs: how many there are.
    """

    kind: str
    constants: tuple[Any, ...] = ()
    attributes: dict[str, Any] = field(default_factory=dict)
    shape: tuple[int, ...] = (2, 4, 6, 6)
    opset: int = 20
    positive: bool = False
    outputs: int = 1

    @property
    def name(self) -> str:
        """What the test is called."""
        return f"{self.kind}-{self.opset}-" + "-".join(f"{k}={v}" for k, v in self.attributes.items()).replace(" ", "")

    def model(self) -> onnx.ModelProto:
        """The graph: the operation, and a flattening behind it."""
        inputs, weights = ["x"], []
        for i, value in enumerate(self.constants):
            inputs.append("" if value is None else f"c{i}")
            if value is not None:
                weights.append(numpy_helper.from_array(np.asarray(value), f"c{i}"))
        outputs = [f"h{i}" for i in range(self.outputs)]
        attributes = {
            k: numpy_helper.from_array(v) if isinstance(v, np.ndarray) else v for k, v in self.attributes.items()
        }
        nodes = [helper.make_node(self.kind, inputs, outputs, **attributes)]
        nodes.append(helper.make_node("Flatten", [outputs[-1]], ["logits"]))
        return graph(nodes, weights, self.shape, opset=self.opset)


def graph(
    nodes: list[onnx.NodeProto],
    weights: list[onnx.TensorProto],
    shape: tuple[int | str | None, ...],
    *,
    opset: int = 20,
    kind: int = TensorProto.FLOAT,
    output: str = "logits",
) -> onnx.ModelProto:
    """A model from ``x`` of a shape to an output."""
    made = helper.make_graph(
        nodes, "test", [helper.make_tensor_value_info("x", kind, shape)],
        [helper.make_tensor_value_info(output, TensorProto.FLOAT, None)], weights,
    )  # fmt: skip
    return helper.make_model(made, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)


def opened(model: onnx.ModelProto) -> OnnxFile:
    """A graph of any rank as the converter wants it."""
    (given,) = model.graph.input
    dims = [d.dim_value or None for d in given.type.tensor_type.shape.dim]
    shape = (None, *dims[1:], *[None] * (4 - len(dims)))
    return OnnxFile(
        "test.onnx", model, "x", model.graph.output[0].name, shape, "float32", model.opset_import[0].version
    )


def both(model: onnx.ModelProto, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """What ONNX Runtime makes of an input, and what the converted graph makes of it."""
    (expected,) = outputs(session(model.SerializeToString(), "test.onnx"), x)
    with torch.no_grad():
        return expected, OnnxModule(opened(model))(x)


_UNARY = (
    "Abs", "Ceil", "Cos", "Elu", "Erf", "Exp", "Floor", "Gelu", "HardSigmoid", "HardSwish", "Identity", "LeakyRelu",
    "LogSoftmax", "Mish", "Neg", "Reciprocal", "Relu", "Round", "Selu", "Sigmoid", "Sign", "Sin", "Softmax", "Softplus",
    "Softsign", "Tanh", "ThresholdedRelu", "Celu", "Dropout", "GlobalAveragePool", "GlobalMaxPool", "LpNormalization",
)  # fmt: skip
_REDUCTIONS = (
    "ReduceL1", "ReduceL2", "ReduceMax", "ReduceMean", "ReduceMin", "ReduceProd", "ReduceSum", "ReduceSumSquare",
)  # fmt: skip
_AXES = np.array([2, 3])
_KERNEL = seeded(8, 4, 3, 3, seed=1)
_FOUR, _POSITIVE = seeded(4, seed=2), abs(seeded(4, seed=3)) + 0.5
_HALVES = np.array([1, 1, 0.5, 0.5], F)
_TWICE = np.array([1, 1, 2, 2], F)

# fmt: off
CASES = (
    *(Case(kind) for kind in _UNARY),
    *(Case(kind, positive=True) for kind in ("Log", "Sqrt")),
    *(Case(kind, (_AXES,), {"keepdims": 0}) for kind in _REDUCTIONS),
    Case("ReduceMean", attributes={"axes": [1, 2], "keepdims": 1}, opset=13),
    Case("ReduceSum", (np.array([], np.int64),), {"noop_with_empty_axes": 1}),
    Case("Gelu", attributes={"approximate": "tanh"}),
    Case("Softmax", attributes={"axis": 1}), Case("Softmax", attributes={"axis": 1}, opset=11),
    *(Case(kind, (seeded(4, 1, 1, seed=4),)) for kind in ("Add", "Sub", "Mul", "Div", "Max", "Min", "Sum", "Mean")),
    *(Case(kind, (np.array(1.5, F),)) for kind in ("Add", "Sub", "Mul", "Div", "Max", "Min")),
    Case("Mean", (seeded(4, 1, 1, seed=4), seeded(6, seed=5))),
    Case("Pow", (np.array(3.0, F),)), Case("Pow", (np.array([2.0], F),)), Case("PRelu", (abs(seeded(4, 1, 1)),)),
    Case("Clip", (np.array(-0.5, F), np.array(0.5, F))), Case("Clip", (None, np.array(0.5, F))),
    Case("Clip", attributes={"min": -0.5, "max": 0.5}, opset=7),
    Case("Conv", (_KERNEL, seeded(8))), Case("Conv", (_KERNEL,), {"pads": [1, 1, 1, 1], "strides": [2, 2]}),
    Case("Conv", (_KERNEL,), {"pads": [0, 1, 2, 1]}), Case("Conv", (_KERNEL,), {"dilations": [2, 2]}),
    Case("Conv", (_KERNEL,), {"auto_pad": "SAME_UPPER", "strides": [2, 2]}),
    Case("Conv", (_KERNEL,), {"auto_pad": "SAME_LOWER", "strides": [2, 2]}),
    Case("Conv", (seeded(4, 1, 3, 3),), {"group": 4, "pads": [1, 1, 1, 1]}),
    Case("Conv", (seeded(8, 4, 3),), shape=(2, 4, 9)),
    Case("ConvTranspose", (seeded(4, 3, 3, 3),), {"strides": [2, 2], "pads": [1, 1, 1, 1], "output_padding": [1, 1]}),
    Case("MaxPool", attributes={"kernel_shape": [2, 2], "strides": [2, 2]}),
    Case("MaxPool", attributes={"kernel_shape": [3, 3], "strides": [2, 2], "pads": [0, 0, 1, 1]}),
    Case("MaxPool", attributes={"kernel_shape": [3, 3], "strides": [2, 2], "pads": [1, 1, 1, 1]}),
    Case("MaxPool", attributes={"kernel_shape": [3, 3], "strides": [2, 2], "ceil_mode": 1}),
    Case("MaxPool", attributes={"kernel_shape": [2, 2], "auto_pad": "SAME_UPPER"}),
    Case("AveragePool", attributes={"kernel_shape": [2, 2], "strides": [2, 2]}),
    Case("AveragePool", attributes={"kernel_shape": [3, 3], "pads": [1, 1, 1, 1]}),
    Case("AveragePool", attributes={"kernel_shape": [3, 3], "pads": [1, 1, 1, 1], "count_include_pad": 1}),
    Case("AveragePool", attributes={"kernel_shape": [3, 3], "pads": [0, 0, 1, 1], "strides": [2, 2]}),
    Case("AveragePool", attributes={"kernel_shape": [3, 3], "pads": [0, 0, 1, 1], "count_include_pad": 1}),
    Case("BatchNormalization", (_FOUR, _FOUR, _FOUR, _POSITIVE)),
    Case("InstanceNormalization", (_FOUR, _FOUR)),
    Case("GroupNormalization", (_FOUR, _FOUR), {"num_groups": 2}, opset=21),
    Case("LayerNormalization", (seeded(6), seeded(6))), Case("LayerNormalization", (seeded(6, 6),), {"axis": 2}),
    Case("LRN", attributes={"size": 3, "alpha": 0.1}),
    Case("Gemm", (seeded(5, 6), seeded(5)), {"transB": 1}, shape=(3, 6)),
    Case("Gemm", (seeded(6, 5), seeded(1, 5)), {"alpha": 0.5, "beta": 2.0}, shape=(3, 6)),
    Case("Gemm", (seeded(3, 5),), {"transA": 1}, shape=(3, 6)),
    Case("MatMul", (seeded(6, 5),)), Case("MatMul", (seeded(4, 6, 5),)),
    Case("Flatten", attributes={"axis": 2}), Case("Transpose", attributes={"perm": [0, 2, 3, 1]}), Case("Transpose"),
    Case("Reshape", (np.array([0, -1, 9]),)), Case("Squeeze", (np.array([1]),), shape=(2, 1, 5)),
    Case("Squeeze", attributes={"axes": [1, 2]}, opset=11, shape=(2, 1, 1, 5)),
    Case("Unsqueeze", (np.array([1, -1]),)), Case("Unsqueeze", attributes={"axes": [2]}, opset=11),
    Case("Concat", (seeded(2, 3, 6, 6),), {"axis": 1}),
    Case("Expand", (np.array([3, 1, 4, 1, 1]),), shape=(2, 1, 6, 6)),
    Case("Split", (np.array([1, 3]),), {"axis": 1}, outputs=2),
    Case("Split", attributes={"axis": 2, "num_outputs": 2}, outputs=2),
    Case("Split", attributes={"axis": 1, "split": [3, 1]}, opset=11, outputs=2),
    Case("Slice", (np.array([1, -3]), np.array([2**62, -1]), np.array([2, 3]), np.array([2, 1]))),
    Case("Slice", attributes={"starts": [1], "ends": [3], "axes": [1]}, opset=9),
    Case("Gather", (np.array(-1),), {"axis": 1}), Case("Gather", (np.array([[0, 3], [-2, 1]]),), {"axis": 2}),
    Case("Tile", (np.array([1, 2, 1, 3]),)),
    Case("Pad", (np.array([0, 0, 1, 2, 0, 1, 0, 1]), np.array(0.5, F))),
    Case("Pad", (np.array([0, 0, 1, 2, 0, 0, 0, 1]),), {"mode": "reflect"}),
    Case("Pad", (np.array([1, 2]), None, np.array([2])), {"mode": "edge"}),
    Case("Pad", attributes={"pads": [0, 0, 1, 1, 0, 0, 1, 1], "value": 0.25}, opset=10),
    Case("DepthToSpace", attributes={"blocksize": 2}), Case("DepthToSpace", attributes={"blocksize": 2, "mode": "CRD"}),
    Case("SpaceToDepth", attributes={"blocksize": 3}), Case("Cast", attributes={"to": TensorProto.FLOAT}),
    Case("Resize", (None, _TWICE), {"coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}),
    Case("Resize", (None, _TWICE), {"mode": "linear"}), Case("Resize", (None, _TWICE), {"mode": "nearest"}),
    Case("Resize", (None, _HALVES), {"mode": "nearest", "nearest_mode": "round_prefer_ceil"}),
    Case(
        "Resize", (None, None, np.array([2, 4, 9, 7])),
        {"mode": "linear", "coordinate_transformation_mode": "align_corners"},
    ),
    Case("Resize", (None, None, np.array([2, 4, 9, 9])), {"mode": "cubic", "cubic_coeff_a": -0.75}),
    Case("Upsample", (_TWICE,), {"mode": "nearest"}, opset=9),
    Case("Einsum", (seeded(6, 3),), {"equation": "bchw,wk->bchk"}),
)
# fmt: on
"""Operations with a single computed input."""
