"""The model behind a gate: wrapped once its inputs are known, and again for new images."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from support.models import TINY, tiny_images, tiny_model
from support.pictures import picture

from ce_detect import Resizing, load_data
from ce_detect.core.errors import CalibrationError, InputError, ModelError, NotCalibratedError
from ce_detect.data.resizing import waves
from ce_detect.guard.wrapped_model import WrappedModel, module

PLAIN = TINY["plain"]


def test_inputs_that_are_not_known_are_found_in_images() -> None:
    """Before there are images, there is no classifier; then shape and bounds are those of the images."""
    model = WrappedModel(tiny_model("plain"))
    with pytest.raises(NotCalibratedError, match="give both, or calibrate"):
        _ = model.classifier
    x = np.clip(np.asarray(tiny_images("plain", 8)), 0, 1)
    x[0].flat[:2] = 0, 1
    images = model.read(x)
    assert (len(images), images.bounds) == (8, (0.0, 1.0))
    with pytest.raises(NotCalibratedError, match="give both, or calibrate"):
        _ = model.classifier
    model.fit(images)
    assert model.classifier.input_shape == PLAIN.shape
    assert model.classifier.bounds == (0.0, 1.0)


def test_what_is_given_is_taken() -> None:
    """With shape and bounds the classifier is there at once; images are read within its bounds."""
    model = WrappedModel(tiny_model("plain"), input_shape=PLAIN.shape, bounds=PLAIN.bounds)
    before = model.classifier
    assert model.on_cpu() is before
    assert model.timed is model.model
    with pytest.raises(InputError, match="outside the bounds"):
        model.images(np.full((2, *PLAIN.shape), PLAIN.bounds[1] + 100, np.float32))
    model.fit(model.read(np.asarray(tiny_images("plain", 4))))
    assert model.classifier is not before  # weights may have changed
    assert model.classifier.bounds == PLAIN.bounds


@pytest.mark.parametrize("bounds", [(1.0, 0.0), (0.0, float("inf")), (float("nan"), 1.0)])
def test_bounds_that_are_none_are_refused(bounds: tuple[float, float]) -> None:
    """The smallest is below the largest, and both are finite."""
    with pytest.raises(CalibrationError, match=r"are not \(smallest, largest\) valid pixel values"):
        WrappedModel(tiny_model("plain"), input_shape=PLAIN.shape, bounds=bounds)
    with pytest.raises(CalibrationError, match=r"are not \(smallest, largest\) valid pixel values"):
        WrappedModel(tiny_model("plain"), bounds=bounds).read(np.asarray(tiny_images("plain", 4)))


def test_what_is_no_model_is_refused() -> None:
    """A model is a module or the path of an ONNX file."""
    with pytest.raises(ModelError, match=r"not the name of an \.onnx file"):
        module("model.pt")
    with pytest.raises(ModelError, match=r"expected a torch\.nn\.Module, got int"):
        module(3)  # type: ignore[arg-type]


def test_how_files_come_to_their_size_is_kept(tmp_path: Path) -> None:
    """It is known from the images, or said beforehand; arrays of another size are refused."""
    channels, height, width = PLAIN.shape
    for i in range(4):
        picture(tmp_path / f"{i}.png", waves(height + 9 * i, width + 20)[:, :, :channels])
    resizing = Resizing((height + 2, width + 2), (height, width))
    model = WrappedModel(tiny_model("plain"), bounds=PLAIN.bounds)
    images = model.read(load_data(tmp_path, resizing=resizing))
    model.fit(images)
    assert images.resizing == model.resizing == resizing
    said = WrappedModel(tiny_model("plain"), bounds=PLAIN.bounds, resizing=resizing)
    assert said.read(tmp_path).resizing == resizing
    assert said.read(np.asarray(tiny_images("plain", 4))).resizing == resizing
    with pytest.raises(InputError, match="pass image files, or arrays of that size"):
        said.read(np.zeros((4, channels, height + 1, width), np.float32))
