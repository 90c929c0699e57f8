"""A PyTorch model as a straight line of segments, cut where a single tensor carries everything that follows."""

from __future__ import annotations

import contextlib
import io
import itertools
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
CONVOLUTIONS = (_ATEN.conv2d.default, _ATEN.conv2d.padding)
_PARAMETRIC = (*CONVOLUTIONS, _ATEN.convolution.default, _ATEN.linear.default, _ATEN.addmm.default)
_REARRANGEMENTS = frozenset({
    _ATEN.alias, _ATEN.clone, _ATEN.flatten, _ATEN.permute, _ATEN.reshape, _ATEN.select, _ATEN.slice, _ATEN.squeeze,
    _ATEN.transpose, _ATEN.unsqueeze, _ATEN.view,
})  # fmt: skip
_POOLINGS = frozenset({
    _ATEN.adaptive_avg_pool2d, _ATEN.adaptive_max_pool2d, _ATEN.avg_pool2d, _ATEN.constant_pad_nd, _ATEN.max_pool2d,
    _ATEN.max_pool2d_with_indices, _ATEN.mean, _ATEN.pad,
})  # fmt: skip
_SAME_ORDER = _REARRANGEMENTS - {_ATEN.permute, _ATEN.select, _ATEN.slice, _ATEN.transpose}


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


def capture(model: nn.Module, example: Tensor) -> fx.GraphModule:
    """Export ``model`` to a functional graph whose batch size, and where possible height and width, are free.

    Batch norms that follow a convolution are folded into it, and on a CPU the weights of convolutions are laid out
    channels-last, which runs up to twice as fast there. All other parameters are shared with ``model``.

    Args:
        model: module in eval mode that maps one tensor to one tensor.
        example: ``(batch >= 2, channels, height, width)``.

    Raises:
        ValueError: the graph holds for one batch size only.
        Exception: whatever ``torch.export`` raises on a model that it cannot capture.
    """
    chosen = _export(model, example, {0: Dim.AUTO, 2: Dim.AUTO, 3: Dim.AUTO})
    if _keeps_sizes(chosen.graph):  # a height that is needed later goes around every cut before that
        rigid = _export(model, example, {0: Dim.AUTO})
        chosen = chosen if len(cuts(chosen)) >= len(cuts(rigid)) else rigid
    _fold_batch_norms(chosen)
    _lay_channels_last(chosen)
    _check_batch_size(chosen, example)
    return chosen


def _check_batch_size(graph_module: fx.GraphModule, example: Tensor) -> None:
    """Refuse a graph in which the batch size of the example is a number."""
    more = torch.cat([example, example[:1]])
    try:
        fits = len(graph_module(more)) == len(more)
    except RuntimeError:
        fits = False
    if not fits:
        raise ValueError("its graph holds for one batch size only; take x.shape[0] instead of len(x) in its forward")


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
        if conv.target not in CONVOLUTIONS or len(conv.users) > 1 or any(u.args[1] != 0 for u in uses):
            continue
        weight, bias = conv.args[1], conv.args[2] if len(conv.args) > 2 else None
        tensors = [None if n is None else _constant(graph_module, n) for n in (weight, bias, *statistics)]
        w, b, scale, shift, mean, var = [None if t is None else _at_least_float32(t) for t in tensors]
        folded = fuse_conv_bn_weights(w, b, mean, var, norm.args[6], scale, shift)  # type: ignore[arg-type]
        with graph.inserting_before(conv):
            nodes = []
            for kind, tensor in zip(("weight", "bias"), folded, strict=True):
                name = f"{conv.name}_folded_{kind}"
                own = tensor.detach().to(_constant(graph_module, weight).dtype)
                graph_module.register_parameter(name, nn.Parameter(own, requires_grad=False))
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
    for conv in [n for n in graph_module.graph.nodes if n.target in CONVOLUTIONS and n.args[1].op == "get_attr"]:
        weight = _constant(graph_module, conv.args[1])
        if weight.device.type == "cpu" and weight.shape[2:] != (1, 1):
            name = f"{conv.name}_channels_last_weight"
            laid_out = weight.detach().contiguous(memory_format=torch.channels_last)
            graph_module.register_parameter(name, nn.Parameter(laid_out, requires_grad=False))
            with graph_module.graph.inserting_before(conv):
                conv.args = (conv.args[0], graph_module.graph.get_attr(name), *conv.args[2:])
    for view in [n for n in graph_module.graph.nodes if n.target is _ATEN.view.default]:
        view.target = _ATEN.reshape.default  # a view that also takes another layout
    graph_module.graph.eliminate_dead_code()
    graph_module.recompile()


def _at_least_float32(tensor: Tensor) -> Tensor:
    return tensor.to(torch.promote_types(tensor.dtype, torch.float32))


def _constant(graph_module: fx.GraphModule, node: fx.Node) -> Tensor:
    value = operator.attrgetter(str(node.target))(graph_module)
    assert isinstance(value, Tensor)
    return value


def cuts(graph_module: fx.GraphModule) -> list[Cut]:
    """List the tensors through which everything passes, after the first layer with weights, in order of computation.

    Of several such tensors computed by one module only the last is kept (an activation, not the sum before it).
    """
    carriers = _carriers(graph_module.graph)
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
        if parametric and list(alive) == [node] and _is_latent(node):
            inside = _module_paths(node)
            name = inside[-1] if inside else _numbered(_operation(node), found)
            found.pop(name, None)
            returned = tuple(path for path in inside if last[path] is node)
            derived = _packet(node) in _REARRANGEMENTS | _POOLINGS
            found[name] = Cut(node, inside, returned, name, _shape_at_export(node), derived)
    return list(found.values())


def _carriers(graph: fx.Graph) -> dict[fx.Node, None]:
    """The nodes that depend on the pixels, in order; all others can be computed again wherever they are needed."""
    carriers: dict[fx.Node, None] = {}
    for node in graph.nodes:
        if node.op == "placeholder" or (
            node.op != "output" and not _is_batch_size(node) and any(n in carriers for n in node.all_input_nodes)
        ):
            carriers[node] = None
    return carriers


def _packet(node: fx.Node) -> object:
    """The operation of a node, whatever its arguments; that of the source where the node takes one of many results."""
    if node.target is operator.getitem:
        return _packet(node.all_input_nodes[0])
    return getattr(node.target, "overloadpacket", node.target)


def _operation(node: fx.Node) -> str:
    return str(getattr(_packet(node), "__name__", node.name))


def _numbered(name: str, taken: dict[str, Cut]) -> str:
    """The name, with a number where it is taken."""
    names = (name if count == 0 else f"{name}_{count}" for count in itertools.count())
    return next(name for name in names if name not in taken)


def _shape_at_export(node: fx.Node) -> tuple[int, ...]:
    """Shape without the batch, free sizes replaced by those of the example."""
    symbols = [(size, getattr(size, "node", None)) for size in node.meta["val"].shape[1:]]
    return tuple(int(size if symbol is None else symbol.hint) for size, symbol in symbols)


def _placeholder(graph: fx.Graph) -> fx.Node:
    found: fx.Node = next(node for node in graph.nodes if node.op == "placeholder")
    return found


def _is_batch_size(node: fx.Node) -> bool:
    if node.target is not _ATEN.sym_size.int:
        return False
    source, *dimension = node.args
    return isinstance(source, fx.Node) and source.op == "placeholder" and dimension == [0]


def _keeps_sizes(graph: fx.Graph) -> bool:
    """Whether the graph takes height or width of a tensor out, to compute with it later."""
    return any(node.target is _ATEN.sym_size.int and not _is_batch_size(node) for node in graph.nodes)


def _is_latent(node: fx.Node) -> bool:
    """Whether a node is a float tensor ``(batch, ...)`` of two to four dimensions whose batch is that of the input."""
    value = node.meta.get("val")
    if not isinstance(value, Tensor) or not value.is_floating_point() or value.ndim not in (2, 3, 4):
        return False
    batch = _placeholder(node.graph).meta["val"].shape[0]
    return str(value.shape[0]) == str(batch)


def _module_paths(node: fx.Node) -> tuple[str, ...]:
    """Paths of the modules that were running, outermost first, without the model itself."""
    stack = (node.meta.get("nn_module_stack") or {}).values()
    paths = (str(path).removeprefix("L['self']").lstrip(".") for path, *_ in stack)
    return tuple(path for path in paths if path)


def segments(graph_module: fx.GraphModule, at: list[Cut]) -> list[fx.GraphModule]:
    """Split the graph at the given cuts: ``len(at) + 1`` modules, each from one tensor to one tensor."""
    graph = graph_module.graph
    start = _placeholder(graph)
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


def linear_head(graph_module: fx.GraphModule) -> tuple[fx.Node, Tensor] | None:
    """Return the node that feeds a linear last layer, and the weight ``(classes, features)`` of that layer."""
    (last,) = next(n for n in graph_module.graph.nodes if n.op == "output").all_input_nodes
    while _packet(last) in _SAME_ORDER:
        last = last.all_input_nodes[0]
    if last.target is not _ATEN.linear.default or last.args[1].op != "get_attr":
        return None
    return last.args[0], _constant(graph_module, last.args[1])
