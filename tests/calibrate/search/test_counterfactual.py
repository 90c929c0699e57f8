"""A trained counterfactual in a calibration: offered with its cost, kept in the artifact, exported in the graph."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from support.counterfactuals import SHORT, fresh_folder, trained
from support.digits import DigitCNN, classifier_of_digits, digits
from support.gates import MANIFEST

from ce_detect import CalibrationSettings, DetectedModel
from ce_detect.calibrate.items import Item, signature_of
from ce_detect.calibrate.recipe import Recipe
from ce_detect.calibrate.search import search
from ce_detect.calibrate.search.comparison import Comparison
from ce_detect.calibrate.search.counterfactual import items
from ce_detect.calibrate.search.ledger import Chosen
from ce_detect.classifiers.wrapping import wrap
from ce_detect.core.errors import ArtifactError, CalibrationError
from ce_detect.counterfactual import fit
from ce_detect.detector.gate import GateModule
from ce_detect.export import parity
from ce_detect.export.fused_graph import fused
from ce_detect.fitting import untrained
from ce_detect.interventions import Flip
from ce_detect.runtime import Gate

RECIPE: dict[str, Any] = {
    "splits": {"fit": 0.4, "select": 0.2, "calibrate": 0.3, "test": 0.1},
    "attack": [{"kind": "fgsm"}, {"kind": "pgd", "eps": "32/255", "eps_step": "8/255", "max_iter": 5}],
}


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A counterfactual of ten digits, from scratch."""
    path = tmp_path_factory.mktemp("cf") / "cf.safetensors"
    fit(*digits(), SHORT, cache=fresh_folder(), progress=False).save(path)
    return path


def test_both_are_offered(path: Path) -> None:
    """The intervention and the statistic, in one signature."""
    classifier = wrap(classifier_of_digits(DigitCNN), input_shape=(1, 8, 8), bounds=(0.0, 1.0))
    offered = items(classifier, path)
    assert [item.family for item in offered] == ["counterfactual", "fakeness"]
    assert all(item.exportable for item in offered)
    signature = signature_of(classifier, offered, None)
    with torch.no_grad():
        features = signature(torch.from_numpy(digits()[0][:4]))[1]
    assert torch.isfinite(features).all()
    assert features.shape[1] == signature.free + 6
    assert items(classifier, None) == []


def test_one_for_other_classes_is_refused(tmp_path: Path) -> None:
    """With what it was trained for, and what the classifier takes."""
    trained().save(tmp_path / "cf.safetensors")
    classifier = wrap(classifier_of_digits(DigitCNN), input_shape=(1, 8, 8), bounds=(0.0, 1.0))
    with pytest.raises(CalibrationError, match=r"trained for .* 2 classes.* but the classifier takes .* 10 classes"):
        items(classifier, tmp_path / "cf.safetensors")


def test_it_must_be_there_and_there_must_be_a_search(path: Path, tmp_path: Path) -> None:
    """Before the long work."""
    with pytest.raises(ArtifactError, match="no counterfactual at"):
        CalibrationSettings.of(counterfactual=tmp_path / "none.safetensors")
    for recipe, told in (("large", "names its interventions"), ("clean-only", "has no attacks")):
        with pytest.raises(CalibrationError, match=told):
            CalibrationSettings.of(counterfactual=path, recipe=recipe)


def test_the_graph_judges_as_the_gate_does(path: Path) -> None:
    """With both of them, whose weights it holds."""
    classifier = wrap(classifier_of_digits(DigitCNN), input_shape=(1, 8, 8), bounds=(0.0, 1.0))
    signature = signature_of(classifier, items(classifier, path), None)
    head = untrained.head(len(signature.names), "logistic")
    generator = torch.Generator().manual_seed(0)
    for buffer in head.buffers():
        if buffer.is_floating_point() and buffer.ndim:
            buffer.add_(0.1 * torch.rand(buffer.shape, generator=generator))
    x = digits()[0][:40]
    with torch.no_grad():
        scores = head(signature(torch.from_numpy(x))[1])
    between = float(scores.sort().values[19:21].mean())
    gate = GateModule(signature, head, clean_scores=scores, threshold=between, prevalence=0.1).eval()
    assert scores.std() > 0
    opened = parity.session(fused(gate, MANIFEST).SerializeToString())
    assert parity.differences(gate, opened, x).agree


@pytest.mark.slow
def test_a_gate_with_both_is_saved_and_exported(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The search tries them, the artifact holds them, and the graph judges as the gate does."""
    best_found = search.best_found

    def with_both(compared: Comparison, required: Sequence[Item], room: float) -> Chosen:
        wanted = [item for item in compared.items if item.family in ("counterfactual", "fakeness")]
        return best_found(compared, [*required, *wanted], room)

    monkeypatch.setattr(search, "best_found", with_both)
    monkeypatch.setattr(search, "candidates", lambda classifier, seed: [Item.of(Flip())])
    monkeypatch.setattr(search, "learnable", lambda classifier: [])
    model, x = classifier_of_digits(DigitCNN), digits()[0]
    guard = DetectedModel(model, bounds=(0.0, 1.0)).calibrate(
        x[1000:], recipe=Recipe.parse("few", RECIPE), fpr=0.1, budget=math.inf, counterfactual=path, cache=tmp_path,
        progress=False, jobs=1,
    )  # fmt: skip
    assert {"counterfactual", "fakeness"} <= {entry["family"] for entry in guard.manifest["search"]["considered"]}
    assert guard.manifest["signature"]["fakeness"] == {"classes": 10, "width": 4, "depth": 1, "own": False}
    guard.save(tmp_path / "guard.safetensors")
    again = DetectedModel.load(tmp_path / "guard.safetensors", model)
    np.testing.assert_allclose(again(x[:40]).score, guard(x[:40]).score, atol=1e-5)
    guard.export(tmp_path / "gate.onnx", data=x[:64])
    np.testing.assert_allclose(Gate(tmp_path / "gate.onnx")(x[:40]).score, guard(x[:40]).score, atol=1e-2)
