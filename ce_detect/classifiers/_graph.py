"""A PyTorch model as a straight line of segments, cut where a single tensor carries everything that follows."""

from __future__ import annotations

import contextlib
import io
import logging
import operator
import warnings
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, fx, nn
from torch.export import Dim
from torch.nn.utils.fusion import fuse_conv_bn_weights

_ATEN = torch.ops.aten
_BATCH_NORM = _ATEN._native_batch_norm_legit_no_training.default
_CONVOLUTIONS = (_ATEN.conv2d.default, _ATEN.conv2d.padding)
_PARAMETRIC = (*_CONVOLUTIONS, _ATEN.convolution.default, _ATEN.linear.default, _ATEN.addmm.default)
_RELAYS = (_ATEN.cat, _ATEN.div, _ATEN.neg, _ATEN.slice, _ATEN.squeeze, _ATEN.unsqueeze, _ATEN.view, _ATEN.reshape)


@dataclass(frozen=True, slots=True)
class Cut:
    """A node after which one tensor carries everything that the rest of the graph needs.

    Attributes:
        node: the fx node that computes the tensor.
        name: module path that computed it, as the model's author named it.
        shape: shape of the tensor without the batch dimension.
    """

    node: fx.Node
    name: str
    shape: tuple[int, ...]


def capture(model: nn.Module, example: Tensor) -> fx.GraphModule:
    """Export ``model`` to a functional graph whose batch size, and where possible height and width, are free.

    Batch norms that follow a convolution are folded into it, and on a CPU the weights of convolutions are laid out
    channels-last, which runs up to twice as fast there. All other parameters are shared with ``model``.

    Args:
        model: module in eval mode that maps one tensor to one tensor.
        example: ``(batch >= 2, channels, height, width)``.

    Raises:
        Exception: whatever ``torch.export`` raises on a model that it cannot capture.
    """
    sizes = [{0: Dim.AUTO, 2: Dim.AUTO, 3: Dim.AUTO}, {0: Dim.AUTO}]
    graphs = [_export(model, example, free) for free in sizes]
    elastic, rigid = graphs
    chosen = elastic if len(cuts(elastic)) >= len(cuts(rigid)) else rigid
    _fold_batch_norms(chosen)
    _lay_channels_last(chosen)
    return chosen


def _export(model: nn.Module, example: Tensor, free: dict[int, object]) -> fx.GraphModule:
    with _quiet():
        program = torch.export.export(model, (example,), dynamic_shapes=(free,), strict=False)
        module = program.run_decompositions({}).module(check_guards=False)
    assert isinstance(module, fx.GraphModule)
    return module


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep torch.export from warning about its own internals and from printing the graphs that it cannot capture."""
    shapes = logging.getLogger("torch.fx.experimental.symbolic_shapes")
    before, shapes.disabled = shapes.disabled, True
    try:
        with warnings.catch_warnings(), contextlib.redirect_stderr(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        shapes.disabled = before


def _fold_batch_norms(graph_module: fx.GraphModule) -> None:
    """Replace conv + batch norm by one convolution, in place."""
    graph = graph_module.graph
    for norm in [n for n in graph.nodes if n.target is _BATCH_NORM]:
        conv, *statistics = norm.args[:5]
        uses = list(norm.users)
        if conv.target not in _CONVOLUTIONS or len(conv.users) > 1 or any(u.args[1] != 0 for u in uses):
            continue
        weight, bias = conv.args[1], conv.args[2] if len(conv.args) > 2 else None
        tensors = [None if n is None else _constant(graph_module, n) for n in (weight, bias, *statistics)]
        w, b, scale, shift, mean, var = tensors
        folded = fuse_conv_bn_weights(w, b, mean, var, norm.args[6], scale, shift)  # type: ignore[arg-type]
        with graph.inserting_before(conv):
            nodes = []
            for kind, tensor in zip(("weight", "bias"), folded, strict=True):
                name = f"{conv.name}_folded_{kind}"
                graph_module.register_buffer(name, tensor.detach())
                nodes.append(graph.get_attr(name))
        conv.args = (conv.args[0], *nodes, *conv.args[3:])
        for use in uses:
            use.replace_all_uses_with(conv)
            graph.erase_node(use)
        conv.meta["nn_module_stack"] = norm.meta.get("nn_module_stack", {})
        graph.erase_node(norm)
    graph.eliminate_dead_code()
    graph_module.delete_all_unused_submodules()
    graph_module.recompile()


def _lay_channels_last(graph_module: fx.GraphModule) -> None:
    """Lay the weights of convolutions on a CPU out channels-last; activations follow the weights."""
    for conv in [n for n in graph_module.graph.nodes if n.target in _CONVOLUTIONS and n.args[1].op == "get_attr"]:
        weight = _constant(graph_module, conv.args[1])
        if weight.device.type == "cpu" and weight.shape[2:] != (1, 1):
            name = f"{conv.name}_channels_last_weight"
            graph_module.register_buffer(name, weight.detach().contiguous(memory_format=torch.channels_last))
            with graph_module.graph.inserting_before(conv):
                conv.args = (conv.args[0], graph_module.graph.get_attr(name), *conv.args[2:])
    for view in [n for n in graph_module.graph.nodes if n.target is _ATEN.view.default]:
        view.target = _ATEN.reshape.default  # a view that also takes another layout
    graph_module.graph.eliminate_dead_code()
    graph_module.recompile()


def _constant(graph_module: fx.GraphModule, node: fx.Node) -> Tensor:
    value = operator.attrgetter(str(node.target))(graph_module)
    assert isinstance(value, Tensor)
    return value


def cuts(graph_module: fx.GraphModule) -> list[Cut]:
    """List the tensors through which everything passes, after the first layer with weights, in order of computation.

    Of several such tensors computed by one module only the last is kept (an activation, not the sum before it).
    """
    found: dict[str, Cut] = {}
    alive: dict[fx.Node, int] = {}
    parametric = False
    for node in graph_module.graph.nodes:
        if node.op in ("get_attr", "output") or _is_batch_size(node):
            continue
        for source in node.all_input_nodes:
            if source in alive:
                alive[source] -= 1
                if not alive[source]:
                    del alive[source]
        uses = sum(1 for user in node.users if user.op != "output" and not _is_batch_size(user))
        if uses:
            alive[node] = uses
        parametric = parametric or node.target in _PARAMETRIC
        if parametric and list(alive) == [node] and _is_latent(node):
            name = _module_path(node)
            found.pop(name, None)
            found[name] = Cut(node, name, tuple(int(d) for d in _shape_at_export(node)))
    return list(found.values())


def _shape_at_export(node: fx.Node) -> tuple[int, ...]:
    """Shape without the batch, free sizes replaced by those of the example."""
    sizes = []
    for size in node.meta["val"].shape[1:]:
        symbol = getattr(size, "node", None)
        sizes.append(int(symbol.hint) if symbol is not None else int(size))
    return tuple(sizes)


def _is_batch_size(node: fx.Node) -> bool:
    if node.target is not _ATEN.sym_size.int:
        return False
    source, *dimension = node.args
    return isinstance(source, fx.Node) and source.op == "placeholder" and dimension == [0]


def _is_latent(node: fx.Node) -> bool:
    """Whether a node is a float tensor ``(batch, ...)`` of two to four dimensions whose batch is that of the input."""
    value = node.meta.get("val")
    if not isinstance(value, Tensor) or not value.is_floating_point() or value.ndim not in (2, 3, 4):
        return False
    batch = next(n for n in node.graph.nodes if n.op == "placeholder").meta["val"].shape[0]
    return str(value.shape[0]) == str(batch)


def _module_path(node: fx.Node) -> str:
    stack = list((node.meta.get("nn_module_stack") or {}).values())
    path = str(stack[-1][0]) if stack else ""
    path = path.removeprefix("L['self']").lstrip(".")
    return path or node.name


def segments(graph_module: fx.GraphModule, at: list[Cut]) -> list[fx.GraphModule]:
    """Split the graph at the given cuts: ``len(at) + 1`` modules, each from one tensor to one tensor."""
    graph = graph_module.graph
    start: fx.Node = next(n for n in graph.nodes if n.op == "placeholder")
    (end,) = next(n for n in graph.nodes if n.op == "output").all_input_nodes
    pieces = []
    for stop in [*(cut.node for cut in at), end]:
        pieces.append(_segment(graph_module, start, stop))
        start = stop
    return pieces


def _segment(root: fx.GraphModule, start: fx.Node, stop: fx.Node) -> fx.GraphModule:
    piece = fx.Graph()
    inside: dict[fx.Node, fx.Node] = {start: piece.placeholder("h")}

    def copied(node: fx.Node) -> fx.Node:
        if node not in inside:
            if _is_batch_size(node):
                inside[node] = piece.call_function(_ATEN.sym_size.int, (inside[start], 0))
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
        if not _is_batch_size(node):
            todo.extend(node.all_input_nodes)
    return needed


def linear_head(graph_module: fx.GraphModule) -> tuple[str, Tensor] | None:
    """Return the module path of the last hidden tensor and the weight ``(classes, features)`` of a linear head."""
    (last,) = next(n for n in graph_module.graph.nodes if n.op == "output").all_input_nodes
    if last.target is not _ATEN.linear.default or last.args[1].op != "get_attr":
        return None
    names = [cut.name for cut in cuts(graph_module) if cut.node is last.args[0]]
    return (names[0], _constant(graph_module, last.args[1])) if names else None


def ends_in_probabilities(graph_module: fx.GraphModule) -> bool:
    """Whether the last operation, but for those that only rearrange or scale, is a softmax or a sigmoid."""
    (last,) = next(n for n in graph_module.graph.nodes if n.op == "output").all_input_nodes
    while getattr(last.target, "overloadpacket", None) in _RELAYS:
        last = last.all_input_nodes[0]
    return any(word in str(last.target) for word in ("softmax", "sigmoid")) and "log" not in str(last.target)
