"""Guided backpropagation through a captured graph is that through the modules that it was captured from."""

from __future__ import annotations

import warnings

import torch
from captum.attr import GuidedBackprop
from support.models import tiny_classifier, tiny_images, tiny_model
from torch import nn

from ce_detect.classifiers.wrapping import wrap
from ce_detect.explain.methods import method


def captums(model: nn.Module, x: torch.Tensor, label: int) -> torch.Tensor:
    """Captum's own on a model with ReLU modules."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found: torch.Tensor = GuidedBackprop(model).attribute(x.clone().requires_grad_(), target=label)
    return found.abs().sum(1)


def test_the_captured_graph_gives_what_the_modules_give() -> None:
    """And not the plain gradient, which Captum would give of a graph without modules."""
    x = tiny_images("plain", 2)
    found = method("guided-backpropagation").maps(tiny_classifier("plain"), x, [1, 1])
    expected = captums(tiny_model("plain"), x, 1)
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-4)
    pixels = x.clone().requires_grad_()
    (plain,) = torch.autograd.grad(tiny_classifier("plain").logits(pixels)[:, 1].sum(), pixels)
    assert (found - plain.abs().sum(1)).abs().max() > 0.01


def test_relus_with_a_ceiling_are_guided_too() -> None:
    """As mobile networks have them: below the ceiling a ReLU6 is a ReLU."""

    def model(relu: nn.Module) -> nn.Module:
        with torch.random.fork_rng():
            torch.manual_seed(0)
            layers = [nn.Conv2d(1, 4, 3), relu, nn.Conv2d(4, 4, 3), relu, nn.Flatten(), nn.Linear(64, 2)]
        return nn.Sequential(*layers).eval()

    x = torch.rand(1, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    maps = [
        method("guided-backpropagation").maps(wrap(model(relu), input_shape=(1, 8, 8), bounds=(0.0, 1.0)), x, [0])
        for relu in (nn.ReLU(), nn.ReLU6())
    ]
    torch.testing.assert_close(*maps, rtol=1e-4, atol=1e-5)
