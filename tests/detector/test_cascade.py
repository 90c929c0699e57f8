"""A gate that judges in stages: what it says, and what it leaves out."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from support.calibrated import fresh
from support.cascades import cascade, guard
from support.models import tiny_images

from ce_detect import DetectedModel
from ce_detect.demo.model import fashion_cnn
from ce_detect.detector.cascade import First, Staged, cascaded
from ce_detect.detector.inference import Inference
from ce_detect.features.signature import Signature

Tensor = torch.Tensor


@pytest.mark.parametrize("name", ["plain", "transformer"])
def test_gate_judges_in_stages_as_it_does_whole(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the batch, the first time and as a trace; interventions meet the rows that were left, and no others."""
    made, x = cascade(name, "logistic"), tiny_images(name, 40, seed=3)
    with torch.inference_mode():
        expected = made(x)
        left = First(made)(x)[2] > cascaded(made).level
    assert 0 < left.sum() < len(x)
    met: list[int] = []
    calls: list[int] = []
    second, judge = Signature.second, Inference(made).judge
    monkeypatch.setattr(
        Signature, "second", lambda self, x, *rest, **more: met.append(len(x)) or second(self, x, *rest, **more)
    )
    for rows in (
        slice(0, 40),
        slice(7),
        torch.nonzero(left)[:1, 0],
        torch.nonzero(~left)[:3, 0],
        torch.nonzero(left)[:, 0],
    ):
        met.clear()
        for _ in range(3):
            found = judge(x[rows])
            for field in ("logits", "label", "score", "probability"):
                ours, theirs = getattr(found, field), getattr(expected, field)[rows]
                torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)
        expected_rows = int(left[rows].sum())
        assert set(met) <= ({expected_rows} if expected_rows else set())
        calls += met
    assert int(left.sum()) in calls


@pytest.mark.slow
def test_an_artifact_brings_it_back(tmp_path: Path) -> None:
    """Every score is the same, and it is run in stages again."""
    guard().save(tmp_path / "guard.safetensors")
    loaded = DetectedModel.load(tmp_path / "guard.safetensors", fashion_cnn())
    assert isinstance(Inference(loaded.gate)._runner(), Staged)
    clean, _ = fresh()
    assert np.array_equal(loaded(clean).score, guard()(clean).score)
