"""The classifier inside a fused graph in fewer bits: float16, or eight-bit whole numbers; all else stays float32.

What runs from the first layer with weights to the last one, in every pass, is taken out as a graph of its own,
converted by ONNX Runtime's own tools, and put back. Whatever they do, pixels and what is done to them, effects, head,
p-value and threshold are computed as before. `ce_detect.artifacts.int8` is something else: it packs weights that were
rounded in training, and a graph computes with them in float32.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ce_detect.artifacts.graph_format import INPUT, THRESHOLD
from ce_detect.artifacts.manifest import DeployPart
from ce_detect.core.errors import ExportError

if TYPE_CHECKING:  # onnx comes with the extra ``onnx``
    from onnx import GraphProto, ModelProto, NodeProto, ValueInfoProto

_LAYERS = frozenset({"Conv", "ConvTranspose", "Gemm", "MatMul"})
"""What multiplies by weights."""

_EIGHT_BITS = ("Conv", "Gemm", "MatMul", "Relu", "Clip", "Add", "MaxPool")
"""What computes with eight-bit numbers, where both of what a product multiplies is not computed; the rest does not."""

_SCOPES = "pkg.torch.onnx.name_scopes"
"""Under which key PyTorch's exporter notes the modules that a node comes from, the node itself being the last."""

_SIGNATURE = "signature"
"""The module that runs a classifier; interventions, statistics and heads are modules of their own."""


def lowered(model: ModelProto, deploy: DeployPart) -> ModelProto:
    """The same graph with the classifier in another precision.

    Args:
        model: a graph as `ce_detect.export.fused_graph.exported` makes it: in float32, with the exporter's notes.
        deploy: the precision, and for eight bits what `ranges` found.

    Raises:
        ExportError: there is nothing to convert, or the ranges are those of another graph.
    """
    part = _Part(model)
    return part.put_back(_half(part.model) if deploy.precision == "fp16" else _quantised(part, deploy.ranges))


def ranges(model: ModelProto, batches: Iterable[NDArray[np.float32]]) -> list[tuple[float, float]]:
    """Smallest and largest value of each tensor of the classifier, in the order of computation.

    Args:
        model: see `lowered`.
        batches: clean images ``(batch, channels, height, width)``.
    """
    from onnx import TensorProto, helper
    from onnxruntime import InferenceSession

    tensors, asked = _Part(model).tensors, _copy(model)
    del asked.graph.output[:]
    for name in tensors:
        for reduction in ("ReduceMin", "ReduceMax"):
            found = f"{name}.{reduction}"
            asked.graph.node.append(helper.make_node(reduction, [name], [found], keepdims=0))
            asked.graph.output.append(helper.make_tensor_value_info(found, TensorProto.FLOAT, []))
    opened = InferenceSession(asked.SerializeToString(), providers=["CPUExecutionProvider"])
    unused = np.zeros((), np.float32)
    ends = np.array([opened.run(None, {INPUT: x, THRESHOLD: unused}) for x in batches])
    return list(zip(ends[:, ::2].min(0).tolist(), ends[:, 1::2].max(0).tolist(), strict=True))


class _Part:
    """The classifier of a graph, in all passes, as a graph of its own.

    Attributes:
        model: it; takes and gives what it exchanges with the rest.
        tensors: names of its float32 tensors.
        ends: names of the first and the last layer of each pass. Among eight-bit layers they stay float32: the first
            sees what an attack changed by less than eight bits tell apart, and of the last ones' logits effects are
            differences.
    """

    def __init__(self, model: ModelProto) -> None:
        nodes = list(model.graph.node)
        layers = {i for i, node in enumerate(nodes) if node.op_type in _LAYERS and _module(node) == _SIGNATURE}
        behind = _behind(nodes, layers)
        ahead = _ahead(nodes, layers)
        self._whole, self._rows, self._behind = model, layers | (behind & ahead), behind
        self.ends = [nodes[i].name for i in layers if i not in behind or i not in ahead]
        if len(self.ends) == len(layers):
            raise ExportError(
                "the classifier has no layer between its first and its last one, so there is nothing to convert; "
                "calibrate with deploy = 'fp32'"
            )
        self.model, self.tensors = self._taken_out()

    def _taken_out(self) -> tuple[ModelProto, list[str]]:
        from onnx import TensorProto, helper, shape_inference

        graph = self._whole.graph
        known = _values(shape_inference.infer_shapes(self._whole).graph)
        nodes = [graph.node[i] for i in sorted(self._rows)]
        others = [node for i, node in enumerate(graph.node) if i not in self._rows]
        weights = {tensor.name: tensor for tensor in graph.initializer}
        made = [name for node in nodes for name in node.output]
        read = [name for name in dict.fromkeys(name for node in nodes for name in node.input) if name]
        outside = {name for node in others for name in node.input} | {value.name for value in graph.output}
        given = [name for name in read if name not in weights and name not in made]
        part = helper.make_graph(
            nodes,
            "classifier",
            [known[name] for name in given],
            [known[name] for name in made if name in outside],
            [weights[name] for name in read if name in weights],
            value_info=[known[name] for name in made if name not in outside and name in known],
        )
        model = helper.make_model(part, opset_imports=list(self._whole.opset_import), ir_version=self._whole.ir_version)
        floats = [name for name in (*given, *made) if name in known and _type(known[name]) == TensorProto.FLOAT]
        return model, floats

    def put_back(self, converted: ModelProto) -> ModelProto:
        """The whole graph with something that takes and gives the same in the place of the classifier."""
        from onnx import compose

        part = compose.add_prefix(converted, "classifier/", rename_inputs=False, rename_outputs=False).graph
        others = [(i, node) for i, node in enumerate(self._whole.graph.node) if i not in self._rows]
        nodes = [
            *(node for i, node in others if i not in self._behind),
            *part.node,
            *(node for i, node in others if i in self._behind),
        ]
        whole = _copy(self._whole)
        del whole.graph.node[:]
        whole.graph.node.extend(nodes)
        whole.graph.initializer.extend(part.initializer)
        return whole


def _half(part: ModelProto) -> ModelProto:
    """A graph in float16 that takes and gives float32."""
    from onnxruntime.transformers.float16 import convert_float_to_float16

    converted: ModelProto = convert_float_to_float16(_copy(part), keep_io_types=True)
    return converted


def _quantised(part: _Part, found: Sequence[tuple[float, float]]) -> ModelProto:
    """The classifier in eight bits: weights by channel, what is computed by the range that was found."""
    from onnxruntime.quantization import CalibrationMethod, QDQQuantizer, QuantType
    from onnxruntime.quantization.calibrate import TensorsData

    if len(found) != len(part.tensors):
        raise ExportError(
            f"the graph has {len(part.tensors)} tensors to quantise, the artifact ranges of {len(found)}: it was "
            "calibrated with another version of torch. Install the one that its manifest names, or calibrate again"
        )
    ends = {name: tuple(map(np.float32, pair)) for name, pair in zip(part.tensors, found, strict=True)}
    quantizer = QDQQuantizer(
        _copy(part.model),
        per_channel=True,
        reduce_range=False,
        weight_qType=QuantType.QInt8,
        activation_qType=QuantType.QUInt8,
        tensors_range=TensorsData(CalibrationMethod.MinMax, ends),
        nodes_to_quantize=[],
        nodes_to_exclude=part.ends,
        op_types_to_quantize=list(_EIGHT_BITS),
        extra_options={"MatMulConstBOnly": True},
    )
    quantizer.quantize_model()
    converted: ModelProto = quantizer.model.model
    return converted


def _module(node: NodeProto) -> str:
    """Name of the innermost module that a node comes from."""
    notes = {note.key: note.value for note in node.metadata_props}
    return ast.literal_eval(notes[_SCOPES])[-2].rpartition(".")[2] if _SCOPES in notes else ""


def _behind(nodes: Sequence[NodeProto], start: set[int]) -> set[int]:
    """Places of nodes that need what nodes at others make."""
    carried: set[str] = set()
    found = set()
    for i, node in enumerate(nodes):
        if not carried.isdisjoint(node.input):
            found.add(i)
        if i in found or i in start:
            carried |= set(node.output)
    return found


def _ahead(nodes: Sequence[NodeProto], end: set[int]) -> set[int]:
    """Places of nodes whose results nodes at others need."""
    needed: set[str] = set()
    found = set()
    for i in reversed(range(len(nodes))):
        if not needed.isdisjoint(nodes[i].output):
            found.add(i)
        if i in found or i in end:
            needed |= {name for name in nodes[i].input if name}
    return found


def _values(graph: GraphProto) -> dict[str, ValueInfoProto]:
    return {value.name: value for value in (*graph.value_info, *graph.input, *graph.output)}


def _type(value: ValueInfoProto) -> int:
    return value.type.tensor_type.elem_type


def _copy(model: ModelProto) -> ModelProto:
    made = type(model)()
    made.CopyFrom(model)
    return made
