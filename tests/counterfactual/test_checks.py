"""What is wrong before and after a training is found, and told with its remedy."""

from __future__ import annotations

import re
from collections.abc import Callable

import numpy as np
import pytest
import torch
from support.counterfactuals import SHORT, trained, zeros_and_ones
from support.digits import DigitCNN, classifier_of_digits, digits
from torch import Tensor

from ce_detect.core.errors import InputError
from ce_detect.counterfactual import Counterfactual, TrainingSettings, checks, fit
from ce_detect.counterfactual.networks import Generator


@pytest.mark.parametrize(
    ("y", "told"),
    [
        (None, "there are no labels"),
        (lambda y: y * 0 + 1, "all 360 labels are 1: .* give images of two classes"),
        (lambda y: y - 1, "labels from -1 to 0, expected class numbers from 0 on"),
        (lambda y: y * 3, "there is no image of class 1: .*return_inverse"),
        (lambda y: y[:7], "360 images but 7 labels"),
    ],
)
def test_labels_from_which_nothing_can_be_learned(y: Callable[[np.ndarray], np.ndarray] | None, told: str) -> None:
    """None, one class alone, numbers that are no classes, gaps, or as many as there are no images."""
    x, labels = zeros_and_ones()
    with pytest.raises(InputError, match=told):
        fit(x, None if y is None else y(labels), SHORT, progress=False)


def test_images_smaller_than_the_down_sampling() -> None:
    """With the depth that would do, or what to do where none would."""
    x, y = zeros_and_ones()
    with pytest.raises(InputError, match=r"8 x 8 pixels are smaller than the down-sampling: halved 3 times.*depth = 2"):
        fit(x, y, TrainingSettings(depth=3), progress=False)
    with pytest.raises(InputError, match="resize them"):
        fit(x[:, :, :2, :2], y, TrainingSettings(depth=1), progress=False)


def test_too_few_images() -> None:
    """With how many would do."""
    x, y = zeros_and_ones()
    with pytest.raises(InputError, match="20 images are too few for batches of 32: give 64 at least, or a smaller"):
        fit(x[:20], y[:20], TrainingSettings(depth=1), progress=False)


def test_labels_that_do_not_match_the_classifier() -> None:
    """Classes in another order, or more of them than it has."""
    model, (x, y) = classifier_of_digits(DigitCNN), digits()
    with pytest.raises(InputError, match=r"do not match the classifier: it gives \d+% .* order of the classes"):
        fit(x, (y + 1) % 10, SHORT, model=model, progress=False)
    with pytest.raises(InputError, match="labels go up to 10, but the classifier has 10 classes"):
        fit(x, y + 1, SHORT, model=model, progress=False)


class Faulty(Generator):
    """A generator whose images are made by a function."""

    def __init__(self, make: Callable[[Tensor], Tensor]) -> None:
        super().__init__(1, 2, width=4, depth=1, bounds=(0.0, 1.0))
        self.make = make

    def forward(self, x: Tensor, target: Tensor) -> Tensor:
        """Return what the function makes."""
        return self.make(x)


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (lambda x: x + 0.001, "vanishing masks: 100%"),
        (lambda x: torch.zeros_like(x) + torch.linspace(0, 1, 8), "mode collapse: .*Raise cycle"),
        (lambda x: x + torch.linspace(0, 0.1, 8), "mode collapse"),
    ],
)
def test_what_went_wrong_in_a_training(make: Callable[[Tensor], Tensor], told: str) -> None:
    """Masks that vanish, one image for all, and one pattern for all."""
    x, y = zeros_and_ones()
    made = Counterfactual(trained().network, Faulty(make), trained().manifest)
    problems = checks.after(checks.figures(made, x[:60], y[:60]))
    assert any(re.search(told, problem) for problem in problems)


def test_figures_of_a_generator_that_does_nothing() -> None:
    """It changes no pixel, and its images differ as the images do."""
    x, y = zeros_and_ones()
    found = checks.figures(Counterfactual(trained().network, Faulty(lambda x: x), trained().manifest), x, y)
    assert found["unchanged"] == 1
    assert found["changed"] == 0
    assert found["alike"] == pytest.approx(1)
    assert found["fakeness"] == found["fakeness_after"]


def test_nothing_is_said_where_nothing_is_wrong() -> None:
    """And one that has learned nothing is told of."""
    good = {
        "accuracy": 0.97, "majority": 0.5, "reached": 0.9, "changed": 0.05, "unchanged": 0.0, "alike": 0.9,
        "pattern": 0.3, "fakeness": 0.3, "fakeness_after": 0.6,
    }  # fmt: skip
    assert checks.after(good) == ()
    assert "labels do not match the images" in checks.after({**good, "accuracy": 0.5})[0]
    assert "does not convince" in checks.after({**good, "reached": 0.1})[0]
