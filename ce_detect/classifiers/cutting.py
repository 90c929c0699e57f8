"""Where a captured graph can be cut, and its segments: from one tensor that carries everything to the next."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

from torch import Tensor, fx

from ce_detect.classifiers.adapted import PREFIX
from ce_detect.classifiers.fx_nodes import (
    ATEN,
    CONVOLUTIONS,
    constant,
    is_batch_size,
    is_stored,
    operation,
    output,
    pixels,
)

_PARAMETRIC = (*CONVOLUTIONS, ATEN.convolution.default, ATEN.linear.default, ATEN.addmm.default)
_REARRANGEMENTS = frozenset({
    ATEN._unsafe_view, ATEN.alias, ATEN.clone, ATEN.flatten, ATEN.permute, ATEN.reshape, ATEN.roll, ATEN.select,
    ATEN.slice, ATEN.squeeze, ATEN.transpose, ATEN.unsqueeze, ATEN.view,
})  # fmt: skip
_POOLINGS = frozenset({
    ATEN.adaptive_avg_pool2d, ATEN.adaptive_max_pool2d, ATEN.avg_pool2d, ATEN.constant_pad_nd, ATEN.max_pool2d,
    ATEN.max_pool2d_with_indices, ATEN.mean, ATEN.pad,
})  # fmt: skip
_SAME_ORDER = _REARRANGEMENTS - {ATEN.permute, ATEN.roll, ATEN.select, ATEN.slice, ATEN.transpose}


@dataclass(frozen=True, slots=True)
class Cut:
    """A node after which one tensor carries everything that the rest of the graph needs.

    Attributes:
        node: the fx node that computes the tensor.
        inside: paths of the modules that were running, outermost first, without the model itself.
        returned: those of them whose output the tensor is.
        name: path of the innermost of these modules, or of the operation where the model itself computed the tensor.
        shape: shape of the tensor without the batch dimension.
        derived: whether it holds what the tensor before it holds, padded, pooled or rearranged.
    """

    node: fx.Node
    inside: tuple[str, ...]
    returned: tuple[str, ...]
    name: str
    shape: tuple[int, ...]
    derived: bool


def cuts(graph_module: fx.GraphModule) -> list[Cut]:
    """List the tensors through which everything passes, after the first layer with weights, in order of computation.

    Of several such tensors computed by one module only the last is kept (an activation, not the sum before it). The
    logits themselves are left out.
    """
    carriers = _carriers(graph_module.graph)
    logits = _logits(graph_module.graph)
    last = {path: node for node in carriers for path in _module_paths(node)}
    found: dict[str, Cut] = {}
    alive: dict[fx.Node, int] = {}
    parametric = False
    for node in carriers:
        for source in node.all_input_nodes:
            if source in alive:
                alive[source] -= 1
                if not alive[source]:
                    del alive[source]
        uses = sum(1 for user in node.users if user in carriers)
        if uses:
            alive[node] = uses
        parametric = parametric or node.target in _PARAMETRIC
        if parametric and list(alive) == [node] and _is_latent(node) and node not in logits:
            inside = _module_paths(node)
            name = inside[-1] if inside else _numbered(_operation_name(node), found)
            found.pop(name, None)
            returned = tuple(path for path in inside if last[path] is node)
            derived = operation(node) in _REARRANGEMENTS | _POOLINGS
            found[name] = Cut(node, inside, returned, name, _shape_at_export(node), derived)
    return list(found.values())


def _carriers(graph: fx.Graph) -> dict[fx.Node, None]:
    """The nodes that depend on the pixels, in order; all others can be computed again wherever they are needed."""
    carriers: dict[fx.Node, None] = {}
    for node in graph.nodes:
        if node.op == "placeholder" or (
            node.op != "output" and not is_batch_size(node) and any(n in carriers for n in node.all_input_nodes)
        ):
            carriers[node] = None
    return carriers


def _logits(graph: fx.Graph) -> list[fx.Node]:
    """The output, and what holds the same values in the same order: from the last to the first of them."""
    found = [output(graph)]
    while operation(found[-1]) in _SAME_ORDER:
        found.append(found[-1].all_input_nodes[0])
    return found


def _operation_name(node: fx.Node) -> str:
    return str(getattr(operation(node), "__name__", node.name))


def _numbered(name: str, taken: dict[str, Cut]) -> str:
    """The name, with a number where it is taken."""
    names = (name if count == 0 else f"{name}_{count}" for count in itertools.count())
    return next(name for name in names if name not in taken)


def _shape_at_export(node: fx.Node) -> tuple[int, ...]:
    """Shape without the batch, free sizes replaced by those of the example."""
    symbols = [(size, getattr(size, "node", None)) for size in node.meta["val"].shape[1:]]
    return tuple(int(size if symbol is None else symbol.hint) for size, symbol in symbols)


def _is_latent(node: fx.Node) -> bool:
    """Whether a node is a float tensor ``(batch, ...)`` of two to four dimensions whose batch is that of the input."""
    value = node.meta.get("val")
    if not isinstance(value, Tensor) or not value.is_floating_point() or value.ndim not in (2, 3, 4):
        return False
    batch = pixels(node.graph).meta["val"].shape[0]
    return str(value.shape[0]) == str(batch)


def _module_paths(node: fx.Node) -> tuple[str, ...]:
    """Paths of the modules that were running, outermost first, without the model itself."""
    stack = (node.meta.get("nn_module_stack") or {}).values()
    paths = (str(path).removeprefix("L['self']").lstrip(".").removeprefix(PREFIX).lstrip(".") for path, *_ in stack)
    return tuple(path for path in paths if path)


def segments(graph_module: fx.GraphModule, at: list[Cut]) -> list[fx.GraphModule]:
    """Split the graph at the given cuts: ``len(at) + 1`` modules, each from one tensor to one tensor."""
    graph = graph_module.graph
    start = pixels(graph)
    pieces = []
    for stop in [*(cut.node for cut in at), output(graph)]:
        pieces.append(_segment(graph_module, start, stop))
        start = stop
    return pieces


def _segment(root: fx.GraphModule, start: fx.Node, stop: fx.Node) -> fx.GraphModule:
    piece = fx.Graph()
    inside: dict[fx.Node, fx.Node] = {start: piece.placeholder("h")}

    def copied(node: fx.Node) -> fx.Node:
        if node not in inside:
            if is_batch_size(node):
                inside[node] = piece.call_function(ATEN.sym_size.int, (inside[start], 0))
            else:
                for source in node.all_input_nodes:
                    copied(source)
                inside[node] = piece.node_copy(node, lambda n: inside[n])
        return inside[node]

    needed = _between(start, stop)
    for node in root.graph.nodes:  # original order keeps the copy free of deep recursion
        if node in needed:
            copied(node)
    piece.output(inside[stop])
    module = fx.GraphModule(root, piece)
    module.eval()
    return module


def _between(start: fx.Node, stop: fx.Node) -> set[fx.Node]:
    """Every node that ``stop`` needs, without going back beyond ``start``."""
    needed: set[fx.Node] = set()
    todo = [stop]
    while todo:
        node = todo.pop()
        if node in needed or node is start:
            continue
        needed.add(node)
        if not is_batch_size(node):
            todo.extend(node.all_input_nodes)
    return needed


def _without_bias(node: fx.Node) -> fx.Node:
    """What a stored bias is added to: an ONNX file may have it apart from its product with weights."""
    if operation(node) is not ATEN.add:
        return node
    computed = [source for source in node.all_input_nodes if not is_stored(source)]
    return computed[0] if len(computed) == 1 and len(node.all_input_nodes) == 2 else node


def linear_head(graph_module: fx.GraphModule) -> tuple[fx.Node, Tensor] | None:
    """Return the node that feeds a linear last layer, and the weight ``(classes, features)`` of that layer."""
    last = _without_bias(_logits(graph_module.graph)[-1])
    if last.target is not ATEN.linear.default:
        return None
    fed, weight = last.args[:2]
    if not isinstance(fed, fx.Node) or not isinstance(weight, fx.Node) or not is_stored(weight):
        return None
    return fed, constant(graph_module, weight)
