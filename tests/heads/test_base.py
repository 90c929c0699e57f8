"""What holds for every head, and how features are squashed."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from support.heads import CENTER, SCALE, data, fitted, mlp, network_head

from ce_detect.heads.base import LEFT_OUT, Head, squashing
from ce_detect.heads.cascade import CascadedHead
from ce_detect.heads.disagreement import DisagreementHead
from ce_detect.heads.fusion import FusedHead
from ce_detect.heads.mahalanobis import DistanceHead


def heads() -> list[Head]:
    """At least one head of each kind."""
    linear = network_head(fitted(LogisticRegression(), data()), [])
    both = network_head(fitted(LogisticRegression(), data()), [fitted(mlp(seed), data()) for seed in range(2)])
    distance = DistanceHead(CENTER, SCALE, torch.zeros(5), 2 * torch.ones(5), 0.3 * torch.ones(5, 2))
    fused = FusedHead(both, distance, 1.0, 2.0)
    return [
        linear, both, distance, fused, DisagreementHead(fused, effect=0, odds=1),
        CascadedHead(DistanceHead(*(torch.ones(2) for _ in range(4)), torch.zeros(2, 1)), fused, level=1.0),
    ]  # fmt: skip


def test_batch_of_one_equals_a_row() -> None:
    """A signature gets the same score alone, in company and in another order."""
    x = torch.from_numpy(data()[0])
    for head in heads():
        scores = head(x)
        assert head(x[7:8]).shape == (1,)
        torch.testing.assert_close(head(x[7:8]), scores[7:8], rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(head(x.flip(0)), scores.flip(0), rtol=1e-4, atol=1e-5)


def test_gradients_reach_every_feature() -> None:
    """Each score has a finite gradient in each feature."""
    for head in heads():
        x = torch.from_numpy(data()[0]).requires_grad_(True)
        (gradient,) = torch.autograd.grad(head(x).sum(), x)
        assert torch.isfinite(gradient).all()
        assert gradient.abs().amax(0).gt(0).all()


def test_squashing_centres_and_scales_by_quantiles() -> None:
    """One wild value moves neither centre nor scale; a constant feature gets a scale that is not zero."""
    rng = np.random.default_rng(1)
    clean = np.stack([rng.normal(3, 2, 1001), np.full(1001, 7.0), np.r_[np.zeros(900), rng.normal(size=101)]], axis=1)
    clean[0, 0] = 1e4
    center, scale = squashing(clean)
    np.testing.assert_allclose(center, [3, 7, 0], atol=0.2)
    assert float(scale[0]) == pytest.approx(2 * 1.349, rel=0.1)
    assert (scale > 0).all()
    assert torch.isfinite((torch.from_numpy(clean) - center) / scale).all()


def test_features_within_their_rounding_are_left_out() -> None:
    """They are zero once squashed, whatever they are; others are as without it."""
    clean = np.random.default_rng(0).normal(size=(500, 2)) * [1.0, 1e-6]
    center, scale = squashing(clean, np.array([1e-6, 1e-6]))
    assert float(scale[0]) == float(squashing(clean)[1][0])
    assert float(scale[1]) == LEFT_OUT
    assert abs(float(Head(center, scale).squash(torch.tensor([[0.0, 5.0]]))[0, 1])) < 1e-20


def test_log_likelihood_ratio_is_a_line() -> None:
    """Platt scaling: slope times score plus offset, NaN where no attack was seen."""
    head = DistanceHead(CENTER, SCALE, torch.zeros(5), torch.ones(5), torch.zeros(5, 1))
    score = torch.tensor([0.0, 1.0, 2.0])
    assert head.log_likelihood_ratio(score).isnan().all()
    head.slope.fill_(3.0)
    head.offset.fill_(-1.0)
    assert head.log_likelihood_ratio(score).tolist() == [-1, 2, 5]
