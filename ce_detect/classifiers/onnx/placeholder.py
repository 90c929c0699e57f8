"""Black boxes in an exported graph: nodes stand for their runs until the graph of the classifier replaces them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import onnx
import torch
from onnx import ModelProto, NodeProto, TensorProto
from torch import Tensor

from ce_detect.classifiers.onnx.file import OnnxFile
from ce_detect.core.errors import ModelError

DOMAIN = "ce_detect.placeholder"
"""Of the nodes that stand for runs."""

Graph = Callable[[tuple[str, ...], str | None], ModelProto]
"""Gives the graph of a run, from the sites that are shown and the site where it starts, see `run`."""


def run(fed: Tensor, expected: Sequence[Tensor], sites: tuple[str, ...], after: str | None) -> list[Tensor]:
    """Put a node into the graph that ``torch.export`` captures, which stands for a run of a black box.

    Args:
        fed: what goes in.
        expected: tensors of the types and, but for the batch, of the shapes of what comes out.
        sites: sites that are shown.
        after: the site where the run starts; None for the input.
    """
    found = torch.onnx.ops.symbolic_multi_out(
        f"{DOMAIN}::Run", [fed], {"sites": "\n".join(sites), "after": after or ""},
        dtypes=[tensor.dtype for tensor in expected],
        shapes=[(fed.shape[0], *tensor.shape[1:]) for tensor in expected], version=1,
    )  # fmt: skip
    return list(found)


def filled(model: ModelProto, file: OnnxFile, graph: Graph) -> ModelProto:
    """Replace the nodes that stand for runs of a classifier by its graph; its weights are stored once.

    Args:
        model: what was exported with the classifier in it; changed in place.
        file: of the classifier.
        graph: gives what each of the nodes stands for.

    Raises:
        ModelError: the classifier takes one image at a time, or its operator set cannot be brought to the model's.
    """
    if file.batch is not None:
        raise ModelError(
            f"{file.name} was exported for batches of {file.batch} and cannot become part of a gate for any batch"
        )
    opset = next(o.version for o in model.opset_import if o.domain == "")
    weights: dict[str, TensorProto] = {}
    nodes: list[NodeProto] = []
    for number, node in enumerate(model.graph.node):
        own = _inside(node, file, graph, opset) if node.domain == DOMAIN else None
        nodes.extend([node] if own is None else _copied(own, node, f"classifier/{number}/", weights))
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    model.graph.initializer.extend(weights.values())
    for i, imported in reversed(list(enumerate(model.opset_import))):
        if imported.domain == DOMAIN:
            del model.opset_import[i]
    known = {o.domain for o in model.opset_import}
    model.opset_import.extend(o for o in file.proto.opset_import if o.domain not in {*known, "ai.onnx"})
    return model


def _inside(node: NodeProto, file: OnnxFile, graph: Graph, opset: int) -> ModelProto:
    """What a node stands for, in the operator set of the graph around it."""
    asked = {attribute.name: attribute.s.decode() for attribute in node.attribute}
    sites, after = asked.get("sites", ""), asked.get("after", "")
    own = graph(tuple(sites.split("\n")) if sites else (), after or None)
    if file.opset == opset:
        return own
    try:
        return onnx.version_converter.convert_version(own, opset)
    except RuntimeError as error:
        raise ModelError(
            f"{file.name} is of operator set {file.opset} and cannot be brought to {opset}: "
            f"{str(error).splitlines()[0]}. Export it again with opset_version={opset}"
        ) from error


def _copied(own: ModelProto, node: NodeProto, prefix: str, weights: dict[str, TensorProto]) -> Iterator[NodeProto]:
    """Nodes of a graph under names of their own, joined to what the node reads and gives."""
    stored = {tensor.name for tensor in own.graph.initializer}
    (given,) = (value.name for value in own.graph.input if value.name not in stored)
    names = {"": "", given: node.input[0]}
    names |= {name: f"classifier/{name}" for name in stored}
    names |= {value.name: name for value, name in zip(own.graph.output, node.output, strict=True) if name}
    for tensor in own.graph.initializer:
        if tensor.name not in weights:
            weights[tensor.name] = TensorProto()
            weights[tensor.name].CopyFrom(tensor)
            weights[tensor.name].name = names[tensor.name]
    for original in own.graph.node:
        copy = NodeProto()
        copy.CopyFrom(original)
        copy.name = f"{prefix}{original.output[0]}"
        copy.input[:] = [names.get(name, f"{prefix}{name}") for name in original.input]
        copy.output[:] = [names.get(name, f"{prefix}{name}") for name in original.output]
        yield copy
