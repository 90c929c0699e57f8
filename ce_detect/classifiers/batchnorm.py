"""Batch norms and the convolutions before them: folded into one, and put in again while a copy learns."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.nn.utils.fusion import fuse_conv_bn_weights

from ce_detect.classifiers.fx_nodes import ATEN, CONVOLUTIONS, constant, is_stored

_BATCH_NORM = ATEN._native_batch_norm_legit_no_training.default

Norm = tuple[nn.BatchNorm2d, nn.Parameter, nn.Parameter]
"""A batch norm, and weight and bias of the convolution before it."""


def fold_captured(graph_module: fx.GraphModule) -> None:
    """Replace each convolution and the batch norm behind it in a captured graph by one convolution, in place."""
    graph = graph_module.graph
    for norm in [n for n in graph.nodes if n.target is _BATCH_NORM]:
        conv, *statistics = norm.args[:5]
        uses = list(norm.users)
        if conv.target not in CONVOLUTIONS or len(conv.users) > 1 or any(u.args[1] != 0 for u in uses):
            continue
        weight, bias = conv.args[1], conv.args[2] if len(conv.args) > 2 else None
        if not all(node is None or is_stored(node) for node in (weight, bias, *statistics)):
            continue  # computed from the pixels, as by a network that makes the weights of another
        tensors = [None if n is None else constant(graph_module, n) for n in (weight, bias, *statistics)]
        w, b, scale, shift, mean, var = [None if t is None else _at_least_float32(t) for t in tensors]
        folded = fuse_conv_bn_weights(w, b, mean, var, norm.args[6], scale, shift)  # type: ignore[arg-type]
        with graph.inserting_before(conv):
            nodes = []
            for kind, tensor in zip(("weight", "bias"), folded, strict=True):
                name = f"{conv.name}_folded_{kind}"
                own = tensor.detach().to(constant(graph_module, weight).dtype)
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


def _at_least_float32(tensor: Tensor) -> Tensor:
    return tensor.to(torch.promote_types(tensor.dtype, torch.float32))


def put_in(layers: nn.Module, run: Callable[[], Any]) -> list[Norm]:
    """Put a batch norm behind each convolution with a bias, such that it changes nothing in eval mode.

    Args:
        layers: segments of a classifier, changed in place; the norms are left in training mode.
        run: runs the layers on typical images.

    Returns:
        The norms, to be given to `folded`.
    """
    norms = [norm for part in layers.modules() if isinstance(part, fx.GraphModule) for norm in _inserted(part)]
    seen: dict[nn.BatchNorm2d, Tensor] = {}

    def look(norm: nn.BatchNorm2d, taken: tuple[Tensor, ...]) -> None:
        seen[norm] = taken[0]

    hooks = [norm.register_forward_pre_hook(look) for norm, *_ in norms]
    with torch.no_grad():
        run()
        for norm, *_ in norms:
            variance, mean = torch.var_mean(seen[norm], (0, 2, 3), correction=0)
            norm.running_mean, norm.running_var = mean.clone(), variance.clone()
            norm.bias.copy_(mean)
            norm.weight.copy_((variance + norm.eps).sqrt())
            norm.train()
    for hook in hooks:
        hook.remove()
    return norms


def folded(layers: nn.Module, norms: list[Norm]) -> None:
    """Fold the norms into the convolutions before them, in place."""
    with torch.no_grad():
        for norm, weight, bias in norms:
            mean, variance = norm.running_mean, norm.running_var
            assert mean is not None
            assert variance is not None
            w, b = fuse_conv_bn_weights(weight, bias, mean, variance, norm.eps, norm.weight, norm.bias)
            weight.copy_(w)
            bias.copy_(b)
    for part in layers.modules():
        if isinstance(part, fx.GraphModule):
            _taken_out(part)


def _inserted(part: fx.GraphModule) -> list[Norm]:
    found: list[Norm] = []
    for node in [n for n in part.graph.nodes if n.target in CONVOLUTIONS]:
        owned = [_parameter(part, argument) for argument in node.args[1:3]]
        if len(owned) < 2 or None in owned:
            continue
        weight, bias = owned
        assert weight is not None
        assert bias is not None
        norm = nn.BatchNorm2d(len(bias), device=weight.device, dtype=weight.dtype).eval()
        name = f"{node.name}_norm"
        part.add_submodule(name, norm)
        with part.graph.inserting_after(node):
            behind = part.graph.call_module(name, (node,))
        node.replace_all_uses_with(behind, delete_user_cb=lambda user, behind=behind: user is not behind)
        found.append((norm, weight, bias))
    part.recompile()
    return found


def _taken_out(part: fx.GraphModule) -> None:
    for node in [n for n in part.graph.nodes if n.op == "call_module"]:
        node.replace_all_uses_with(node.args[0])
        part.graph.erase_node(node)
    part.delete_all_unused_submodules()
    part.recompile()


def _parameter(part: fx.GraphModule, argument: Any) -> nn.Parameter | None:
    if not isinstance(argument, fx.Node) or argument.op != "get_attr":
        return None
    found = getattr(part, str(argument.target), None)
    return found if isinstance(found, nn.Parameter) else None
