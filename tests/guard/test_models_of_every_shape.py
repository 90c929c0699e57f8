"""Models of every shape, precision and wrapper: a whole small calibration, then judge, save, load, export."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from support.shapes import SHAPES, Shape
from torch import nn

from ce_detect.calibrate.recipe import Recipe
from ce_detect.classifiers.segmented import TorchClassifier
from ce_detect.core.errors import ModelError
from ce_detect.guard.detected_model import DetectedModel
from ce_detect.runtime import Gate

pytestmark = pytest.mark.slow  # a calibration each

RECIPE = Recipe.parse(
    "small",
    {
        "head": "mlp",
        "splits": {"fit": 0.6, "select": 0.15, "calibrate": 0.25, "test": 0.0},
        "attack": [{"kind": "fgsm", "eps": "32/255"}],
        "intervention": [{"kind": "Flip"}, {"kind": "Blur"}, {"kind": "Scale", "site": "stage2.2", "factor": 0.5}],
    },
)
CALIBRATION = 100


@dataclass(frozen=True)
class Guarded:
    """A model behind its gate, and images that calibration did not see."""

    shape: Shape
    model: nn.Module
    guard: DetectedModel
    fresh: NDArray[np.float32]


@pytest.fixture(scope="module", params=SHAPES)
def guarded(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Guarded:
    """Every model in turn, calibrated."""
    shape = SHAPES[request.param]
    model = shape.model()
    guard = DetectedModel(model, bounds=(0.0, 1.0))
    guard.calibrate(
        shape.images(CALIBRATION), recipe=RECIPE, fpr=0.15, budget=math.inf, jobs=1, cache=tmp_path_factory.mktemp("c")
    )
    return Guarded(shape, model, guard, shape.images(12, seed=2))


def test_it_is_cut_and_says_what_the_model_says(guarded: Guarded) -> None:
    """Logits are those of the model, whatever it computes in and whatever it is wrapped in."""
    classifier = guarded.guard.classifier
    assert isinstance(classifier, TorchClassifier)
    assert len(classifier.sites) >= 3
    found = guarded.guard(guarded.fresh)
    assert found.logits.shape == (12, guarded.shape.logits)
    assert found.logits.dtype == np.float32
    bare = guarded.guard.model
    with torch.inference_mode():
        z = bare(torch.from_numpy(guarded.fresh).to(next(bare.parameters()).dtype)).float().numpy()
    expected = np.concatenate([-z / 2, z / 2], axis=1) if z.shape[1] == 1 else z
    np.testing.assert_allclose(found.logits, expected, atol=2 * classifier.tolerance * np.abs(expected).max())
    np.testing.assert_array_equal(found.label, found.logits.argmax(1))


def test_scores_are_finite_and_the_same_alone(guarded: Guarded) -> None:
    """In a batch, one by one, and from a tensor of another layout."""
    whole = guarded.guard(guarded.fresh)
    alone = np.concatenate([guarded.guard(image[None]).score for image in guarded.fresh])
    laid_out = torch.from_numpy(guarded.fresh).contiguous(memory_format=torch.channels_last)
    assert np.isfinite(whole.score).all()
    assert whole.score.std() > 0
    assert ((whole.probability >= 0) & (whole.probability <= 1)).all()
    np.testing.assert_allclose(alone, whole.score, atol=guarded.shape.slack)
    np.testing.assert_allclose(guarded.guard(laid_out).score.numpy(), whole.score, atol=guarded.shape.slack)


def test_a_saved_detector_judges_alike(guarded: Guarded, tmp_path: Path) -> None:
    """In front of the model as it was given."""
    guarded.guard.save(tmp_path / "a.safetensors")
    again = DetectedModel.load(tmp_path / "a.safetensors", guarded.model)
    np.testing.assert_array_equal(again(guarded.fresh).score, guarded.guard(guarded.fresh).score)
    again.save(tmp_path / "b.safetensors")
    assert (tmp_path / "a.safetensors").read_bytes() == (tmp_path / "b.safetensors").read_bytes()


def test_its_graph_judges_alike_or_the_remedy_is_named(guarded: Guarded, tmp_path: Path) -> None:
    """ONNX Runtime gives the same verdicts; what does not compute in float32 is refused, and nothing is written."""
    path = tmp_path / "guard.onnx"
    if not guarded.shape.exportable:
        with pytest.raises(ModelError, match=r"its model computes in torch\.\w+.*model\.float\(\)"):
            guarded.guard.export(path)
        assert not path.exists()
        return
    assert guarded.guard.export(path, data=guarded.fresh).agree
    found, expected = Gate(path)(guarded.fresh), guarded.guard(guarded.fresh)
    np.testing.assert_allclose(found.score, expected.score, atol=1e-3)
    np.testing.assert_array_equal(found.is_adversarial, expected.is_adversarial)
    np.testing.assert_array_equal(found.label, expected.label)
