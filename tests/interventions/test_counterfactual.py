"""do(show as another class): the generator's image of the class that the classifier holds second likeliest."""

from __future__ import annotations

import torch
from support.counterfactuals import trained, zeros_and_ones
from torch import Tensor

from ce_detect.interventions import MakeCounterfactual, from_spec


def test_the_target_is_the_class_that_the_classifier_holds_second_likeliest() -> None:
    """Whatever the K+1 network would say."""
    made, x = trained(), zeros_and_ones()[0][:6]

    def resume(h: Tensor) -> Tensor:
        return torch.tensor([[1.0, 0.0]] * 3 + [[0.0, 1.0]] * 3)[: len(h)]

    shown = MakeCounterfactual.of(made)(torch.from_numpy(x), resume)
    expected = made.generate(x, torch.tensor([1, 1, 1, 0, 0, 0]).numpy()).images
    torch.testing.assert_close(shown, torch.from_numpy(expected), rtol=1e-5, atol=1e-6)


def test_settings_and_state_make_it_again() -> None:
    """As an artifact holds them."""
    made = MakeCounterfactual.of(trained())
    again = from_spec(made.spec())
    again.load_state_dict(made.state_dict())
    assert (
        again.name
        == made.name
        == "MakeCounterfactual(low=0.0, high=1.0, channels=1, classes=2, width=4, depth=1)@input"
    )
    assert {name.partition(".")[0] for name in made.state_dict()} == {"generator"}
