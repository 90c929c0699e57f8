"""A robust copy before training: what it makes of the whole image, and of a smaller one."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from support.gates import demo
from torch import Tensor, nn

from ce_detect import CalibrationError, load_data
from ce_detect.classifiers.wrapping import wrap
from ce_detect.interventions import RobustCopy, from_spec
from ce_detect.interventions.resolution import resize


def fresh() -> Tensor:
    """Images of the demonstration."""
    return torch.from_numpy(np.asarray(load_data("demo", limit=8).x))


@pytest.mark.parametrize("scale", [1.0, 0.75, 0.5])
def test_copy_sees_what_the_classifier_would_see_of_an_image_of_that_size(scale: float) -> None:
    """With the classifier's weights it reads a smaller image as the classifier does."""
    copy = RobustCopy(site=demo().sites[-1], scale=scale)
    copy.attach(demo())
    x = fresh()
    expected = demo().logits(resize(x, scale))
    torch.testing.assert_close(demo().resume(copy.site, copy(x), x), expected, rtol=1e-4, atol=1e-4)


def test_size_is_kept_in_the_specification_and_the_name() -> None:
    """A whole copy is named as in artifacts that were made before copies had sizes."""
    whole, half = RobustCopy(site="x"), RobustCopy(site="x", scale=0.5)
    assert whole.name == "RobustCopy()@x"
    assert half.name == "RobustCopy(scale=0.5)@x"
    for copy in (whole, half):
        made = from_spec(copy.spec())
        assert isinstance(made, RobustCopy)
        assert made.scale == copy.scale


class OneSize(nn.Module):
    """A linear layer on pixels takes one size alone."""

    def __init__(self) -> None:
        super().__init__()
        self.hidden, self.out = nn.Linear(64, 16), nn.Linear(16, 3)

    def forward(self, x: Tensor) -> Tensor:
        z: Tensor = self.out(self.hidden(x.flatten(1)).relu())
        return z


def test_classifier_of_one_size_has_no_smaller_copy() -> None:
    """It says so."""
    classifier = wrap(OneSize().eval(), input_shape=(1, 8, 8), bounds=(0.0, 1.0))
    with pytest.raises(CalibrationError, match="one size alone"):
        RobustCopy(site=classifier.sites[-1], scale=0.5).attach(classifier)
