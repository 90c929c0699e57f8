"""A PyTorch model as a functional graph of tensor operations, without any code of the model."""

from __future__ import annotations

import contextlib
import io
import logging
import warnings
from collections.abc import Iterator

import torch
from torch import Tensor, fx, nn
from torch.export import Dim

from ce_detect.classifiers.batchnorm import fold_captured
from ce_detect.classifiers.cutting import cuts
from ce_detect.classifiers.fx_nodes import ATEN, CONVOLUTIONS, constant, is_batch_size


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
    fold_captured(chosen)
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


def _keeps_sizes(graph: fx.Graph) -> bool:
    """Whether the graph takes height or width of a tensor out, to compute with it later."""
    return any(node.target is ATEN.sym_size.int and not is_batch_size(node) for node in graph.nodes)


def _lay_channels_last(graph_module: fx.GraphModule) -> None:
    """Lay the weights of convolutions on a CPU out channels-last; activations follow the weights."""
    for conv in [n for n in graph_module.graph.nodes if n.target in CONVOLUTIONS and n.args[1].op == "get_attr"]:
        weight = constant(graph_module, conv.args[1])
        if weight.device.type == "cpu" and weight.shape[2:] != (1, 1):
            name = f"{conv.name}_channels_last_weight"
            laid_out = weight.detach().contiguous(memory_format=torch.channels_last)
            graph_module.register_parameter(name, nn.Parameter(laid_out, requires_grad=False))
            with graph_module.graph.inserting_before(conv):
                conv.args = (conv.args[0], graph_module.graph.get_attr(name), *conv.args[2:])
    for view in [n for n in graph_module.graph.nodes if n.target is ATEN.view.default]:
        view.target = ATEN.reshape.default  # a view that also takes another layout
    graph_module.graph.eliminate_dead_code()
    graph_module.recompile()
