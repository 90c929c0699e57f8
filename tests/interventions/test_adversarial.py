"""Steps along a gradient, and one perturbation for all inputs."""

from __future__ import annotations

from functools import partial

import pytest
import torch
from support.interventions import small_network, tokens
from torch import Tensor

from ce_detect.classifiers.log_odds import log_odds
from ce_detect.core.errors import UsageError
from ce_detect.interventions import LearnedIntervention, from_spec


@pytest.mark.parametrize("norm", ["sign", "l2"])
@pytest.mark.parametrize("toward", [False, True])
def test_gradient_step_moves_the_log_odds_where_it_says(norm: str, toward: bool) -> None:
    """Against the decision the log-odds fall, in favour they rise, by a step of the length that was asked for."""
    h = tokens()
    step = from_spec({"kind": "GradientStep", "site": "a", "strength": 0.01, "norm": norm, "toward": toward})
    out = step(h, small_network)
    z, z_do = small_network(h), small_network(out)
    change = log_odds(z_do, z.argmax(1)) - log_odds(z, z.argmax(1))
    assert ((change > 0) == toward).all()
    length = (out - h).square().mean((1, 2)).sqrt() / h.std((1, 2))
    torch.testing.assert_close(length, torch.full((7,), 0.01), rtol=1e-2, atol=1e-4)


def test_gradient_step_under_inference_mode_is_the_same() -> None:
    """The gate runs without gradients; the step takes its own, and leaves an ordinary tensor and no graph behind."""
    h = tokens()
    step = from_spec({"kind": "GradientStep", "site": "a"})
    expected = step(h, small_network)
    with torch.inference_mode():
        inside = step(h.clone(), small_network)
    torch.testing.assert_close(inside, expected)
    assert not expected.requires_grad


def test_gradient_step_can_itself_be_differentiated() -> None:
    """An adaptive attacker gets the true gradient: that of finite differences, second derivatives included."""
    h = tokens()[2:3].double().requires_grad_(True)

    def network(t: Tensor) -> Tensor:
        return torch.tanh(t.flatten(1) @ torch.linspace(-1, 1, 160, dtype=torch.float64).view(40, 4).sin())

    step = from_spec({"kind": "GradientStep", "site": "a", "strength": 0.5, "norm": "l2"})
    assert torch.autograd.gradcheck(lambda t: network(step(t, network)), (h,))


def test_gradient_step_refuses_to_be_exported_or_to_guess() -> None:
    """A graph has no gradients, and a step needs a classifier; both errors say what to do."""
    step = from_spec({"kind": "GradientStep", "site": "a"})
    with pytest.raises(UsageError, match="give it resume"):
        step(tokens())
    step.forward = partial(step.forward, resume=small_network)  # type: ignore[method-assign]
    with pytest.raises(UsageError, match="cannot be exported"):
        torch.export.export(step, (tokens(),), strict=False)


def test_universal_perturbation_is_clipped_to_the_bounds() -> None:
    """It is in units of the pixel range, and pixels stay within the bounds."""
    made = from_spec({"kind": "UniversalPerturbation", "shape": "1x2x2", "eps": 0.1, "low": 0.0, "high": 255.0})
    assert isinstance(made, LearnedIntervention)
    with torch.no_grad():
        made.perturbation.fill_(0.5)
        made.project()
    out = made(torch.tensor([0.0, 100.0, 250.0, 255.0]).view(1, 1, 2, 2))
    torch.testing.assert_close(out.flatten(), torch.tensor([25.5, 125.5, 255.0, 255.0]))
