"""The two networks: shapes, bounds, log-odds of "fake", and what is kept of a classifier of one's own."""

from __future__ import annotations

import math

import pytest
import torch
from support.digits import DigitCNN, DigitWary, classifier_of_digits, digits

from ce_detect.classifiers.wrapping import wrap
from ce_detect.core.errors import ModelError
from ce_detect.counterfactual.networks import ClassLogits, Generator, Trunk, fakeness, kplusone, runner_up

BOUNDS = (0.0, 255.0)


@pytest.mark.parametrize("sides", [(8, 8), (28, 28), (13, 11)])
@pytest.mark.parametrize("depth", [1, 3])
def test_sides_need_not_be_multiples_of_anything(sides: tuple[int, int], depth: int) -> None:
    """Both networks take any image; a counterfactual has its size, and stays within the bounds."""
    x = torch.rand(3, 2, *sides, generator=torch.Generator().manual_seed(0)) * 255
    generator = Generator(2, 4, width=4, depth=depth, bounds=BOUNDS)
    made = generator(x, torch.tensor([0, 3, 1])).detach()
    assert made.shape == x.shape
    assert float(made.min()) >= 0
    assert float(made.max()) <= 255
    assert kplusone(None, 2, 4, width=4, depth=depth, bounds=BOUNDS)(x).shape == (3, 5)


def test_a_closed_mask_leaves_the_image_as_it_is() -> None:
    """What the mask does not open, the content cannot change."""
    generator = Generator(1, 2, width=4, depth=1, bounds=(0.0, 1.0))
    x = torch.rand(2, 1, 8, 8)
    with torch.no_grad():
        generator.mask.weight.zero_()
        generator.mask.bias.fill_(-200.0)
        assert torch.equal(generator(x, torch.tensor([0, 1])), x)
        generator.mask.bias.fill_(200.0)
        assert not torch.allclose(generator(x, torch.tensor([0, 1])), x, atol=0.01)


def test_the_target_matters() -> None:
    """Another class gives another image, and the company of an image does not."""
    generator = Generator(1, 2, width=4, depth=1, bounds=(0.0, 1.0))
    x = torch.rand(5, 1, 8, 8)
    as_zero, as_one = (generator(x, torch.full((5,), label)) for label in (0, 1))
    assert not torch.allclose(as_zero, as_one)
    torch.testing.assert_close(generator(x[2:3], torch.tensor([1])), as_one[2:3], rtol=1e-5, atol=1e-6)


def test_fakeness_is_the_log_odds_of_the_last_output() -> None:
    """By hand: probabilities of 0.2, 0.3 and 0.5 for "fake" give odds of one."""
    z = torch.tensor([[0.2, 0.3, 0.5], [0.4, 0.4, 0.2]]).log()
    torch.testing.assert_close(fakeness(z), torch.tensor([0.0, math.log(0.2 / 0.8)]))
    assert runner_up(torch.tensor([[3.0, 1.0, 2.0], [0.0, 5.0, 4.0]])).tolist() == [2, 2]


def test_class_logits_leave_fakeness_out() -> None:
    """What stands in the place of a plain classifier has K outputs."""
    network = kplusone(None, 1, 3, width=4, depth=1, bounds=(0.0, 1.0))
    x = torch.rand(2, 1, 8, 8)
    assert torch.equal(ClassLogits(network)(x), network(x)[:, :3])


def test_a_trunk_tells_how_many_features_it_has() -> None:
    """Mean and largest value of each channel."""
    trunk = Trunk(1, width=4, depth=2, bounds=(0.0, 1.0))
    assert trunk(torch.rand(2, 1, 9, 9)).shape == (2, trunk.features)


def test_a_classifier_of_ones_own_keeps_its_decisions() -> None:
    """With one output added the K logits are at first those of the classifier, whose own weights stay untouched."""
    model = classifier_of_digits(DigitCNN)
    classifier = wrap(model, input_shape=(1, 8, 8), bounds=(0.0, 1.0))
    network = kplusone(classifier, 1, 10, width=4, depth=1, bounds=(0.0, 1.0))
    x = torch.from_numpy(digits()[0][1000:1040])
    with torch.no_grad():
        torch.testing.assert_close(network(x)[:, :10], model(x), rtol=1e-4, atol=1e-4)
        for weights in network.parameters():
            weights.add_(1.0)
        torch.testing.assert_close(classifier.logits(x), model(x), rtol=1e-4, atol=1e-4)


def test_a_classifier_that_cannot_be_copied_is_refused() -> None:
    """With what to do in its place."""
    wary = wrap(classifier_of_digits(DigitWary), input_shape=(1, 8, 8), bounds=(0.0, 1.0))
    with pytest.raises(ModelError, match=r"no linear last layer was found.*trained from scratch"):
        kplusone(wary, 1, 10, width=4, depth=1, bounds=(0.0, 1.0))
