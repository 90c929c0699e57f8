"""A gate without the Python interpreter: on small batches what it does between operations is much of the time."""

from __future__ import annotations

import contextlib
import logging
import threading
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn

logger = logging.getLogger("ce_detect")

MOST_SHAPES = 16
"""Shapes of batches that are compiled, at most; others run as they are."""

ROUNDING = 1e-5
"""Difference of features and scores, absolute and relative, that is rounding."""

_compiling = threading.Lock()

Program = Callable[..., tuple[Tensor, ...]]
"""What runs batches of one shape."""


class Compiled:
    """Runs a gate, a signature or a part of them; from the second batch of a shape on as a TorchScript trace of it.

    A trace is the list of the tensor operations that ran, which PyTorch's own executor runs again: the same operations
    in the same order. What they return is the same but for the last digit of a few, whose kernels round by where in
    memory a tensor lies. TorchScript is deprecated, but no other executor in PyTorch does without a compiler on the
    machine. Where it is gone, everything runs as it is; so does a call that needs gradients, what `can_compile`
    refuses, and a module whose trace says something else on other pixels.
    """

    def __init__(self, module: nn.Module) -> None:
        self._module = module
        self._programs: dict[tuple[tuple[int, ...], ...], Program | None] = {}

    def __call__(self, *x: Tensor) -> tuple[Tensor, ...]:
        """Return what the module returns for inputs ``(batch, ...)``, as a plain tuple."""
        program = None if torch.is_grad_enabled() else self._program(x)
        found: tuple[Tensor, ...] = tuple(self._module(*x)) if program is None else program(*x)
        return found

    def _program(self, x: tuple[Tensor, ...]) -> Program | None:
        shape = tuple(tuple(tensor.shape) for tensor in x)
        if shape not in self._programs:
            if len(self._programs) < MOST_SHAPES:
                self._programs[shape] = None if can_compile(self._module) else self._module
            return None
        if self._programs[shape] is None:
            self._programs[shape] = _compiled(self._module, x) or self._module
        return self._programs[shape]

    def __getstate__(self) -> dict[str, Any]:
        """A copy compiles anew: programs hold the tensors of the original."""
        return {"_module": self._module, "_programs": {}}


def can_compile(module: nn.Module) -> bool:
    """Whether a gate, a signature or a part of one is tensor operations on a CPU alone, and no value decides which."""
    signature: Any = getattr(module, "signature", module)
    classifier = signature.classifier
    return (
        classifier.captured and classifier.device.type == "cpu" and all(i.exportable for i in signature.interventions)
    )


def _compiled(module: nn.Module, x: tuple[Tensor, ...]) -> Program | None:
    """The TorchScript trace of a module for batches like ``x``, or None where it is not faithful."""
    try:
        with _compiling, _constant(module), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of its deprecation, and of each shape that is a number in it: one a trace
            program: Program = torch.jit.trace(lambda *given: tuple(module(*given)), x, check_trace=False)
        others = _mirrored(x, -2), _mirrored(x, -1)  # the second run also has the executor specialise
        faithful = all(_same(tuple(module(*other)), program(*other)) for other in others)
    except Exception as error:  # noqa: BLE001  whatever TorchScript raises, the module itself runs
        logger.info("no trace of the gate (%s); it runs as it is", str(error).strip().partition("\n")[0])
        return None
    if not faithful:
        logger.info("the trace of the gate says something else than the gate; it runs as it is")
    return program if faithful else None


def _mirrored(x: tuple[Tensor, ...], along: int) -> tuple[Tensor, ...]:
    """Other pixels, and other latents: those that were given, mirrored; what is no picture stays."""
    return tuple(tensor.flip(along) if tensor.ndim > 2 else tensor for tensor in x)


@contextlib.contextmanager
def _constant(module: nn.Module) -> Iterator[None]:
    """Let no parameter ask for gradients: a trace takes those that do for no constants."""
    learning = [parameter for parameter in module.parameters() if parameter.requires_grad]
    for parameter in learning:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in learning:
            parameter.requires_grad_(True)


def _same(expected: tuple[Tensor, ...], got: tuple[Tensor, ...]) -> bool:
    pairs = zip(expected, got, strict=True)
    return all(torch.allclose(a.float(), b.float(), rtol=ROUNDING, atol=ROUNDING, equal_nan=True) for a, b in pairs)
