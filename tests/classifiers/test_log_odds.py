"""Log-odds of every class at once."""

from __future__ import annotations

import pytest
import torch

from ce_detect.classifiers.log_odds import every_log_odds, log_odds


@pytest.mark.parametrize("multi_label", [False, True])
def test_log_odds_of_every_class_are_those_of_each(multi_label: bool) -> None:
    """Also where one class has nearly all of the probability, which 1 - p would round away."""
    z = torch.tensor([[1.0, -2.0, 0.5, 3.0], [40.0, 0.0, -5.0, 2.0], [7.0, 7.0, 7.0, 7.0]])
    found = every_log_odds(z, multi_label=multi_label)
    for label in range(4):
        expected = log_odds(z, torch.full((3,), label), multi_label=multi_label)
        torch.testing.assert_close(found[:, label], expected)


def test_log_odds_of_every_class_are_exact_where_one_is_certain() -> None:
    """Against float64, also where a probability is 1 in float32."""
    z = torch.tensor([[30.0, 0.0, -1.0], [0.2, 0.1, 0.0]])
    exact = z.double()
    expected = torch.stack([exact[:, k] - exact[:, [j for j in range(3) if j != k]].logsumexp(1) for k in range(3)], 1)
    torch.testing.assert_close(every_log_odds(z).double(), expected, rtol=1e-5, atol=1e-5)
