"""What the two networks are trained for.

With the K+1 network ``D``, the generator ``G``, an image ``x`` of class ``y`` and a target class ``t``, after Bischof
et al. 2023 (arXiv 2310.00761), for K classes in the place of two:

- ``D``: cross-entropy of ``D(x)`` to ``y`` and of ``D(G(x, t))`` to "fake"; R1; and with `augment` the cross-entropy of
  the K classes of ``D(G(x, t))`` to ``y``.
- ``G``: cross-entropy of ``D(G(x, t))`` to ``t``, and the mean absolute differences ``|G(x, t) - x|`` (sparsity),
  ``|G(G(x, t), y) - x|`` (cycle) and ``|G(x, y) - x|`` (identity), in parts of the pixel range.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from ce_detect.counterfactual.networks import Generator, KPlusOne, fakeness
from ce_detect.counterfactual.settings import TrainingSettings

R1_EVERY = 8
"""Steps from one R1 penalty to the next; each is multiplied by it (Karras et al. 2020, arXiv 1912.04958)."""

NAMES = ("real", "fake", "r1", "augment", "adversarial", "sparsity", "cycle", "identity")
"""Columns of the losses, none of them weighted: four of the K+1 network, four of the generator."""

Parts = dict[str, Tensor]


def of_network(
    network: KPlusOne, x: Tensor, y: Tensor, made: Tensor, settings: TrainingSettings, *, penalised: bool
) -> tuple[Tensor, Parts]:
    """Loss of the K+1 network, and its parts.

    Args:
        network: what learns.
        x: real images ``(batch, channels, height, width)``.
        y: their classes ``(batch,)``.
        made: counterfactuals of them.
        settings: the weights.
        penalised: whether R1 is part of it this time.
    """
    z, z_made = network(torch.cat([x, made])).chunk(2)
    parts = {
        "real": F.cross_entropy(z, y),
        "fake": F.cross_entropy(z_made, torch.full_like(y, z.shape[1] - 1)),
        "r1": gradient_penalty(network, x) if penalised else z.new_zeros(()),
        "augment": F.cross_entropy(z_made[:, :-1], y),
    }
    total = parts["real"] + parts["fake"] + R1_EVERY * settings.r1 / 2 * parts["r1"]
    return total + settings.augment * parts["augment"], parts


def of_generator(
    network: KPlusOne, generator: Generator, x: Tensor, y: Tensor, target: Tensor, made: Tensor, noise: Tensor,
    settings: TrainingSettings,
) -> tuple[Tensor, Parts]:  # fmt: skip
    """Loss of the generator, and its parts; see `of_network`.

    Args:
        network: what is to be convinced.
        generator: what learns.
        x: real images.
        y: their classes.
        target: other classes ``(batch,)``.
        made: counterfactuals for them, with their graph.
        noise: what is added to counterfactuals before the network sees them.
        settings: the weights.
    """
    low, high = generator.bounds
    back, same = generator(torch.cat([made, x]), torch.cat([y, y])).chunk(2)
    parts = {
        "adversarial": F.cross_entropy(network(made + noise), target),
        "sparsity": (made - x).abs().mean() / (high - low),
        "cycle": (back - x).abs().mean() / (high - low),
        "identity": (same - x).abs().mean() / (high - low),
    }
    weights = {name: getattr(settings, name) for name in parts}
    return torch.stack([weights[name] * part for name, part in parts.items()]).sum(), parts


def gradient_penalty(network: KPlusOne, x: Tensor) -> Tensor:
    """R1: mean squared norm of the gradient of fakeness at real images."""
    leaf = x.detach().requires_grad_()
    (slope,) = torch.autograd.grad(fakeness(network(leaf)).sum(), leaf, create_graph=True)
    return slope.square().sum((1, 2, 3)).mean()
