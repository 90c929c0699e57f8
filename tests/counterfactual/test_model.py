"""The trained pair: what it gives, and that it is the same after saving and loading."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from support.counterfactuals import SHORT, fresh_folder, trained, zeros_and_ones
from support.digits import DigitCNN, classifier_of_digits, digits

from ce_detect.core.errors import ArtifactError, InputError, ModelMismatchError, UsageError
from ce_detect.counterfactual import Counterfactual, fit


def test_a_counterfactual_has_its_mask_and_its_labels() -> None:
    """The mask is the difference in parts of the range; labels and fakeness are those of the K+1 network."""
    made, x = trained(), zeros_and_ones()[0][:70]
    found = made.generate(x)
    np.testing.assert_allclose(found.mask, np.abs(found.images - x).mean(1), atol=1e-6)
    np.testing.assert_array_equal(found.label, made.logits(x)[:, :2].argmax(1))
    np.testing.assert_array_equal(found.target, 1 - found.label)
    np.testing.assert_allclose(found.fakeness, 1 / (1 + np.exp(-made.fakeness(x))), rtol=1e-4)
    np.testing.assert_allclose(found.fakeness_after, 1 / (1 + np.exp(-made.fakeness(found.images))), rtol=1e-4)
    assert len(found.to_dict()) == 70
    assert np.asarray(found.to_dict()[3]["mask"]).shape == (8, 8)


def test_images_are_shown_alone_as_in_company() -> None:
    """A batch of one is a row of a batch."""
    made, x = trained(), zeros_and_ones()[0][:5]
    alone, together = made.generate(x[2:3], 1), made.generate(x, 1)
    np.testing.assert_allclose(alone.images[0], together.images[2], atol=1e-5)


def test_a_target_for_all_or_for_each() -> None:
    """One class, or one an image; one that there is not is refused."""
    made, x = trained(), zeros_and_ones()[0][:4]
    assert made.generate(x, 1).target.tolist() == [1] * 4
    assert made.generate(torch.from_numpy(x), np.array([0, 1, 1, 0])).target.tolist() == [0, 1, 1, 0]
    for wrong in (2, -1, np.array([0, 1]), 0.5):
        with pytest.raises(UsageError, match="expected a class from 0 to 1, or one for each of the 4 images"):
            made.generate(x, wrong)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("x", "told"),
    [
        (np.zeros((2, 1, 9, 9), np.float32), r"\(batch, 1, 8, 8\)"),
        (np.full((2, 1, 8, 8), np.nan, np.float32), "NaN"),
        (np.full((2, 1, 8, 8), 7.0, np.float32), "7"),
    ],
)
def test_images_that_cannot_be_shown_are_refused(x: np.ndarray, told: str) -> None:
    """Another size, NaN, out of bounds."""
    with pytest.raises(InputError, match=told):
        trained().generate(x)


def test_saving_and_loading_changes_nothing(tmp_path: Path) -> None:
    """Neither a byte of the file nor a pixel of a counterfactual."""
    made, x = trained(), zeros_and_ones()[0][:6]
    made.save(tmp_path / "cf.safetensors")
    again = Counterfactual.load(tmp_path / "cf.safetensors")
    assert again.manifest == made.manifest
    assert again.to_artifact().to_bytes() == (tmp_path / "cf.safetensors").read_bytes()
    np.testing.assert_array_equal(again.generate(x).images, made.generate(x).images)
    with torch.no_grad():
        np.testing.assert_array_equal(again.classifier(torch.from_numpy(x)).numpy(), made.logits(x)[:, :2])


def test_tensors_of_another_size_are_refused(tmp_path: Path) -> None:
    """A manifest that was written for other networks."""
    artifact = trained().to_artifact()
    lacking = {name: value for name, value in artifact.tensors.items() if name != "generator.mask.bias"}
    type(artifact)(lacking, artifact.manifest).save(tmp_path / "cf.safetensors")
    with pytest.raises(ArtifactError, match="do not fit its manifest"):
        Counterfactual.load(tmp_path / "cf.safetensors")


def test_one_of_a_classifier_needs_that_classifier(tmp_path: Path) -> None:
    """Its layers are no part of the code that reads the file, and other weights are refused."""
    model = classifier_of_digits(DigitCNN)
    made = fit(*digits(), SHORT, model=model, cache=fresh_folder(), progress=False)
    made.save(tmp_path / "cf.safetensors")
    x = digits()[0][:6]
    again = Counterfactual.load(tmp_path / "cf.safetensors", model)
    np.testing.assert_allclose(again.logits(x), made.logits(x), atol=1e-6)
    with pytest.raises(ArtifactError, match="give that model, too"):
        Counterfactual.load(tmp_path / "cf.safetensors")
    with pytest.raises(ModelMismatchError, match="Train it again"):
        Counterfactual.load(tmp_path / "cf.safetensors", DigitCNN().eval())
