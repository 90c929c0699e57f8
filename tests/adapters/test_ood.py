"""The detector under pytorch-ood's interface."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest
import torch
from support.calibrated import CLEAN, SETTINGS, cache, fresh, guard, images
from torch.utils.data import DataLoader, TensorDataset

from ce_detect.adapters.ood import CausalEffectDetector
from ce_detect.core.errors import NotCalibratedError
from ce_detect.demo.model import fashion_cnn
from ce_detect.evaluate.metrics import auroc


def test_scores_are_larger_under_attack() -> None:
    """Tensors in, scores out, by calling or by name; the verdict's scores."""
    detector = CausalEffectDetector(guard())
    clean, attacked = (torch.from_numpy(x) for x in fresh())
    scores = detector.predict(clean)
    torch.testing.assert_close(scores, guard()(clean).score)
    assert scores.shape == (200,)
    assert auroc(scores.numpy(), detector(attacked).numpy()) > 0.85


def test_features_are_signatures() -> None:
    """Scores of stored signatures are scores of their images."""
    detector = CausalEffectDetector(guard()).to("cpu")
    x = torch.from_numpy(fresh()[0][:20])
    with torch.no_grad():
        _, signatures = guard().gate.signature(x)
    torch.testing.assert_close(detector.predict_features(signatures), detector.predict(x), rtol=1e-4, atol=1e-4)


def test_fit_reads_a_loader_and_leaves_outliers_out() -> None:
    """Images whose class is negative are not clean; the others are calibrated on, with the settings given."""
    first = images()
    y = first.y.copy()
    y[::3] = -1
    loader = DataLoader(TensorDataset(torch.from_numpy(first.x), torch.from_numpy(y)), batch_size=64)
    detector = CausalEffectDetector(fashion_cnn(), recipe=CLEAN, cache=cache(), **SETTINGS)
    assert detector.to("cpu").fit(loader) is detector
    manifest = detector.guard.manifest
    assert manifest["data"]["fingerprint"] == hashlib.sha256(first.x[y >= 0].tobytes()).hexdigest()
    assert (manifest["fpr"], manifest["recipe"]["name"]) == (0.1, "clean")
    clean, attacked = (torch.from_numpy(x) for x in fresh())
    assert np.median(detector(attacked)) > np.median(detector(clean))


def test_before_fit_says_what_to_do() -> None:
    """Neither images nor signatures before calibration."""
    detector = CausalEffectDetector(fashion_cnn())
    assert detector.requires_fit
    with pytest.raises(NotCalibratedError, match="calibrate"):
        detector.predict(torch.zeros(1, 1, 28, 28))
    with pytest.raises(NotCalibratedError, match="calibrate"):
        detector.predict_features(torch.zeros(1, 5))
