"""Backward pass differentiable approximation: a gradient where an intervention has none.

After Athalye et al. 2018 (arXiv 1802.00420).
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ce_detect.detector.gate import GateModule
from ce_detect.redteam.target import Gated, Joint


class StraightThrough(Gated):
    """A gate whose forward pass is exact, and whose backward pass skips what has no gradient.

    An intervention without a gradient passes it on as if it had left its tensor alone. Heads always have one.

    Args:
        gate: what is attacked.
        x: clean images ``(n, channels, height, width)``, at least one, by which such interventions are found.
    """

    def __init__(self, gate: GateModule, x: Tensor) -> None:
        super().__init__(gate)
        self.blind = blind_interventions(gate, x[:1])

    def joint(self, x: Tensor) -> Joint:
        """Judge inputs, see `ce_detect.redteam.target.Target.joint`."""
        with self._passed_through():
            return super().joint(x)

    @contextlib.contextmanager
    def _passed_through(self) -> Iterator[None]:
        with contextlib.ExitStack() as stack:
            for module in self.blind:
                stack.callback(module.register_forward_hook(_as_if_left_alone).remove)
            yield


def needs_help(gate: GateModule, x: Tensor) -> bool:
    """Whether something in the gate has no gradient; ``x`` are a few clean images."""
    return bool(blind_interventions(gate, x[:1]))


def blind_interventions(gate: GateModule, x: Tensor) -> list[nn.Module]:
    """Interventions with no gradient from what they return to what they take."""
    x = x.to(gate.threshold.device)
    latents = gate.signature.classifier.trace(x).latents
    return [
        module
        for module in gate.signature.interventions
        if not module.needs_resume
        and not _has_gradient(module, x if module.from_input else latents.get(str(module.site), x))
    ]


def _has_gradient(module: nn.Module, h: Tensor) -> bool:
    leaf = h.detach().clone().requires_grad_()
    with torch.enable_grad():
        changed = module(leaf)
        if not changed.requires_grad:
            return False
        weights = torch.linspace(0.5, 1.5, changed.numel(), device=h.device).view_as(changed)
        (found,) = torch.autograd.grad((changed * weights).sum(), leaf)
    return bool((found != 0).any())


def _as_if_left_alone(_: nn.Module, taken: tuple[Tensor, ...], changed: Tensor) -> Tensor:
    """The intervention's outcome, with the gradient of the tensor it took, repeated and resized to fit."""
    h = taken[0]
    if h.ndim == 4 and h.shape[2:] != changed.shape[2:]:
        h = F.interpolate(h, size=changed.shape[2:], mode="bilinear", antialias=True)
    same = h.repeat(len(changed) // len(h), *([1] * (h.ndim - 1)))
    return changed.detach() + same - same.detach()
