"""From scores to figures: what is counted at which threshold, and who is better than whom."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from benchmarks.peers import standings
from benchmarks.peers.judged import Judged


def scores(clean: list[float], attacked: list[float]) -> Judged:
    """Scores of images all of which are attacked with success."""
    count = len(attacked)
    return Judged(
        np.linspace(0, 1, 100), np.array(clean), {"pgd": np.array(attacked)}, {"pgd": np.ones(count, bool)},
        {"pgd": np.arange(count)}, np.ones(len(clean), bool), {"jpeg 1": np.array([0.2, 0.99])},
    )  # fmt: skip


def test_scores_survive_the_disk_and_shrink_to_another_methods_images(tmp_path: Path) -> None:
    """What is written is read again, and a comparison is made on common images."""
    scores([0.1, 0.2, 0.3], [0.9, 0.1]).write(tmp_path / "scores.safetensors")
    read = Judged.read(tmp_path / "scores.safetensors").first({"clean": 2, "pgd": 1})
    np.testing.assert_array_equal(read.clean, [0.1, 0.2])
    np.testing.assert_array_equal(read.attacked["pgd"], [0.9])


def test_figures_count_false_alarms_at_the_threshold_of_the_calibration_images() -> None:
    """The threshold is an order statistic of the calibration scores, not of the judged ones."""
    found = standings.figures(scores([0.1, 0.2, 0.3, 1.0], [0.99, 0.25]), seen=["pgd"])
    assert 0.95 <= found["threshold"] < 1
    assert found["clean"]["false_positive_rate"] == 0.25
    assert found["corruptions"] == {"jpeg 1": 0.5}
    assert found["summary"]["auroc_seen"] == pytest.approx((3 + 2) / 8)


def test_we_are_better_only_where_cheaper_and_ahead_on_mean_and_worst() -> None:
    """A gate that costs more, or is behind on the worst attack, does not count; a peer's wins are named."""
    peer = {
        "cost": 2.0,
        "summary": {"auroc_all": 0.9, "auroc_worst": 0.8},
        "attacks": {"pgd": {"auroc_successes": 0.99}},
    }
    gates = {
        name: {"cost": cost, "summary": {"auroc_all": 0.95, "auroc_worst": worst}, "attacks": {"pgd": 0.98}}
        for name, cost, worst in (("cheap", 1.1, 0.85), ("weak", 1.2, 0.7), ("dear", 3.0, 0.9))
    }
    assert standings.better(peer, gates) == {"cheaper_and_better_at": ["cheap"], "peer_wins_on": ["pgd"]}
