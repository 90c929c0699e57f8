"""How masks, doubts and classifiers under attack are judged, on answers that are known."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from benchmarks.counterfactual import resilience
from benchmarks.counterfactual.masks import judged
from benchmarks.counterfactual.resilience import _pgd, _square
from benchmarks.counterfactual.subjects import Subject, _train
from benchmarks.counterfactual.table import checks
from benchmarks.counterfactual.uncertainty import aurc, risk

SMALL = Subject("small", "small", lambda: pytest.fail("not asked for"), {"steps": 1, "batch": 4})


class Mean(nn.Module):
    """Class 1 where the mean of the pixels is above one half; the margin is ten times what it is above."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(10.0))

    def forward(self, x: Tensor) -> Tensor:
        """Return logits ``(batch, 2)``."""
        odds = self.scale * (x.mean((1, 2, 3)) - 0.5)
        return torch.stack([-odds, odds], dim=1)


def test_a_perfect_mask_is_perfect() -> None:
    """And one that marks everything has the share of the truth as its IoU."""
    truth = np.zeros((6, 8, 8), np.bool_)
    truth[:, 2:4] = True
    found = judged(truth * 0.7 + 0.1, truth, truth.astype(np.float32), truth)
    assert found["iou"]["value"] == found["f1"]["value"] == found["average_precision"] == 1
    flat = judged(np.ones((6, 8, 8)), truth, np.ones((6, 8, 8)) * 2, truth)
    assert flat["iou"] == {"value": 0.25, "interval": [0.25, 0.25]}
    assert flat["f1"]["value"] == pytest.approx(0.4)


def test_the_threshold_comes_from_the_held_ones() -> None:
    """Test maps in another scale are cut where the held ones were."""
    truth = np.zeros((4, 4, 4), np.bool_)
    truth[:, 0] = True
    held = truth * 1.0 + 0.5
    assert judged(held, truth, held / 100, truth)["iou"]["value"] == 0


def test_risk_falls_where_doubt_knows_mistakes() -> None:
    """By hand: of four images one is wrong, and it is the most doubtful, or the least."""
    wrong = np.array([False, False, False, True])
    knowing, misled = np.array([0.1, 0.2, 0.3, 0.9]), np.array([0.9, 0.8, 0.7, 0.1])
    assert aurc(knowing, wrong) == pytest.approx(0.25 / 4)
    assert aurc(misled, wrong) == pytest.approx((1 + 1 / 2 + 1 / 3 + 1 / 4) / 4)
    assert [risk(knowing, wrong, share) for share in (0.75, 1.0)] == [0, 0.25]


def test_attacks_reach_as_far_as_they_may() -> None:
    """A mean that is 0.05 off falls within a radius of 0.06, and stands within 0.04."""
    x, y = torch.full((5, 1, 6, 6), 0.55), torch.ones(5, dtype=torch.int64)
    for radius, right in ((0.04, 1.0), (0.06, 0.0)):
        assert _pgd(Mean(), x, y, radius)()["value"] == right
        assert _square(Mean().eval(), x, y, radius)()["value"] >= right
    found = _pgd(Mean(), x, 1 - y, 0.01)()
    assert found["value"] == 0  # wrong before any attack
    assert found["interval"][0] == 0 < found["interval"][1]


def test_masked_gradients_are_told() -> None:
    """Each check fails by the figure that it looks at."""
    sound = {
        "pgd 4": 0.3, "pgd 8": 0.1, "square 4": 0.5, "square 8": 0.3, "check: 5 steps at 4": 0.4,
        "check: half of the range": 0.0, "check: gradients": 1.0,
    }  # fmt: skip
    assert all(checks({name: {"value": value} for name, value in sound.items()}).values())
    for name, value in (("square 4", 0.1), ("check: 5 steps at 4", 0.1), ("check: half of the range", 0.5),
                        ("check: gradients", 0.5)):  # fmt: skip
        found = checks({one: {"value": value if one == name else other} for one, other in sound.items()})
        assert list(found.values()).count(False) == 1


@pytest.mark.parametrize(("kind", "radius"), [("adversarial", 8), ("adversarial at 4", 4)])
def test_an_adversarial_training_attacks_as_far_as_its_name_says(kind: str, radius: int) -> None:
    """The largest change of a pixel among what the classifier is shown."""
    shown = []

    class Seen(Mean):
        def forward(self, x: Tensor) -> Tensor:
            shown.append(x.detach())
            return super().forward(x)

    x = torch.full((8, 1, 6, 6), 0.5)
    _train(Seen(), x, torch.tensor([0, 1] * 4), SMALL, kind, lambda *told: None, None)
    assert float((shown[-1] - x[0]).abs().max()) == pytest.approx(radius / 255, abs=1e-6)


def test_what_was_measured_is_not_trained_again(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """And a row that is missing has its classifier trained."""
    trained = []

    def told(subject: Subject, kind: str, seed: int) -> tuple[nn.Module, None]:
        trained.append(kind)
        return Mean().eval(), None

    monkeypatch.setattr(resilience, "_trained", told)
    monkeypatch.setattr(resilience, "RESULTS", tmp_path)
    few = replace(SMALL, images=lambda: 2 * ((np.full((4, 1, 6, 6), 0.55, np.float32), np.ones(4, np.int64)),))
    for kind in ("plain", "plain", "K+1"):
        resilience._measured(few, kind, 3, 0)
    assert trained == ["plain", "K+1"]
    found = json.loads((tmp_path / "resilience-small.json").read_text())["rows"]
    assert list(found) == ["plain, seed 0", "K+1, seed 0"]
    assert all(set(of) == set(resilience.ROWS) for of in found.values())
