"""An ONNX graph as a PyTorch module, one submodule for each tensor that is worth a name."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import numpy as np
import onnx
import torch
from torch import Tensor, nn

from ce_detect.classifiers.onnx.convert import arithmetic, layers, layout
from ce_detect.classifiers.onnx.convert.values import (
    Node,
    Numbers,
    UnconvertibleError,
    Value,
    constant,
    is_numbers,
    scalar,
)
from ce_detect.classifiers.onnx.file import OnnxFile

OPERATIONS = {**arithmetic.OPERATIONS, **layout.OPERATIONS, **layers.OPERATIONS}
"""Every operation that can be converted."""

FOLLOWING = frozenset({
    "BatchNormalization", "Celu", "Clip", "Elu", "Gelu", "HardSigmoid", "HardSwish", "LeakyRelu", "Mish", "PRelu",
    "Relu", "Selu", "Sigmoid", "Softplus", "Tanh", "ThresholdedRelu",
})  # fmt: skip
"""What belongs to the operation before it: the activation is worth a site, not the sum that goes into it."""

_TAKING_NUMBERS = frozenset({"Clip", "Pad", "Pow", "Resize", "Upsample"})


class OnnxModule(nn.Module):
    """An ONNX graph, run by PyTorch: it has gradients and can be cut and exported like any other module.

    Constants become parameters of `weights` under the names that the file gives them. What depends on constants alone
    is computed once, here.

    Args:
        file: the graph.

    Raises:
        UnconvertibleError: an operation that PyTorch does not have, or has in another way.
    """

    def __init__(self, file: OnnxFile) -> None:
        super().__init__()
        self.file_name = file.name
        self.channels_last = file.channels_last
        self.input, self.output = file.input, file.output
        nodes, constants = folded(needed(nodes_of(file), file.output), constants_of(file))
        if file.batch is not None:
            nodes = [_of_any_batch(node, constants, file.batch) for node in nodes]
        nodes = with_linear_layers(nodes, constants)
        self.weights = nn.Module()
        self.numbers: dict[str, Numbers] = {}
        self._bound: dict[str, str] = {}
        self._keep_constants(nodes, constants)
        self._steps = [Step(group) for group in grouped(nodes, file.output)]
        self._done = _last_uses(self._steps, file.output)
        for step in self._steps:
            self.add_module(_free(site_name(step.output), self), step)
        self.eval()

    def _keep_constants(self, nodes: Iterable[Node], constants: dict[str, Value]) -> None:
        for node in nodes:
            for name in node.inputs:
                value = constants.get(name)
                if value is None or name in self._bound or name in self.numbers:
                    continue
                if is_numbers(value):
                    self.numbers[name] = value
                    continue
                key = self._bound[name] = _free(re.sub(r"\W", "_", name), self.weights)
                if value.is_floating_point():
                    self.weights.register_parameter(key, nn.Parameter(value, requires_grad=False))
                else:
                    self.weights.register_buffer(key, value)

    def forward(self, x: Tensor) -> Tensor:
        """Map pixels ``(batch, channels, height, width)`` to logits."""
        values: dict[str, Value] = dict(self.numbers)
        values |= {name: getattr(self.weights, key) for name, key in self._bound.items()}
        values[self.input] = x.permute(0, 2, 3, 1) if self.channels_last else x
        for step, done in zip(self._steps, self._done, strict=True):
            results = step(*(values.get(name) for name in step.inputs))
            values.update(zip(step.outputs, results, strict=False))
            for name in done:
                values.pop(name, None)
        logits = values[self.output]
        assert isinstance(logits, Tensor)
        return logits


class Step(nn.Module):
    """An operation and what follows it at once, such as a convolution, its batch norm and its activation."""

    def __init__(self, nodes: list[Node]) -> None:
        super().__init__()
        self.nodes = nodes
        inside = {name for node in nodes[:-1] for name in node.outputs}
        self.inputs = tuple(name for node in nodes for name in node.inputs if name not in inside)
        self.outputs = nodes[-1].outputs

    @property
    def output(self) -> str:
        """Name of the tensor that it gives, the first where it gives several."""
        return self.outputs[0]

    def forward(self, *given: Value | None) -> tuple[Value, ...]:
        """Values of `outputs` from those of `inputs`."""
        left = list(given)
        result: tuple[Value, ...] = ()
        for i, node in enumerate(self.nodes):
            own = [result[0] if i and name == self.nodes[i - 1].outputs[0] else left.pop(0) for name in node.inputs]
            result = applied(node, own)
        return result


def applied(node: Node, given: list[Any]) -> tuple[Value, ...]:
    """Run one operation."""
    while given and given[-1] is None:
        given = given[:-1]
    result = OPERATIONS[node.kind](node, *given)
    return result if isinstance(result, tuple) else (result,)


def nodes_of(file: OnnxFile) -> list[Node]:
    """Operations in the order of the graph.

    Raises:
        UnconvertibleError: one that is not in the table.
    """
    found = []
    for node in file.proto.graph.node:
        if node.op_type not in OPERATIONS or node.domain not in ("", "ai.onnx"):
            raise UnconvertibleError(f"the operator {node.op_type}")
        attributes = {a.name: _plain(onnx.helper.get_attribute_value(a)) for a in node.attribute}
        found.append(Node(node.op_type, tuple(node.input), tuple(node.output), attributes, file.opset))
    return found


def _plain(attribute: Any) -> Any:
    if isinstance(attribute, bytes):
        return attribute.decode()
    if isinstance(attribute, onnx.TensorProto):
        return onnx.numpy_helper.to_array(attribute)
    if isinstance(attribute, onnx.GraphProto | onnx.SparseTensorProto):
        raise UnconvertibleError("a graph or a sparse tensor inside a node")
    return attribute if isinstance(attribute, int | float | str) else list(attribute)


def constants_of(file: OnnxFile) -> dict[str, Value]:
    """Weights and other constants of the graph by name."""
    found = {}
    for tensor in file.proto.graph.initializer:
        array = onnx.numpy_helper.to_array(tensor)
        if array.dtype.kind not in "fiub":
            raise UnconvertibleError(f"a constant of type {array.dtype}")
        found[tensor.name] = constant(array)
    return found


def needed(nodes: list[Node], output: str) -> list[Node]:
    """Those of the nodes that the output depends on."""
    wanted, kept = {output}, []
    for node in reversed(nodes):
        if wanted & set(node.outputs):
            kept.append(node)
            wanted |= set(node.inputs)
    return kept[::-1]


def folded(nodes: list[Node], constants: dict[str, Value]) -> tuple[list[Node], dict[str, Value]]:
    """Compute what depends on constants alone; returns the other nodes and all constants."""
    known, left = dict(constants), []
    for node in nodes:
        if not all(name in known for name in node.inputs if name):
            for name in node.inputs:
                value = known.get(name)
                if node.kind in _TAKING_NUMBERS and isinstance(value, Tensor) and value.numel() <= 8:
                    known[name] = value.numpy().astype(object)
            left.append(node)
            continue
        with torch.no_grad():
            results = applied(node, [known[name] if name else None for name in node.inputs])
        known.update(zip(node.outputs, (_settled(value) for value in results), strict=False))
    return left, known


def _settled(value: Value) -> Value:
    """A computed constant as one that was read: a single number as a number, a tensor in memory of its own."""
    if is_numbers(value):
        return value
    return scalar(value.item()) if value.ndim == 0 else value.contiguous()


def _of_any_batch(node: Node, constants: dict[str, Value], batch: int) -> Node:
    """Take the batch size out of the shapes of a graph that was exported for one; parity is checked afterwards."""
    if node.kind != "Reshape" or node.get("allowzero", 0):
        return node
    shape = constants.get(node.inputs[1])
    if shape is None or not is_numbers(shape) or shape.size == 0 or shape[0] != batch:
        return node
    name = f"{node.inputs[1]} of any batch"
    constants[name] = np.concatenate([np.zeros(1, object), shape[1:]])
    return replace(node, inputs=(node.inputs[0], name))


def with_linear_layers(nodes: list[Node], constants: dict[str, Value]) -> list[Node]:
    """Write products with constant matrices as linear layers, with their biases where they follow at once."""
    uses = Counter(name for node in nodes for name in node.inputs)
    made: list[Node] = []
    by_output: dict[str, int] = {}
    for node in nodes:
        linear = _linear(node, constants)
        biased = None if linear is not None else _biased(node, made, by_output, constants, uses)
        if biased is not None:
            place, linear = biased
            del by_output[made[place].outputs[0]]
            made[place] = linear
            by_output[linear.outputs[0]] = place
            continue
        if linear is not None:
            by_output[linear.outputs[0]] = len(made)
        made.append(linear or node)
    return made


def _linear(node: Node, constants: dict[str, Value]) -> Node | None:
    if node.kind not in ("Gemm", "MatMul"):
        return None
    weight = constants.get(node.inputs[1])
    scaled = (node.get("alpha", 1.0), node.get("beta", 1.0), node.get("transA", 0)) != (1.0, 1.0, 0)
    if not isinstance(weight, Tensor) or weight.ndim != 2 or scaled:
        return None
    bias = [name for name in node.inputs[2:] if name]
    if bias and not _is_bias(constants.get(bias[0]), weight.shape[0 if node.get("transB", 0) else 1]):
        return None
    name = node.inputs[1]
    if not node.get("transB", 0):
        name = f"{name} transposed"
        constants[name] = weight.t().contiguous()
    return Node("Linear", (node.inputs[0], name, *bias), node.outputs, {}, node.opset)


def _biased(
    node: Node, made: list[Node], by_output: dict[str, int], constants: dict[str, Value], uses: Counter[str]
) -> tuple[int, Node] | None:
    """A linear layer with the bias that this node adds to it, and its place."""
    if node.kind != "Add":
        return None
    for product, bias in (node.inputs, node.inputs[::-1]):
        place = by_output.get(product)
        if place is None or uses[product] > 1 or len(made[place].inputs) > 2:
            continue
        weight = constants[made[place].inputs[1]]
        if isinstance(weight, Tensor) and _is_bias(constants.get(bias), weight.shape[0]):
            return place, replace(made[place], inputs=(*made[place].inputs, bias), outputs=node.outputs)
    return None


def _is_bias(value: Value | None, width: int) -> bool:
    return isinstance(value, Tensor) and tuple(value.shape) == (width,)


def grouped(nodes: list[Node], output: str) -> list[list[Node]]:
    """Put activations and batch norms with what they follow, where nothing else needs the tensor between them."""
    uses = Counter(name for node in nodes for name in node.inputs)
    groups: list[list[Node]] = []
    by_output: dict[str, int] = {}
    computed = {name for node in nodes for name in node.outputs}
    for node in nodes:
        place = by_output.get(node.inputs[0]) if node.inputs else None
        follows = node.kind in FOLLOWING and not computed & set(node.inputs[1:])
        if follows and place is not None and uses[node.inputs[0]] == 1 and node.inputs[0] != output:
            del by_output[node.inputs[0]]
            groups[place].append(node)
        else:
            place = len(groups)
            groups.append([node])
        if len(node.outputs) == 1:
            by_output[node.outputs[0]] = place
    return groups


def _last_uses(steps: list[Step], output: str) -> list[tuple[str, ...]]:
    """For each step, names of the values that no later one needs."""
    later, found = {output}, []
    for step in reversed(steps):
        own = {*step.inputs, *step.outputs}
        found.append(tuple(sorted(own - later)))
        later |= set(step.inputs)
    return found[::-1]


def site_name(tensor: str) -> str:
    """Name of a tensor as a site: without what exporters put around it, and slashes for dots, which modules refuse."""
    return tensor.removesuffix("_output_0").strip("/").replace(".", "/") or "tensor"


def _free(name: str, module: nn.Module) -> str:
    """The name, with underscores behind it where the module has an attribute of that name."""
    while hasattr(module, name):
        name += "_"
    return name
