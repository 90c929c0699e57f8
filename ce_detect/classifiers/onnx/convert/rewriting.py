"""An ONNX graph rewritten before it is run: constants folded, the batch size free, products as linear layers."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from ce_detect.classifiers.onnx.convert.operations import applied
from ce_detect.classifiers.onnx.convert.values import Node, Value, is_numbers, scalar

FOLLOWING = frozenset({
    "BatchNormalization", "Celu", "Clip", "Elu", "Gelu", "HardSigmoid", "HardSwish", "LeakyRelu", "Mish", "PRelu",
    "Relu", "Selu", "Sigmoid", "Softplus", "Tanh", "ThresholdedRelu",
})  # fmt: skip
"""What belongs to the operation before it: the activation is worth a site, not the sum that goes into it."""

_TAKING_NUMBERS = frozenset({"Clip", "Pad", "Pow", "Resize", "Upsample"})


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


def of_any_batch(node: Node, constants: dict[str, Value], batch: int) -> Node:
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
