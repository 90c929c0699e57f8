"""Every way through the package with a model on a device that is not the CPU, see `support.elsewhere`."""

from __future__ import annotations

import copy
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from support import calibrated
from support.elsewhere import DEVICE, elsewhere
from support.gates import gate
from support.models import as_array, tiny_images

from ce_detect.calibrate.recipe import Recipe
from ce_detect.classifiers.segmented import TorchClassifier
from ce_detect.data import load_data
from ce_detect.demo.model import fashion_cnn
from ce_detect.detector.inference import Inference
from ce_detect.guard.detected_model import DetectedModel
from ce_detect.interventions import BitDepth, GaussianNoise, GradientStep
from ce_detect.redteam import hopskipjump
from ce_detect.redteam.red_team import redteam_gate
from ce_detect.redteam.settings import Plan

PLAN = Plan(least=8 / 255, most=16 / 255, steps=2, queries=3, decisions=1, restarts=1)


def fresh() -> NDArray[np.float32]:
    """Images of the demo that no calibration here saw."""
    return load_data("demo").x[300:330]


REFUSED: dict[str, Any] = {
    "operation": lambda there: there + torch.ones(3),
    "number": lambda there: torch.ones(3) * there.sum(),
    "concatenation": lambda there: torch.cat([there, torch.ones(3)]),
    "index": lambda there: torch.ones(3)[there > 0],
    "array": lambda there: there.numpy(),
    "array of NumPy": np.asarray,
    "generator": lambda there: torch.rand(3, device=there.device, generator=torch.Generator()),
}


@pytest.mark.parametrize("mixing", REFUSED.values(), ids=REFUSED)
def test_what_mixes_devices_is_refused(mixing: Any) -> None:
    """Else the tests that follow would say nothing."""
    with elsewhere() as device, pytest.raises((RuntimeError, TypeError), match=r"same device|Tensor\.cpu|generator"):
        mixing(torch.ones(3).to(device))


def test_what_does_not_mix_devices_is_not_refused() -> None:
    """Numbers, indices from the CPU, copies both ways, and whatever stays where it is."""
    with elsewhere() as device:
        there = torch.arange(3, device=device) * torch.tensor(2.0)
        assert there.device == there[torch.tensor([0, 2])].device == (there - there.mean()).device == device
        here = torch.zeros(3)
        assert here.copy_(there).device == there.cpu().device == torch.device("cpu")
        assert torch.nn.Linear(2, 1).to(device).weight.device == device
        np.testing.assert_array_equal(there.cpu().numpy(), here.numpy())


def test_a_gate_judges_there_as_here() -> None:
    """Arrays give arrays; tensors, wherever they are, tensors on the gate's device."""
    made, x = copy.deepcopy(gate("plain", "mlp")), tiny_images("plain", 6)
    made.load_state_dict(made.state_dict())  # what follows from its random state
    expected = Inference(made).result(as_array(x))
    with elsewhere() as device:
        moved = copy.deepcopy(made).to(device)
        moved.load_state_dict(moved.state_dict())
        inference = Inference(moved)
        np.testing.assert_allclose(inference.result(as_array(x)).score, expected.score, atol=1e-4)
        for given in (x, x.to(device)):
            found = inference.result(given)
            assert found.score.device == found.label.device == device
            np.testing.assert_allclose(found.score.cpu().numpy(), expected.score, atol=1e-4)


@pytest.mark.parametrize("secret", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_attackers_find_there_what_they_find_here(secret: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Random steps are drawn on the CPU: the same ones, whatever the target computes on."""
    monkeypatch.setattr(hopskipjump, "SETTINGS", {"max_iter": 1, "max_eval": 4, "init_eval": 2})
    made = gate("plain", "mlp", interventions=[GaussianNoise(), BitDepth(bits=3), GradientStep(site="stage3.2")])
    x = as_array(tiny_images("plain", 3, seed=5))
    here = redteam_gate(made, x, PLAN, secret_seeds=secret)
    with elsewhere() as device:
        there = redteam_gate(copy.deepcopy(made).to(device), x, PLAN, secret_seeds=secret)
    assert there.radii_alone == here.radii_alone
    assert there.radii_joint == here.radii_joint


SPLITS = {"fit": 0.5, "select": 0.2, "calibrate": 0.3, "test": 0.0}
SEARCHED = Recipe.parse("searched", {"head": "mlp", "splits": SPLITS, "attack": [calibrated.PGD, {"kind": "fgsm"}]})

CALIBRATIONS: dict[str, dict[str, Any]] = {
    "named": {"recipe": calibrated.QUICK, "budget": math.inf},
    "searched": {"recipe": SEARCHED, "budget": 6.0},
    "cascade": {"recipe": SEARCHED, "budget": 6.0, "cascade": True},
    "clean only": {"recipe": "clean-only", "budget": 3.0},
}


@pytest.mark.slow
@pytest.mark.parametrize("settings", CALIBRATIONS.values(), ids=CALIBRATIONS)
def test_whole_calibrations(settings: dict[str, Any], tmp_path: Path) -> None:
    """Search, learned interventions, heads, figures; then save, load, evaluate and export, which is done on the CPU."""
    images, x = calibrated.images(), fresh()
    with elsewhere() as device:
        model = fashion_cnn().to(device)
        guard = DetectedModel(model).calibrate(
            images.x, images.y, fpr=0.1, jobs=1, cache=calibrated.cache(), **settings
        )
        assert isinstance(guard.classifier, TorchClassifier)
        assert guard.classifier.device == guard.gate.threshold.device == device
        result = guard(x)
        assert np.isfinite(result.score).all()
        guard.save(tmp_path / "guard.safetensors")
        np.testing.assert_array_equal(DetectedModel.load(tmp_path / "guard.safetensors", model)(x).score, result.score)
        assert guard.evaluate(x, cache=tmp_path, jobs=1).clean.n == len(x)
        assert guard.export(tmp_path / "guard.onnx").agree
    here = DetectedModel.load(tmp_path / "guard.safetensors", fashion_cnn())
    np.testing.assert_allclose(here(x).score, result.score, atol=1e-3)


@pytest.mark.slow
def test_hardening(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A robust copy is trained there, and the gate is attacked and fitted again."""
    monkeypatch.setattr("ce_detect.fitting.robust_copy.IMAGES", 50 * 128)
    images = calibrated.images()
    with elsewhere() as device:
        guard = DetectedModel(fashion_cnn().to(device)).calibrate(
            images.x, images.y, recipe=calibrated.QUICK, fpr=0.1, budget=math.inf, harden=1, jobs=1, cache=tmp_path
        )
        assert guard.gate.threshold.device == DEVICE
        assert guard.manifest["figures"]["hardening"][0]["examples"] > 0
        assert np.isfinite(guard(fresh()).score).all()
