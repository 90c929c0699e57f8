"""What the manifest says of a gate's cost."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
from support import calibrated

from ce_detect.artifacts.manifest import Manifest
from ce_detect.calibrate.cost.pytorch import BATCHES, Meter
from ce_detect.demo.model import fashion_cnn
from ce_detect.guard.detected_model import DetectedModel
from ce_detect.reporting.words import cost as described


def test_the_manifest_says_what_serving_costs(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By batch size; where the free statistics leave too little, a warning says so."""
    settings: dict[str, Any] = {"recipe": calibrated.CLEAN, "fpr": 0.1, "jobs": 1, "cache": calibrated.cache()}
    monkeypatch.setattr(
        Meter,
        "onnxruntime",
        lambda _, items: dict(zip(BATCHES, (3.1, 1.2, 1.3) if items else (1.9, 1.1, 1.1), strict=True)),
    )
    monkeypatch.setattr(Meter, "pytorch", lambda *_: 1.9)
    guard = DetectedModel(fashion_cnn()).calibrate(calibrated.images().x, budget=2.0, **settings)
    assert guard.manifest["figures"]["served_cost"] == {"1": 3.1, "8": 1.2, "32": 1.3}
    keys_sorted = json.loads(json.dumps(guard.manifest, sort_keys=True))
    assert "in ONNX Runtime 3.10 / 1.20 / 1.30 in batches of 1 / 8 / 32" in described(Manifest.of(keys_sorted))
    assert "takes 1.90 times the model in batches of 1. There the budget of 2.00 is not kept" in caplog.text
    free = DetectedModel(fashion_cnn()).calibrate(calibrated.images().x, budget=math.inf, **settings)
    assert free.manifest["figures"]["served_cost"] == {}
    assert "ONNX" not in described(Manifest.of(free.manifest))
