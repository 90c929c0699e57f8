"""Losses with known answers."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from ce_detect.counterfactual.losses import NAMES, gradient_penalty, of_generator, of_network
from ce_detect.counterfactual.networks import Generator, KPlusOne
from ce_detect.counterfactual.settings import TrainingSettings


def linear(slope: float) -> KPlusOne:
    """A network of two classes that never decides, whose "fake" grows by ``slope`` with each of four pixels."""
    network = KPlusOne(nn.Flatten(), 4, 2)
    for layer in (network.classes, network.fake):
        nn.init.zeros_(layer.weight)
        nn.init.zeros_(layer.bias)
    nn.init.constant_(network.fake.weight, slope)
    return network


class Brighter(Generator):
    """Adds a tenth, whatever the target."""

    def forward(self, x: Tensor, target: Tensor) -> Tensor:
        """Return brighter images."""
        return x + 0.1


def test_r1_is_the_squared_slope_of_fakeness() -> None:
    """Four pixels with a slope of 3 each: 4 times 9."""
    penalty = gradient_penalty(linear(3.0), torch.rand(5, 1, 2, 2))
    assert float(penalty.detach()) == pytest.approx(36.0)


def test_the_network_is_asked_for_classes_and_for_fakes() -> None:
    """A network that knows nothing pays log 3 for real images and for counterfactuals, and log 2 among the classes."""
    x, y = torch.rand(6, 1, 2, 2), torch.tensor([0, 1] * 3)
    settings = TrainingSettings(augment=2.0, r1=1.0)
    total, parts = of_network(linear(0.0), x, y, x, settings, penalised=True)
    assert float(parts["real"].detach()) == pytest.approx(math.log(3))
    assert float(parts["fake"].detach()) == pytest.approx(math.log(3))
    assert float(parts["augment"].detach()) == pytest.approx(math.log(2))
    assert float(total.detach()) == pytest.approx(2 * math.log(3) + 2 * math.log(2))


def test_the_generator_pays_for_what_it_changes() -> None:
    """A tenth of the range once, twice there and back, and once where nothing was to change."""
    x, y = torch.rand(6, 1, 2, 2) / 2, torch.tensor([0, 1] * 3)
    generator = Brighter(1, 2, width=4, depth=1, bounds=(0.0, 1.0))
    settings = TrainingSettings(adversarial=1.0, sparsity=1.0, cycle=2.0, identity=3.0)
    total, parts = of_generator(linear(0.0), generator, x, y, 1 - y, generator(x, 1 - y), torch.zeros_like(x), settings)
    assert {name: pytest.approx(float(part.detach())) for name, part in parts.items()} == {
        "adversarial": math.log(3), "sparsity": 0.1, "cycle": 0.2, "identity": 0.1,
    }  # fmt: skip
    assert float(total.detach()) == pytest.approx(math.log(3) + 0.1 + 0.4 + 0.3)
    assert {*parts, "real", "fake", "r1", "augment"} == set(NAMES)
