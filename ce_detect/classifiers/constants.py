"""What a captured graph computes without looking at the pixels: weights made of weights, positions, masks."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, fx, nn

from ce_detect.classifiers.fx_nodes import ATEN, is_stored, operation, stored

_FILLED = frozenset({
    ATEN.full_like, ATEN.new_full, ATEN.new_ones, ATEN.new_zeros, ATEN.ones_like, ATEN.zeros_like,
})  # fmt: skip


def fold_constants(graph_module: fx.GraphModule) -> None:
    """Compute once, in place, what does not depend on the pixels: a weight norm, a mask of pruning, a cast.

    So is what takes only a size without the batch, a type and a device from the pixels, such as a mask of attention.
    Later steps look for weights that are stored, and each segment would compute its own again.
    """
    known: dict[fx.Node, Any] = {}
    for node in list(graph_module.graph.nodes):
        if is_stored(node) and isinstance(tensor := stored(graph_module, node), Tensor):
            known[node] = tensor
        elif node.op == "call_function" and _is_constant(node, known):
            with torch.no_grad():
                known[node] = node.target(*_values(node.args, known), **_values(node.kwargs, known))
        elif operation(node) in _FILLED and _is_of_one_size(node):
            known[node] = _filled(node)
    for node, value in known.items():
        needed = not is_stored(node) and any(user not in known for user in node.users)
        if needed and isinstance(value, Tensor):
            _store(graph_module, node, value)
    graph_module.graph.eliminate_dead_code()
    graph_module.recompile()


def _is_constant(node: fx.Node, known: dict[fx.Node, Any]) -> bool:
    """Whether an operation gives the same whenever it runs, and only depends on what is known."""
    if not all(source in known for source in node.all_input_nodes):
        return False
    if not isinstance(node.target, torch._ops.OpOverload):  # Python's own, such as one of several results
        return bool(node.all_input_nodes)
    return torch.Tag.nondeterministic_seeded not in node.target.tags and not node.target._schema.is_mutable


def _is_of_one_size(node: fx.Node) -> bool:
    """Whether the result of a node is as large for any batch, and all else in it is a number."""
    return len(node.all_input_nodes) == 1 and all(isinstance(size, int) for size in node.meta["val"].shape)


def _filled(node: fx.Node) -> Tensor:
    """What a node makes of a number and of the size, type and device of another tensor."""
    source, *others = node.args
    assert isinstance(source, fx.Node)
    like = torch.empty(node.meta["val"].shape, dtype=source.meta["val"].dtype, device=source.meta["val"].device)
    made: Tensor = node.target(like, *others, **node.kwargs)  # type: ignore[operator]
    return made


def _values(arguments: Any, known: dict[fx.Node, Any]) -> Any:
    return fx.node.map_arg(arguments, lambda node: known[node])


def _store(graph_module: fx.GraphModule, node: fx.Node, value: Tensor) -> None:
    name = f"{node.name}_constant"
    own = value.detach().clone()
    if own.is_floating_point():
        graph_module.register_parameter(name, nn.Parameter(own, requires_grad=False))
    else:
        graph_module.register_buffer(name, own)
    with graph_module.graph.inserting_before(node):
        taken = graph_module.graph.get_attr(name)
    taken.meta = dict(node.meta)
    node.replace_all_uses_with(taken)
