"""What carried a score: shares that sum to it, exact ones of a linear head, and words."""

from __future__ import annotations

import inspect
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from support.calibrated import fresh, guard
from torch import Tensor

from ce_detect.core.errors import InputError
from ce_detect.explain.attribution import carried, parts_of
from ce_detect.explain.words import WORDS
from ce_detect.interventions import kinds


def signatures(count: int) -> Tensor:
    """Of some attacked images."""
    gate, x = guard().gate, torch.from_numpy(fresh()[1][:count])
    with torch.no_grad():
        features: Tensor = gate.signature(x)[1]
    return features


def test_shares_sum_to_the_score_above_the_median_signature() -> None:
    """Completeness, the axiom of integrated gradients."""
    features = signatures(5)
    head = guard().gate.head
    with torch.inference_mode():
        expected = head(features) - head(head.center[None])
    sums = [sum(part.share for part in parts) for parts in carried(guard().gate, features)]
    np.testing.assert_allclose(sums, expected, rtol=0.03, atol=0.03)


def test_parts_cover_every_feature_once() -> None:
    """Nothing counts twice, and nothing is left out."""
    signature = guard().gate.signature
    columns = [column for part in parts_of(signature).values() for column in part]
    assert sorted(columns) == list(range(len(signature.names)))


def test_a_head_of_one_feature_credits_its_part_alone() -> None:
    """Of a head that looks at one effect, the intervention has all of the score, exactly."""
    gate = guard().gate
    column = gate.signature.names.index("Flip(scale=1.0)@input.target effect")
    head = gate.head

    class OneFeature(torch.nn.Module):
        center, scale = head.center, head.scale

        def forward(self, features: Tensor) -> Tensor:
            return 2 * features[:, column]

    features = signatures(3)
    alone: Any = SimpleNamespace(head=OneFeature(), signature=gate.signature)
    for parts, row in zip(carried(alone, features), features, strict=True):
        shares = {part.name: part.share for part in parts}
        expected = 2 * float(row[column] - head.center[column])
        assert shares.pop("Flip(scale=1.0)@input") == pytest.approx(expected, rel=1e-4)
        assert set(shares.values()) == {0.0}


def test_words_say_what_moved_and_what_is_usual() -> None:
    """The intervention, its effect, the range of clean inputs, and the share; parts of the free statistics alike."""
    parts = carried(guard().gate, signatures(1))[0]
    assert [part.share for part in parts] == sorted((part.share for part in parts), reverse=True)
    flip = next(part for part in parts if part.effect is not None)
    assert flip.usual is not None
    assert flip.words.startswith("after do(exchange left and right) the top label ")
    assert f"by {abs(flip.usual[0]):.1f} log-odds, with an interquartile range of {flip.usual[1]:.1f}" in flip.words
    assert all("the score" in part.words for part in parts)


def test_every_kind_of_intervention_has_words() -> None:
    """That name settings which the kind has."""
    assert set(WORDS) == set(kinds())
    for name, cls in kinds().items():
        known = {**dict.fromkeys(inspect.signature(cls.__init__).parameters, 1)}
        assert WORDS[name].format(**known)


def test_an_explanation_refuses_what_a_gate_refuses() -> None:
    """NaN, and another shape."""
    for x in (np.full((1, 1, 28, 28), np.nan, np.float32), np.zeros((1, 1, 27, 28), np.float32)):
        with pytest.raises(InputError):
            guard().explain(x)
