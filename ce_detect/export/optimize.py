"""An exported graph made fit to ship: each tensor once, nothing of the machine that made it, the manifest inside."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from ce_detect.artifacts import int8
from ce_detect.artifacts.graph_format import FORMAT, FORMAT_KEY, MANIFEST_KEY, THRESHOLD, THRESHOLD_KEY, VERSION_KEY
from ce_detect.core.version import VERSION

if TYPE_CHECKING:  # onnx and its parts come with the extra ``onnx``
    import onnx_ir as ir
    from onnx import GraphProto, ModelProto, NodeProto, TensorProto

PACKED = 4096
"""Bytes from which on a tensor is looked at for whether eight bits a number would do."""


def simplify(model: ir.Model) -> None:
    """Fold constants and compute nothing twice, in place.

    In the place of PyTorch's own optimisation, whose rewriting (onnxscript 0.7.2) takes ``x + 1e-8`` for ``x + 0`` and
    ``x * 1.000005`` for ``x * 1``: floors under roots and logarithms would be gone.
    """
    import onnx_ir.passes.common as common
    from onnx_ir.passes import Sequential
    from onnxscript import optimizer

    common.InlinePass()(model)
    for _ in range(2):  # the shapes that the first pass finds are constants to the second
        optimizer.fold_constants(model, onnx_shape_inference=True)
    Sequential(
        common.RemoveUnusedNodesPass(),
        common.RemoveUnusedFunctionsPass(),
        common.RemoveUnusedOpsetsPass(),
        common.LiftConstantsToInitializersPass(lift_all_constants=True, size_limit=0),
        common.IdentityEliminationPass(),
        common.CommonSubexpressionEliminationPass(),
        common.OutputFixPass(),
        common.NameFixPass(),
    )(model)


def optimized(model: ModelProto, manifest: dict[str, Any], *, threshold: float) -> ModelProto:
    """Make a graph fit to ship, in place.

    Tensors of equal content become one, whatever their names. Those that `ce_detect.artifacts.int8` can pack are stored
    packed, and a runtime multiplies them out when it opens the graph. The input ``threshold`` gets a default. What the
    exporter notes of the source (stack traces with paths of this machine, shapes between the nodes) is dropped.

    Args:
        model: what PyTorch exported.
        manifest: of the artifact.
        threshold: default of the input ``threshold``.

    Returns:
        The same model, with ``ce_detect.format``, ``ce_detect.version``, ``ce_detect.threshold`` and
        ``ce_detect.manifest`` (JSON, keys sorted)
        in its metadata.
    """
    from onnx import TensorProto, helper

    _strip(model)
    _name_batch(model.graph)
    _deduplicate(model.graph)
    _pack(model.graph)
    model.graph.initializer.append(helper.make_tensor(THRESHOLD, TensorProto.FLOAT, [], [threshold]))
    helper.set_model_props(
        model,
        {
            FORMAT_KEY: FORMAT,
            VERSION_KEY: VERSION,
            THRESHOLD_KEY: repr(threshold),
            MANIFEST_KEY: json.dumps(manifest, sort_keys=True, allow_nan=False),
        },
    )
    return model


def _strip(model: ModelProto) -> None:
    model.doc_string = ""
    graph = model.graph
    del graph.value_info[:]
    graph.name, graph.doc_string = "ce_detect", ""
    del graph.metadata_props[:]
    for part in (*nodes(graph), *graph.initializer, *graph.input, *graph.output):
        part.doc_string = ""
        del part.metadata_props[:]


def _name_batch(graph: GraphProto) -> None:
    """Call the one free dimension by its name."""
    for value in (*graph.input, *graph.output):
        for dimension in value.type.tensor_type.shape.dim:
            if dimension.dim_param:
                dimension.dim_param = "batch"


def _deduplicate(graph: GraphProto) -> None:
    """Keep the first of equal tensors and let every node read that one; drop those that nothing reads."""
    first: dict[tuple[Any, ...], str] = {}
    renamed: dict[str, str] = {}
    for tensor in graph.initializer:
        kept = first.setdefault(_content(tensor), tensor.name)
        if kept != tensor.name:
            renamed[tensor.name] = kept
    for node in nodes(graph):
        node.input[:] = [renamed.get(name, name) for name in node.input]
    read = {name for node in nodes(graph) for name in node.input} | {output.name for output in graph.output}
    left = [tensor for tensor in graph.initializer if tensor.name in read and tensor.name not in renamed]
    del graph.initializer[:]
    graph.initializer.extend(left)


def _pack(graph: GraphProto) -> None:
    """Store float32 tensors packed where that is exact and pays, and let two nodes make them again."""
    from onnx import TensorProto, helper, numpy_helper

    unpacking = []
    for tensor in list(graph.initializer):
        if tensor.data_type != TensorProto.FLOAT or len(tensor.dims) < 2 or 4 * np.prod(tensor.dims) < PACKED:
            continue
        found = int8.packed(numpy_helper.to_array(tensor))
        if found is None:
            continue
        name, (whole, scale, cast) = tensor.name, (f"{tensor.name}.{part}" for part in ("int8", "scale", "float"))
        graph.initializer.remove(tensor)
        graph.initializer.append(numpy_helper.from_array(found[0], whole))
        graph.initializer.append(numpy_helper.from_array(found[1], scale))
        unpacking.append(helper.make_node("Cast", [whole], [cast], cast, to=TensorProto.FLOAT))
        unpacking.append(helper.make_node("Mul", [cast, scale], [name], f"{name}.unpacked"))
    nodes = [*unpacking, *graph.node]
    del graph.node[:]
    graph.node.extend(nodes)


def _content(tensor: TensorProto) -> tuple[Any, ...]:
    from onnx import numpy_helper

    values = numpy_helper.to_array(tensor)
    return tensor.data_type, tuple(tensor.dims), hashlib.sha256(values.tobytes()).digest()


def nodes(graph: GraphProto) -> Iterator[NodeProto]:
    """Every node, also those of graphs inside nodes."""
    for node in graph.node:
        yield node
        for attribute in node.attribute:
            for inner in (attribute.g, *attribute.graphs):
                yield from nodes(inner)
