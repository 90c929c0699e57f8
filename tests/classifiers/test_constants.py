"""What does not depend on pixels is computed once."""

from __future__ import annotations

import pytest
import torch
from support.awkward import CUT, SHAPE, cnn
from torch import nn

from ce_detect.classifiers.capture import capture
from ce_detect.classifiers.fx_nodes import CONVOLUTIONS


@pytest.mark.parametrize("name", ["weight norm", "spectral norm", "pruned", "weight standardisation"])
def test_computed_weights_are_stored(name: str) -> None:
    """Every convolution of the graph reads a stored weight, and nothing is left that computes one."""
    model = CUT[name]()
    before = {path: value.clone() for path, value in model.state_dict().items()}
    with torch.no_grad():
        graph = capture(model, torch.rand(2, *SHAPE)).graph
    weights = [node.args[1] for node in graph.nodes if node.target in CONVOLUTIONS]
    assert len(weights) == 3
    assert all(weight.op == "get_attr" for weight in weights)  # type: ignore[union-attr]
    assert len([node for node in graph.nodes if node.op == "call_function"]) <= 12
    assert all(torch.equal(value, before[path]) for path, value in model.state_dict().items())


def test_a_mask_that_takes_only_its_size_from_a_map_is_stored() -> None:
    """Nothing is left that draws it; a batch of zeros still takes its size from the input."""
    with torch.no_grad():
        graph = capture(CUT["masks"](), torch.rand(2, *SHAPE)).graph
    names = {str(node.target).split(".")[1] for node in graph.nodes if node.op == "call_function"}
    assert names == {
        "adaptive_avg_pool2d",
        "add",
        "conv2d",
        "linear",
        "masked_fill",
        "relu",
        "reshape",
        "sym_size",
        "zeros_like",
    }


class Draws(nn.Module):
    """Adds noise from a seed that it sets each time."""

    def __init__(self) -> None:
        super().__init__()
        self.net = cnn()
        self.eval()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return logits of noisy pixels."""
        z: torch.Tensor = self.net(x + 0 * torch.rand(3, 1, 1))
        return z


def test_what_is_drawn_is_not_stored() -> None:
    """A random number is another each time."""
    with torch.no_grad():
        graph = capture(Draws(), torch.rand(2, *SHAPE)).graph
    assert any("rand" in str(node.target) for node in graph.nodes)
