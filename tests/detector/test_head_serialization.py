"""Heads of every kind come back from their kind and their tensors."""

from __future__ import annotations

from functools import partial

import pytest
import torch
from support import random_heads as heads

from ce_detect.artifacts import heads as kinds
from ce_detect.detector.head_serialization import head, kind
from ce_detect.heads.base import Head
from ce_detect.heads.cascade import CascadedHead
from ce_detect.heads.disagreement import DisagreementHead
from ce_detect.heads.fusion import FusedHead

FEATURES, FREE = 12, 5
"""Features in all, and those that the first head of a cascade sees."""

fused = partial(heads.fused, FEATURES)


def smaller(whole: FusedHead) -> Head:
    """The distance of the first features alone."""
    clean = whole.clean
    parts = (clean.center, clean.scale, clean.mean, clean.precision, clean.directions)
    return type(clean)(*(part[:FREE] for part in parts))


HEADS = {
    "network": lambda: fused().network,
    "mahalanobis": lambda: fused().clean,
    "fused": fused,
    "disagreement": lambda: DisagreementHead(fused(), effect=3, odds=1, middle=0.5, width=2.0, meeting=1.5),
    "cascade": lambda: CascadedHead(smaller(fused()), fused(), level=-0.25),
    "cascade of a disagreement": lambda: CascadedHead(
        smaller(fused()), DisagreementHead(fused(), effect=3, odds=1), level=-0.25
    ),
}


@pytest.mark.parametrize("name", HEADS)
def test_a_head_comes_back_with_its_scores(name: str) -> None:
    """Its kind says all that its tensors do not."""
    before = HEADS[name]()
    tensors = {f"head.{key}": value.clone() for key, value in before.state_dict().items()}
    tensors |= {"clean_scores": torch.zeros(3), "clean_only.head.center": torch.zeros(2)}
    again = head(kind(before), tensors, "head.")
    features = torch.randn(7, len(before.center), generator=torch.Generator().manual_seed(0))
    assert type(again) is type(before)
    assert kind(again) == kind(before)
    assert torch.equal(again(features), before(features))


def test_the_parts_of_a_cascade_are_named() -> None:
    """Each of its heads may be of any kind."""
    assert kind(HEADS["cascade of a disagreement"]()) == kinds.Cascade(
        kinds.Mahalanobis(), kinds.Disagreement(kinds.Fused())
    )


def test_a_head_without_a_kind_is_no_artifact() -> None:
    """Whoever adds a head says what artifacts call it."""

    class Another(Head):
        pass

    with pytest.raises(TypeError, match="no artifact holds a Another"):
        kind(Another(torch.zeros(2), torch.ones(2)))
