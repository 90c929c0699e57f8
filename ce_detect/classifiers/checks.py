"""Modules that cannot be wrapped, each with the reason and the remedy, before anything else is tried."""

from __future__ import annotations

from typing import Any

import torch
from torch import fx, nn
from torch.export import ExportedProgram

from ce_detect.core.errors import ModelError


def unwrapped(model: Any) -> nn.Module:
    """Take a module out of ``torch.compile``, ``DataParallel`` or an exported program, and check that it can be used.

    Raises:
        ModelError: not a module, in training mode, without values, or quantised by PyTorch.
    """
    if isinstance(model, ExportedProgram):
        model = model.module()
    if not isinstance(model, nn.Module):
        raise ModelError(f"expected a torch.nn.Module, got {type(model).__name__}")
    while isinstance(model, nn.DataParallel) or hasattr(model, "_orig_mod"):  # the latter by torch.compile
        inner: Any = model
        model = inner.module if isinstance(model, nn.DataParallel) else inner._orig_mod
    bare: nn.Module = model
    name = type(bare).__name__
    if any(tensor.is_meta for tensor in (*bare.parameters(), *bare.buffers())):
        raise ModelError(
            f"{name} has no values, only shapes (device 'meta'). Load its weights first: model.to_empty(device='cpu'), "
            "then model.load_state_dict(...)"
        )
    quantised = next((type(part) for part in bare.modules() if _is_quantised(part)), None)
    if quantised is not None:
        raise ModelError(
            f"{name} is quantised by PyTorch ({quantised.__module__}.{quantised.__name__}), which has no gradients and "
            "cannot be cut. Wrap the model before it was quantised, or an .onnx file of the quantised one"
        )
    training = [path or "the model itself" for path, part in bare.named_modules() if getattr(part, "training", False)]
    if training and not is_exported(bare):
        raise ModelError(
            f"{name} is in training mode ({training[0]}): dropout and batch statistics would change its "
            "answers. Call model.eval() before wrapping it"
        )
    return bare


def _is_quantised(part: nn.Module) -> bool:
    return type(part).__module__.startswith(("torch.ao.nn.quantized", "torch.ao.nn.intrinsic.quantized"))


def is_exported(model: nn.Module) -> bool:
    """Whether a module came out of ``torch.export``: what it was in, training or eval mode, it stays."""
    return isinstance(model, fx.GraphModule) and "eval" in vars(model)


def is_script(model: nn.Module) -> bool:
    """Whether TorchScript runs a module: it has no Python code to capture, and its parts take no hooks."""
    return isinstance(model, torch.jit.ScriptModule)
