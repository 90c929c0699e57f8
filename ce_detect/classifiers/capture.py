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

from ce_detect.classifiers import elasticity
from ce_detect.classifiers.batchnorm import fold_captured
from ce_detect.classifiers.checks import is_script
from ce_detect.classifiers.constants import fold_constants
from ce_detect.classifiers.fx_nodes import ATEN, CONVOLUTIONS, constant, is_stored
from ce_detect.classifiers.interface import agree, run


def capture(model: nn.Module, example: Tensor) -> fx.GraphModule:
    """Export ``model`` to a functional graph whose batch size is free.

    Height and width are those of the example: to free them as well, `torch.export` has to solve inequalities, which it
    cannot for some harmless models and not in reasonable time for others. What `elasticity` rewrites afterwards runs at
    other sizes all the same.

    What does not depend on the pixels is computed once. Batch norms that follow a convolution are folded into it, and
    on a CPU the weights of convolutions are laid out channels-last, which runs up to twice as fast there. All other
    parameters are shared with ``model``.

    Args:
        model: module in eval mode that maps one tensor to one tensor.
        example: ``(batch >= 2, channels, height, width)``.

    Raises:
        ValueError: TorchScript; or a graph that holds for one batch size only, or gives other logits.
        Exception: whatever ``torch.export`` raises on a model that it cannot capture.
    """
    if is_script(model):
        raise ValueError("it is TorchScript; wrap the Python module that it was made of, or an .onnx file of it")
    graph_module = _export(model, example)
    _leave_input_alone(graph_module)
    fold_constants(graph_module)
    elasticity.rewrite(graph_module)
    fold_captured(graph_module)
    _lay_channels_last(graph_module)
    _check_batch_size(graph_module, example)
    if not agree(run(model, example), graph_module(example.clone())):
        raise ValueError("its graph disagrees with it")
    return graph_module


def _export(model: nn.Module, example: Tensor) -> fx.GraphModule:
    with _quiet():
        program = torch.export.export(model, (example.clone(),), dynamic_shapes=({0: Dim.AUTO},), strict=False)
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


def _leave_input_alone(graph_module: fx.GraphModule) -> None:
    """Take out what writes into the caller's pixels at the end: the graph itself reads what it computed instead."""
    for node in [n for n in graph_module.graph.nodes if n.target is ATEN.copy_.default]:
        if node.args[0].op == "placeholder":
            node.replace_all_uses_with(node.args[1])
            graph_module.graph.erase_node(node)
    graph_module.recompile()


def _check_batch_size(graph_module: fx.GraphModule, example: Tensor) -> None:
    """Refuse a graph in which the batch size of the example is a number."""
    more = torch.cat([example, example[:1]])
    try:
        fits = len(graph_module(more)) == len(more)
    except RuntimeError:
        fits = False
    if not fits:
        raise ValueError(
            "its graph holds for one batch size only: its forward loops over the batch or counts it; compute on the "
            "whole batch, and take x.shape[0] in place of len(x)"
        )


def _lay_channels_last(graph_module: fx.GraphModule) -> None:
    """Lay the weights of convolutions on a CPU out channels-last; activations follow the weights."""
    for conv in [n for n in graph_module.graph.nodes if n.target in CONVOLUTIONS and is_stored(n.args[1])]:
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
