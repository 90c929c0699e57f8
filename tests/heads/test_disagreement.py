"""The head that heeds the doubt of a robust copy."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from ce_detect.evaluate.metrics import auroc
from ce_detect.heads import disagreement
from ce_detect.heads.base import Head
from ce_detect.heads.disagreement import DOUBTED, SOFTNESS, STEEPNESS, DisagreementHead


class Sum(Head):
    """A head that adds its features up."""

    def forward(self, features: Tensor) -> Tensor:
        """Scores ``(batch,)``."""
        return features.sum(1)


class Last(Head):
    """A head that takes its last feature."""

    def forward(self, features: Tensor) -> Tensor:
        """Scores ``(batch,)``."""
        return features[:, 2]


def test_head_takes_what_is_more() -> None:
    """Its score is that of the inner head or the doubt of the copy, whichever is larger, and both pull."""
    head = DisagreementHead(Sum(torch.zeros(3), torch.ones(3)), effect=0, odds=1, middle=-2.0, width=4.0, meeting=0.25)
    features = torch.tensor([[9.0, -3.0, -50.0], [-9.0, 3.0, 50.0], [1.0, 1.0, -1.55]], requires_grad=True)
    scores = head(features)
    doubt = torch.tensor([(12 + 2) / 4, 0.25 + STEEPNESS * ((-12 + 2) / 4 - 0.25), 0.5])
    inner = features.sum(1)
    torch.testing.assert_close(scores, SOFTNESS * torch.logaddexp(doubt / SOFTNESS, inner / SOFTNESS))
    assert (scores >= torch.maximum(doubt, inner)).all()
    scores[2].backward()
    assert features.grad is not None
    assert (features.grad[2] != 0).all()


def test_scale_of_the_doubt_shares_false_alarms_as_it_says() -> None:
    """On clean signatures, most of those above the score that the share asks for are there by the doubt."""
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(20_000, 3, generator=generator)
    head = DisagreementHead(Sum(torch.zeros(3), torch.ones(3)), effect=0, odds=1)
    inner = torch.randn(len(features), generator=generator)
    head.level(inner, features, 0.05)
    doubt = (head.doubt(features) - head.middle) / head.width
    meeting = inner.quantile(1 - (1 - DOUBTED) * 0.05)
    assert float((inner > meeting).float().mean()) == pytest.approx((1 - DOUBTED) * 0.05, abs=2e-3)
    assert float((doubt > meeting).float().mean()) == pytest.approx(DOUBTED * 0.05, abs=2e-3)


def test_small_doubts_cost_little_detection(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is flagged is the same however fast the doubt falls below the meeting; what the head ranks best is not."""
    generator = torch.Generator().manual_seed(0)
    clean, attacked = (torch.randn(4000, 3, generator=generator) for _ in range(2))
    attacked[:, 2] += 2.5

    def judged(steepness: float) -> tuple[Tensor, Tensor]:
        monkeypatch.setattr(disagreement, "STEEPNESS", steepness)
        head = DisagreementHead(Last(torch.zeros(3), torch.ones(3)), effect=0, odds=1)
        head.level(clean[:, 2], clean, 0.05)
        return head(clean), head(attacked)

    (steep, found), (plain, found_plain) = judged(STEEPNESS), judged(1.0)
    areas = [auroc(c.numpy(), a.numpy()) for c, a in ((steep, found), (plain, found_plain))]
    assert areas[0] > areas[1] + 0.01
    flagged, before = (scores > scores.quantile(0.95) for scores in (steep, plain))
    assert float((flagged == before).float().mean()) > 0.99
