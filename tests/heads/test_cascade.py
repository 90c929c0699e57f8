"""Two heads in a cascade: what they say, what an attacker follows, and the promise that their threshold keeps."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from support.cascades import of_columns

from ce_detect.verdict import conformal

Tensor = torch.Tensor


def test_cleared_inputs_have_the_first_score_and_others_the_second() -> None:
    """A score that is not a number clears nothing."""
    features = torch.tensor([[-1.0, 5.0], [0.0, 5.0], [0.1, -3.0], [torch.nan, 2.0]])
    assert of_columns()(features).tolist() == pytest.approx([-1.0, 0.0, -3.0, 2.0])


@given(
    st.lists(st.tuples(st.floats(-4, 4, width=32), st.floats(-4, 4, width=32)), min_size=1, max_size=20),
    st.floats(-3, 3, width=32) | st.just(0.0), st.floats(-3, 3, width=32),
)  # fmt: skip
def test_what_an_attacker_follows_is_flagged_as_the_score_is(
    rows: list[tuple[float, float]], level: float, threshold: float
) -> None:
    """The shortest way below the threshold lies below it exactly where the verdict does."""
    head, features = of_columns(level), torch.tensor(rows, dtype=torch.float32)
    assert torch.equal(head.near(features, threshold) > threshold, head(features) > threshold)


@pytest.mark.parametrize(
    ("level", "threshold", "first", "second", "flagged"),
    [
        (0.0, 2.0, 1e-8, 5.0, True),
        (0.0, 3.0, 1e-45, 4.0, True),
        (0.1, 2.0, 0.1000001, 5.0, True),
        (0.1, 2.0, 0.1, 5.0, False),
    ],
)
def test_rounding_does_not_let_an_attacker_past(
    level: float, threshold: float, first: float, second: float, flagged: bool
) -> None:
    """Just above the level an input is flagged, however the way down to it rounds."""
    head, features = of_columns(level), torch.tensor([[first, second]])
    assert (head(features) > threshold).tolist() == [flagged]
    assert (head.near(features, threshold) > threshold).tolist() == [flagged]


def test_an_attacker_sees_both_ways_past() -> None:
    """The gradient is that of the head which is nearer to letting the input through."""
    features = torch.tensor([[0.5, 5.0], [5.0, 2.5]], requires_grad=True)
    (slope,) = torch.autograd.grad(of_columns().near(features, 2.0).sum(), features)
    assert slope.tolist() == [[1.0, 0.0], [0.0, 1.0]]


def test_promise_holds_with_a_cascade() -> None:
    """Of many calibrations on clean scores of a cascade, no more exceed the rate than were promised.

    The level is fixed, so the score is one function of the input, whatever it jumps by; here the second head thinks
    otherwise of the inputs that are left than the first.
    """
    generator = torch.Generator().manual_seed(0)
    head, fpr, n = of_columns(level=0.25), 0.1, 120

    def scores(count: int) -> Any:
        first = torch.randn(count, generator=generator)
        return head(torch.stack([first, 0.3 * first + torch.randn(count, generator=generator)], dim=1)).numpy()

    population = np.sort(scores(400_000))
    rates = []
    for _ in range(600):
        threshold = conformal.threshold(scores(n), fpr, confidence=0.9)
        rates.append(1 - np.searchsorted(population, threshold, side="right") / len(population))
    exceeded = np.mean(np.asarray(rates) > fpr)
    assert exceeded <= 0.1 + 3 * np.sqrt(0.1 * 0.9 / 600)
    assert exceeded > 0.02  # the promise is not kept by flagging nothing
