"""Two heads in one score, on a scale of clean inputs."""

from __future__ import annotations

import pytest
import torch
from sklearn.linear_model import LogisticRegression
from support.heads import CENTER, SCALE, data, fitted, mlp, network_head

from ce_detect.heads.fusion import FusedHead
from ce_detect.heads.mahalanobis import DistanceHead


def test_a_fused_head_is_the_mean_of_its_three_scores() -> None:
    """Linear log-odds, networks' log-odds and the standardised distance count alike; without networks, two do."""
    x = torch.from_numpy(data()[0])
    linear, networks = fitted(LogisticRegression(), data()), [fitted(mlp(0), data())]
    clean = DistanceHead(CENTER, SCALE, torch.zeros(5), torch.ones(5), torch.zeros(5, 1))
    unusual = (clean(x) - 2.0) / 0.5
    log_odds = network_head(linear, [])(x)
    both = network_head(linear, networks)
    torch.testing.assert_close(FusedHead(network_head(linear, []), clean, 2.0, 0.5)(x), (log_odds + unusual) / 2)
    torch.testing.assert_close(FusedHead(both, clean, 2.0, 0.5)(x), (2 * both(x) + unusual) / 3)


def test_a_standardised_score_counts_in_spreads_of_clean_inputs() -> None:
    """Median 0 and interquartile range 1 on the clean inputs it was given, in the same order as before."""
    x = torch.from_numpy(data()[0])
    clean = DistanceHead(CENTER, SCALE, torch.zeros(5), torch.ones(5), torch.zeros(5, 1))
    head = FusedHead(network_head(fitted(LogisticRegression(), data()), []), clean, 2.0, 0.5)
    before = head(x)
    head.standardise(x[:200])
    low, middle, high = head(x)[:200].quantile(torch.tensor([0.25, 0.5, 0.75])).tolist()
    assert middle == pytest.approx(0, abs=1e-5)
    assert high - low == pytest.approx(1, rel=1e-4)
    assert torch.equal(head(x).argsort(stable=True), before.argsort(stable=True))
