"""Robust Perturbation: the terms of the objective by hand, for softmax and for sigmoids."""

from __future__ import annotations

import math

import pytest
import torch
from support.models import tiny_classifier, tiny_images

from ce_detect.explain.methods.mask_optimization import variation
from ce_detect.explain.methods.robust_perturbation import RobustPerturbation, terms


def logits(*probabilities: float) -> torch.Tensor:
    """Logits whose softmax these are."""
    return torch.tensor([probabilities]).log()


def distance(p: float, q: float) -> float:
    """The bounded distance of two probabilities."""
    return math.log2(abs(p - q) + 1)


def test_terms_of_a_softmax_by_hand() -> None:
    """The others' predictions are taken given that it is not the label: 3 to 1 before, 1 to 1 after."""
    mask = torch.tensor([[[[1.0, 0.5], [1.0, 0.5]]]])
    before, perturbed, reverse = logits(0.6, 0.3, 0.1), logits(0.2, 0.4, 0.4), logits(0.5, 0.25, 0.25)
    found = terms(before, perturbed, reverse, mask, torch.tensor([0]), multi_label=False)
    assert float(found.target) == pytest.approx(distance(0.6, 0.2), rel=1e-5)
    assert float(found.non_target) == pytest.approx(distance(0.75, 0.5) + distance(0.25, 0.5), rel=1e-5)
    assert float(found.reversed_target) == pytest.approx(distance(0.6, 0.5), rel=1e-5)
    assert float(found.reversed_non_target) == pytest.approx(2 * math.log2(1.25), rel=1e-5)
    assert float(found.size) == pytest.approx(0.25)
    assert float(found.variation) == pytest.approx(0.25)
    expected = (
        -found.target + found.non_target + found.reversed_target + found.reversed_non_target + 5 * 0.25 + 20 * 0.25
    )
    torch.testing.assert_close(found.loss(), expected)


def test_terms_of_sigmoids_by_hand() -> None:
    """Each label has a probability of its own, and the others are averaged: the formula of the paper as it stands."""
    mask = torch.ones(1, 1, 2, 2)
    before, perturbed, reverse = (
        torch.tensor([one]).logit() for one in ([0.9, 0.8, 0.1], [0.3, 0.7, 0.1], [0.8, 0.2, 0.4])
    )
    found = terms(before, perturbed, reverse, mask, torch.tensor([0]), multi_label=True)
    assert float(found.target) == pytest.approx(distance(0.9, 0.3), rel=1e-4)
    assert float(found.non_target) == pytest.approx(distance(0.8, 0.7) / 2, rel=1e-4)
    assert float(found.reversed_target) == pytest.approx(distance(0.9, 0.8), rel=1e-4)
    assert float(found.reversed_non_target) == pytest.approx((math.log2(1.2) + math.log2(1.4)) / 2, rel=1e-4)
    assert float(found.size + found.variation) == 0.0


def test_two_classes_of_a_softmax_do_not_cancel() -> None:
    """Given that it is not the label it is the other one, before and after."""
    found = terms(
        logits(0.9, 0.1),
        logits(0.2, 0.8),
        logits(0.9, 0.1),
        torch.ones(1, 1, 2, 2),
        torch.tensor([0]),
        multi_label=False,
    )
    assert float(found.non_target) == 0.0
    assert float(found.target) > 0.5


def test_total_variation_by_hand() -> None:
    """A step of a half in one direction, to the power."""
    mask = torch.tensor([[[[0.0, 0.5], [0.0, 0.5]]]])
    assert float(variation(mask, 2)) == pytest.approx(0.25)
    assert float(variation(mask, 3)) == pytest.approx(0.125)


def test_an_image_may_come_with_several_labels() -> None:
    """Batched over images and classes: a map for each, in [0, 1], the same each time."""
    classifier, x = tiny_classifier("plain"), tiny_images("plain", 1)
    maps = [RobustPerturbation(steps=30).maps(classifier, x.repeat(4, 1, 1, 1), [0, 1, 2, 3]) for _ in range(2)]
    torch.testing.assert_close(*maps, rtol=0, atol=0)
    assert float(maps[0].min()) >= 0.0
    assert float(maps[0].max()) <= 1.0
    assert len({tuple(one.flatten().tolist()) for one in maps[0]}) > 1
