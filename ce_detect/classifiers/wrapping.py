"""PyTorch classifiers: cut where possible, hooked where not."""

from __future__ import annotations

import logging
import weakref

import torch
from torch import Tensor, nn

from ce_detect.classifiers.adapted import Output, adapted, bare
from ce_detect.classifiers.base import Classifier
from ce_detect.classifiers.capture import capture
from ce_detect.classifiers.checks import unwrapped
from ce_detect.classifiers.hooked import HookClassifier
from ce_detect.classifiers.interface import BlackBoxModule, Interface, device_of, dtype_of
from ce_detect.classifiers.output import first_line, reading
from ce_detect.classifiers.segmented import TorchClassifier
from ce_detect.core.errors import ModelError

logger = logging.getLogger("ce_detect")

_announced: weakref.WeakSet[nn.Module] = weakref.WeakSet()


def wrap(
    model: nn.Module,
    *,
    input_shape: tuple[int, int, int],
    bounds: tuple[float, float],
    sites: tuple[str, ...] | None = None,
    multi_label: bool = False,
    label: int | None = None,
    output: Output | None = None,
) -> Classifier:
    """Wrap a PyTorch model as a classifier; also within ``torch.inference_mode()``, where it still gets gradients.

    The model is cut into segments so that resuming from a site skips everything before it. A model that
    ``torch.export`` cannot capture is hooked instead: correct, but every resume costs a whole forward. What ONNX
    Runtime runs is cut by onnx.

    Args:
        model: maps ``(batch, channels, height, width)`` to logits ``(batch, classes)``, in eval mode, in any floating
            type. One logit ``(batch, 1)`` or ``(batch,)`` is read as the log-odds of class 1 against class 0.
            ``torch.compile``d and ``DataParallel`` modules are unwrapped.
        input_shape: ``(channels, height, width)``.
        bounds: smallest and largest valid pixel value.
        sites: names of the sites to keep; by default the ends and middles of the stages of one resolution, or blocks
            at the quarters of a transformer.
        multi_label: whether several labels may hold at once, so that each logit is the log-odds of a label of its own.
            The decision is the top label.
        label: watch this label of a multi-label model alone: a decision between two classes, 1 where its logit is
            above 0.
        output: which part of what the model returns are the logits, see `ce_detect.classifiers.adapted.adapted`.

    Raises:
        ModelError: not a module, in training mode, does not return logits, or has no such site or label.
    """
    model = unwrapped(model)
    asked = Interface(input_shape, bounds, multi_label, label, output=output)
    with torch.inference_mode(_stays_in_inference_mode(model)):
        return _wrapped(model, asked, sites)


def _stays_in_inference_mode(model: nn.Module) -> bool:
    """Whether that mode is on, and a model was made within it: it has no gradients, and runs there alone."""
    if not torch.is_inference_mode_enabled():
        return False
    hidden = isinstance(model, torch.jit.ScriptModule)  # a frozen one does not show its tensors
    return hidden or any(tensor.is_inference() for tensor in (*model.parameters(), *model.buffers()))


def _wrapped(model: nn.Module, asked: Interface, sites: tuple[str, ...] | None) -> Classifier:
    if not isinstance(model, BlackBoxModule):
        model = adapted(model, asked.probe(2).to(device_of(model), dtype_of(model)), asked.output)
    interface = reading(model, asked)
    if isinstance(model, BlackBoxModule):
        return _black_box(model, interface, sites)
    made, problem = _cut_or_hooked(model, interface, sites)
    if not made.sites and sites is None:
        without = f"{_name(model)} has no hidden tensor to intervene on, only pixels"
        problem = without if problem is None else f"{problem}; {without}"
    if problem is not None:
        _announce(model, problem)
    return made


def _cut_or_hooked(
    model: nn.Module, interface: Interface, sites: tuple[str, ...] | None
) -> tuple[Classifier, str | None]:
    """The classifier, and what it lacks."""
    try:
        example = interface.probe(2).to(device_of(model), dtype_of(model))
        with torch.no_grad():
            graph = capture(model, example)
        return TorchClassifier(model, interface, graph, sites=sites), None
    except ModelError:
        raise
    except Exception as error:  # noqa: BLE001  torch.export raises many types; hooking is correct for all
        problem = f"cannot cut {_name(model)} into segments ({first_line(error)}); every resume costs a whole forward"
        return HookClassifier(model, interface, sites=sites), problem


def _black_box(model: BlackBoxModule, interface: Interface, sites: tuple[str, ...] | None) -> Classifier:
    # here and not above: it takes the packages of ONNX, which are there if such a model is, and else need not be
    from ce_detect.classifiers.onnx.black_box import OnnxClassifier
    from ce_detect.classifiers.onnx.session import RuntimeModule

    assert isinstance(model, RuntimeModule)
    return OnnxClassifier(model, interface, sites=sites)


def _announce(model: nn.Module, problem: str) -> None:
    """Say once for each model what it lacks."""
    if model not in _announced:
        _announced.add(model)
        logger.warning("%s", problem)


class _AtAnyType(nn.Module):
    """A model behind a cast of its input to the type of its weights."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model
        self.dtype = dtype_of(model)

    def forward(self, x: Tensor) -> Tensor:
        output: Tensor = self.model(x.to(self.dtype))
        return output


def at_float32(model: nn.Module) -> nn.Module:
    """The model as its user runs it, but for float32 pixels: what a gate's cost is measured against."""
    return model if dtype_of(model) is torch.float32 else _AtAnyType(model).eval()


def _name(model: nn.Module) -> str:
    return type(bare(model)).__name__
