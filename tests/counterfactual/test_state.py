"""A training between two steps: what is kept is all there is."""

from __future__ import annotations

import numpy as np
import torch
from support.counterfactuals import SHORT, trained

from ce_detect.counterfactual.model import untrained
from ce_detect.counterfactual.settings import TrainingSettings
from ce_detect.counterfactual.state import State


def stepped(settings: TrainingSettings = SHORT) -> State:
    """A state after a step of both optimisers."""
    state = State(*untrained(trained().manifest, None), settings)
    x = torch.rand(4, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    (state.network(x).square().mean() + state.generator(x, torch.ones(4, dtype=torch.int64)).mean()).backward()
    for optimiser in state.optimisers.values():
        optimiser.step()
    state.average()
    state.step, state.losses = 1, [[float(i) for i in range(8)]]
    return state


def test_what_is_kept_makes_the_state_again() -> None:
    """Weights, moments, averages, losses and the number of the step, in the shapes that are told beforehand."""
    before, after = stepped(), State(*untrained(trained().manifest, None), SHORT)
    kept = before.arrays()
    shapes = after.shapes()
    assert kept.keys() == shapes.keys()
    for name, shape in shapes.items():
        assert all(wanted in (None, size) for wanted, size in zip(shape, kept[name].shape, strict=True)), name
    after.resume(kept)
    again = after.arrays()
    for name, value in kept.items():
        np.testing.assert_array_equal(value, again[name], err_msg=name)
    assert (after.step, after.losses) == (1, before.losses)


def test_a_frozen_classifier_trains_one_output() -> None:
    """Nothing else of the K+1 network moves."""
    state = stepped(TrainingSettings(**{**SHORT.plain(), "frozen": True}))
    fresh = untrained(trained().manifest, None)[0]
    moved = {
        name for name, value in state.network.state_dict().items() if not torch.equal(value, fresh.state_dict()[name])
    }
    assert moved == {"fake.weight", "fake.bias"}
