"""What a captured graph computes without looking at the pixels: weights made of weights, positions, masks."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, fx, nn

from ce_detect.classifiers.fx_nodes import constant


def fold_constants(graph_module: fx.GraphModule) -> None:
    """Compute once, in place, what does not depend on the pixels: a weight norm, a mask of pruning, a cast.

    Later steps look for weights that are stored, and each segment would compute its own again.
    """
    known: dict[fx.Node, Any] = {}
    for node in list(graph_module.graph.nodes):
        if node.op == "get_attr" and isinstance(_attribute(graph_module, node), Tensor):
            known[node] = constant(graph_module, node)
        elif node.op == "call_function" and _is_constant(node, known):
            with torch.no_grad():
                known[node] = node.target(*_values(node.args, known), **_values(node.kwargs, known))
    for node in [n for n in known if n.op == "call_function"]:
        value = known[node]
        needed = any(user not in known for user in node.users)
        if needed and isinstance(value, Tensor):
            _store(graph_module, node, value)
    graph_module.graph.eliminate_dead_code()
    graph_module.recompile()


def _attribute(graph_module: fx.GraphModule, node: fx.Node) -> object:
    found: object = graph_module
    for name in str(node.target).split("."):
        found = getattr(found, name, None)
    return found


def _is_constant(node: fx.Node, known: dict[fx.Node, Any]) -> bool:
    """Whether an operation gives the same whenever it runs, and only depends on what is known."""
    target = node.target
    if not isinstance(target, torch._ops.OpOverload):
        return bool(node.all_input_nodes) and all(source in known for source in node.all_input_nodes)
    random = torch.Tag.nondeterministic_seeded in target.tags
    writes = target._schema.is_mutable
    return not random and not writes and all(source in known for source in node.all_input_nodes)


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
        stored = graph_module.graph.get_attr(name)
    stored.meta = dict(node.meta)
    node.replace_all_uses_with(stored)
