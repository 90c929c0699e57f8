"""Backward pass differentiable approximation: a gradient where the gate has none."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ce_detect.detector.gate import GateModule
from ce_detect.redteam.descent import descend
from ce_detect.redteam.selective import Selective
from ce_detect.redteam.target import Alone, Gated, Joint

PAPER = "Athalye et al. 2018, arXiv 1802.00420"

STEPS, WIDTH = 400, 64
"""Steps of Adam, and hidden units, with which a network learns to imitate a head."""

REACHES = (0.005, 0.02, 0.06)
"""Shares of the pixel range by which images are changed for the imitation to see what the attack will show it."""


class StraightThrough(Gated):
    """A gate whose forward pass is exact and whose backward pass skips what has no gradient.

    An intervention without a gradient passes it on as if it had left its tensor alone. A head without one (a tree
    ensemble says so by ``differentiable = False``) is imitated by a small network, which lends its gradient.

    Args:
        gate: what is attacked.
        x: clean images ``(n, channels, height, width)`` to learn the imitation from.
        seed: seed of the imitation.
    """

    def __init__(self, gate: GateModule, x: Tensor, *, seed: int = 0) -> None:
        super().__init__(gate)
        self.blind = blind_interventions(gate, x[:1])
        self.imitation = None if _is_differentiable(gate) else _imitated(self, x, seed)

    def joint(self, x: Tensor) -> Joint:
        """Judge inputs, see `ce_detect.redteam.target.Target.joint`."""
        with self._passed_through():
            logits, features = self.gate.signature(x)
        if self.imitation is None:
            return Joint(logits, self.gate.head.near(features, self.threshold))
        with torch.no_grad():
            exact = self.gate.head.near(features, self.threshold)
        lent = self.imitation(self.gate.head.squash(features)).squeeze(1)
        return Joint(logits, exact + lent - lent.detach())

    @contextlib.contextmanager
    def _passed_through(self) -> Iterator[None]:
        with contextlib.ExitStack() as stack:
            for module in self.blind:
                stack.callback(module.register_forward_hook(_as_if_left_alone).remove)
            yield


def needs_help(gate: GateModule, x: Tensor) -> bool:
    """Whether something in the gate has no gradient; ``x`` are a few clean images."""
    return bool(blind_interventions(gate, x[:1])) or not _is_differentiable(gate)


def blind_interventions(gate: GateModule, x: Tensor) -> list[nn.Module]:
    """Interventions with no gradient from what they return to what they take."""
    latents = gate.signature.classifier.trace(x).latents
    return [
        module
        for module in gate.signature.interventions
        if not module.needs_resume
        and not _has_gradient(module, x if module.from_input else latents.get(str(module.site), x))
    ]


def _has_gradient(module: Any, h: Tensor) -> bool:
    leaf = h.detach().clone().requires_grad_()
    with torch.enable_grad():
        changed = module(leaf)
        if not changed.requires_grad:
            return False
        (found,) = torch.autograd.grad(
            (changed * torch.linspace(0.5, 1.5, changed.numel()).view_as(changed)).sum(), leaf
        )
    return bool((found != 0).any())


def _as_if_left_alone(_: nn.Module, taken: tuple[Tensor, ...], changed: Tensor) -> Tensor:
    """The intervention's outcome, with the gradient of the tensor it took, repeated and resized to fit."""
    h = taken[0]
    if h.ndim == 4 and h.shape[2:] != changed.shape[2:]:
        h = F.interpolate(h, size=changed.shape[2:], mode="bilinear", antialias=True)
    same = h.repeat(len(changed) // len(h), *([1] * (h.ndim - 1)))
    return changed.detach() + same - same.detach()


def _is_differentiable(gate: GateModule) -> bool:
    return bool(getattr(gate.head, "differentiable", True))


def _imitated(target: StraightThrough, x: Tensor, seed: int) -> nn.Module:
    """A network from squashed features to the head's score, learned on clean, noisy and attacked images."""
    gate = target.gate
    generator = torch.Generator().manual_seed(seed)
    seen = _shown(gate, x, generator)
    with torch.no_grad():
        parts = [gate.signature(part)[1] for part in seen.split(64)]
        features = torch.cat(parts)
        scores = torch.cat([gate.head.near(part, target.threshold) for part in parts])
    squashed = gate.head.squash(features)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = nn.Sequential(nn.Linear(squashed.shape[1], WIDTH), nn.SiLU(), nn.Linear(WIDTH, 1))
    optimizer = torch.optim.Adam(network.parameters(), lr=3e-3, weight_decay=1e-4)
    with torch.enable_grad():
        for _ in range(STEPS):
            some = torch.randint(len(scores), (128,), generator=generator)
            optimizer.zero_grad()
            F.smooth_l1_loss(network(squashed[some]).squeeze(1), scores[some]).backward()
            optimizer.step()
    return network.requires_grad_(False)


def _shown(gate: GateModule, x: Tensor, generator: torch.Generator) -> Tensor:
    classifier = gate.signature.classifier
    low, high = classifier.bounds
    shown = [x]
    with torch.no_grad():
        logits = torch.cat([classifier.logits(part) for part in x.split(64)])
    for reach in REACHES:
        size = reach * (high - low)
        noise = torch.empty_like(x).uniform_(-size, size, generator=generator)
        fooled = descend(
            Selective(), Alone(classifier), x, logits.argmax(1), torch.full((len(x),), size), steps=10, anchors=logits
        )
        shown += [(x + noise).clamp(low, high), fooled.x, (fooled.x + noise).clamp(low, high)]
    return torch.cat(shown)
