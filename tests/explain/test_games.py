"""Games and scores of maps: small cases by hand."""

from __future__ import annotations

import math

import pytest
import torch
from support.explained import linear
from support.models import tiny_classifier, tiny_images

from ce_detect.core.errors import InputError
from ce_detect.explain.games import area, class_distortion, deletion, insertion, overlap, pointing, ranks
from ce_detect.explain.methods import method
from ce_detect.explain.methods.mask_optimization import blurred


def sigmoid(z: float) -> float:
    """Probability of class 1 where the logits are ``-z / 2`` and ``z / 2``."""
    return 1 / (1 + math.exp(-z))


def test_deletion_of_two_pixels_by_hand() -> None:
    """Pixels 1 and 0 with weights 2 and 0: the first step puts the mean, a half, in the place of the first pixel."""
    weight = torch.tensor([[2.0, 0.0]])
    x, labels = torch.tensor([[[[1.0, 0.0]]]]), torch.tensor([1])
    first = torch.tensor([[[2.0, 1.0]]])
    found = deletion(linear(weight), x, labels, first, steps=2)
    start, end = sigmoid(4.0), sigmoid(2.0)  # logits are -2 and 2, then -1 and 1
    assert float(found) == pytest.approx((start + end) / 4 + end / 2, rel=1e-5)
    last = deletion(linear(weight), x, labels, -first, steps=2)
    assert float(last) == pytest.approx(start / 2 + (start + end) / 4, rel=1e-5)


def test_insertion_is_deletion_backwards_from_a_blurred_picture() -> None:
    """By the formula, on a picture of one row and two steps."""
    weight = torch.tensor([[1.0, -2.0]])
    x, labels = torch.tensor([[[[1.0, 0.0]]]]), torch.tensor([1])
    hidden = blurred(x)[0, 0, 0]
    z = [2 * float(pixels @ weight[0]) for pixels in (hidden, torch.stack([x[0, 0, 0, 0], hidden[1]]), x[0, 0, 0])]
    expected = sigmoid(z[0]) / 4 + sigmoid(z[1]) / 2 + sigmoid(z[2]) / 4
    found = insertion(linear(weight), x, labels, torch.tensor([[[1.0, 0.0]]]), steps=2)
    assert float(found) == pytest.approx(expected, rel=1e-5)


def test_the_true_weights_win_the_games_on_a_linear_model() -> None:
    """Effects that are exact are the best map, and the opposite map is the worst."""
    weight = torch.randn(8, 8, generator=torch.Generator().manual_seed(0))
    x = torch.rand(4, 1, 8, 8, generator=torch.Generator().manual_seed(1))
    classifier, labels = linear(weight / 4), torch.ones(4, dtype=torch.int64)
    exact = (x[:, 0] - x.mean((1, 2, 3))[:, None, None]) * weight
    best, worst = (deletion(classifier, x, labels, sign * exact) for sign in (1, -1))
    for name in ("effect-map", "input-x-gradient", "rise"):
        found = deletion(classifier, x, labels, method(name).maps(classifier, x, labels))
        assert bool((best <= found + 1e-5).all())
        assert float(found.mean()) < float(worst.mean())


def test_class_distortion_by_hand() -> None:
    """Two classes: what the label loses the other gains, so that the score is twice the fall of the log-odds."""
    weight = torch.zeros(4, 4)
    weight[0, 0] = 1.0
    x = torch.rand(1, 1, 4, 4, generator=torch.Generator().manual_seed(0))
    maps = torch.zeros(1, 4, 4)
    maps[0, 0, 0] = 1.0
    found = class_distortion(linear(weight), x, torch.tensor([1]), maps, share=1 / 16)
    fall = 2 * float(x[0, 0, 0, 0] - blurred(x)[0, 0, 0, 0])
    assert float(found.log_odds) == pytest.approx(2 * fall, rel=1e-4)
    assert float(found.ratio) == pytest.approx(math.log(2), rel=1e-3)  # both classes move alike


def test_class_distortion_of_many_classes_is_the_formula() -> None:
    """In double precision, class by class."""
    classifier, x = tiny_classifier("plain"), tiny_images("plain", 1)
    maps = method("effect-map").maps(classifier, x, [2])
    found = class_distortion(classifier, x, torch.tensor([2]), maps)
    changed = torch.where((ranks(maps, x) < 0.2 * 256)[:, None], blurred(x), x)
    with torch.no_grad():
        p, q = (classifier.logits(pixels)[0].double().softmax(0) for pixels in (x, changed))
    fall = (p / (1 - p)).log() - (q / (1 - q)).log()
    kl = p * (p / q).log() + (1 - p) * ((1 - p) / (1 - q)).log()
    others = [0, 1, 3]
    assert float(found.log_odds) == pytest.approx(float(fall[2] - fall[others].mean()), rel=1e-3)
    assert float(found.ratio) == pytest.approx(float((kl[2] / kl[others].mean() + 1).log()), rel=1e-2)


def test_the_area_is_that_of_trapezoids() -> None:
    """A straight line from 1 to 0 has a half under it."""
    assert float(area(torch.tensor([[1.0, 0.5, 0.0]]))) == pytest.approx(0.5)
    assert float(area(torch.tensor([[1.0, 1.0, 0.0]]))) == pytest.approx(0.75)


def test_overlap_takes_as_many_pixels_as_the_truth_has() -> None:
    """One of two in common is a third of the union."""
    truth = torch.tensor([[[True, True, False, False]]])
    assert float(overlap(torch.tensor([[[4.0, 1.0, 3.0, 0.0]]]), truth)) == pytest.approx(1 / 3)
    assert float(overlap(torch.tensor([[[4.0, 3.0, 1.0, 0.0]]]), truth)) == 1.0
    assert pointing(torch.tensor([[[0.0, 9.0, 3.0, 0.0]]]), truth).tolist() == [True]
    assert pointing(torch.tensor([[[0.0, 1.0, 3.0, 0.0]]]), truth).tolist() == [False]


def test_equal_pixels_are_ranked_at_random() -> None:
    """A map that says nothing must not profit from where its pixels stand."""
    rank = ranks(torch.zeros(1, 16, 16), torch.zeros(1, 3, 16, 16))
    assert sorted(rank.flatten().tolist()) == list(range(256))
    assert abs(float(rank[0, :8].float().mean()) - 127.5) < 15


@pytest.mark.parametrize(
    ("maps", "said"),
    [(torch.zeros(1, 15, 16), "expected \\(1, 16, 16\\)"), (torch.full((1, 16, 16), torch.nan), "a map has NaN")],
)
def test_maps_that_are_no_order_are_refused(maps: torch.Tensor, said: str) -> None:
    """Of another size, or without numbers."""
    with pytest.raises(InputError, match=said):
        deletion(tiny_classifier("plain"), tiny_images("plain", 1), torch.tensor([0]), maps)
