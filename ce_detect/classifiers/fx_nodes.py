"""Nodes of a captured graph: what they are, and what they hold."""

from __future__ import annotations

import operator

import torch
from torch import Tensor, fx

ATEN = torch.ops.aten
"""Operations of PyTorch's core, as a captured graph names them."""

CONVOLUTIONS = (ATEN.conv2d.default, ATEN.conv2d.padding)
"""Convolutions over height and width."""


def pixels(graph: fx.Graph) -> fx.Node:
    """The input of a graph."""
    found: fx.Node = next(node for node in graph.nodes if node.op == "placeholder")
    return found


def output(graph: fx.Graph) -> fx.Node:
    """What a graph returns, one tensor."""
    found: fx.Node
    (found,) = next(node for node in graph.nodes if node.op == "output").all_input_nodes
    return found


def is_batch_size(node: fx.Node) -> bool:
    """Whether a node takes the batch size from the input."""
    if node.target is not ATEN.sym_size.int:
        return False
    source, *dimension = node.args
    return isinstance(source, fx.Node) and source.op == "placeholder" and dimension == [0]


def operation(node: fx.Node) -> object:
    """The operation of a node, whatever its arguments; that of the source where the node takes one of many results."""
    if node.target is operator.getitem:
        return operation(node.all_input_nodes[0])
    return getattr(node.target, "overloadpacket", node.target)


def is_stored(node: object) -> bool:
    """Whether a node takes something from the module, such as a weight, in place of computing it."""
    return isinstance(node, fx.Node) and node.op == "get_attr"


def stored(graph_module: fx.GraphModule, node: fx.Node) -> object:
    """What a node takes from the module: a tensor, or a graph within the graph."""
    found: object = operator.attrgetter(str(node.target))(graph_module)
    return found


def constant(graph_module: fx.GraphModule, node: fx.Node) -> Tensor:
    """The weight or other constant that a node takes from the module."""
    value = stored(graph_module, node)
    assert isinstance(value, Tensor)
    return value
