"""A captured graph that also runs at other heights and widths: it takes out sizes of the example where that is sure."""

from __future__ import annotations

from collections.abc import Sequence

from torch import fx

from ce_detect.classifiers.fx_nodes import ATEN

_RESHAPES = frozenset({ATEN.view.default, ATEN.reshape.default, ATEN._unsafe_view.default})


def rewrite(graph_module: fx.GraphModule) -> None:
    """Rewrite, in place, what holds the size of the example but means that of its input; nothing else changes.

    A pooling over a whole map, such as ``F.avg_pool2d(x, x.shape[3])``, becomes the mean over the map. A reshape that
    keeps height and width, as in a channel shuffle, takes them from its input.
    """
    for node in list(graph_module.graph.nodes):
        if node.target is ATEN.avg_pool2d.default and _pools_all(node):
            _to_mean(graph_module.graph, node)
        elif node.target in _RESHAPES and _keeps_map(node):
            _to_own_size(graph_module.graph, node)
    graph_module.recompile()


def _shape(node: object) -> tuple[object, ...]:
    assert isinstance(node, fx.Node)
    return tuple(node.meta["val"].shape)


def _pools_all(node: fx.Node) -> bool:
    source, kernel, *others = node.args
    padding = others[1] if len(others) > 1 else (0, 0)
    assert isinstance(kernel, Sequence)
    assert isinstance(padding, Sequence)
    divisor = others[4] if len(others) > 4 else None
    whole = (kernel[0], kernel[-1]) == _shape(source)[2:]
    return whole and not any(padding) and divisor is None and _shape(source)[2:] != (1, 1)


def _to_mean(graph: fx.Graph, node: fx.Node) -> None:
    with graph.inserting_before(node):
        mean = graph.call_function(ATEN.mean.dim, (node.args[0], [2, 3], True))
    mean.meta = dict(node.meta)
    node.replace_all_uses_with(mean)
    graph.erase_node(node)


def _keeps_map(node: fx.Node) -> bool:
    """Whether height and width come out of a reshape as they went in."""
    before, after = _shape(node.args[0]), _shape(node)
    numbers = all(isinstance(size, int) for size in (*before[-2:], *after[-2:]))
    return len(before) >= 4 and len(after) >= 4 and numbers and before[-2:] == after[-2:] != (1, 1)


def _to_own_size(graph: fx.Graph, node: fx.Node) -> None:
    source, sizes = node.args
    assert isinstance(sizes, Sequence)
    ndim = len(_shape(source))
    with graph.inserting_before(node):
        own = [graph.call_function(ATEN.sym_size.int, (source, ndim - 2 + i)) for i in range(2)]
    for made, size in zip(own, _shape(source)[-2:], strict=True):
        made.meta["val"] = size
    node.args = (source, [*sizes[:-2], *own])
