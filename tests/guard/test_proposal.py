"""A configuration found by asking model and images."""

from __future__ import annotations

import tomllib
from dataclasses import replace

import pytest
import torch
from support.models import subject

from ce_detect.core.errors import TooFewSamplesError
from ce_detect.data import Images
from ce_detect.demo.model import fashion_cnn
from ce_detect.guard import proposal
from ce_detect.guard.wrapped_model import WrappedModel

FOUND = proposal.Found("Net", 1000, 10, (3, 32, 32), (0.0, 1.0), True, 5000, 10, 0.9, 2.0)


def test_a_model_and_its_images_are_looked_at(demo_images: Images) -> None:
    """Each image counts once."""
    twice = replace(demo_images, pixels=demo_images.x.repeat(2, 0), y=demo_images.y.repeat(2))  # type: ignore[union-attr]
    found = proposal.look(WrappedModel(fashion_cnn()), twice)
    assert (found.model, found.classes, found.input_shape) == ("FashionCNN", 10, (1, 28, 28))
    assert (found.images, found.labels, found.bounds) == (512, 10, (0.0, 1.0))
    assert found.differentiable
    assert found.accuracy is not None
    assert found.accuracy > 0.9


def test_without_labels_there_is_no_accuracy() -> None:
    """And none is made up."""
    tiny = subject("plain")
    x = torch.rand(60, *tiny.classifier.input_shape).numpy()
    found = proposal.look(WrappedModel(tiny.model), Images(x, None, (0.0, 1.0)))
    assert (found.accuracy, found.labels) == (None, None)


@pytest.mark.parametrize(
    ("changes", "recipe"),
    [
        ({}, "default"),
        ({"images": 800}, "quick"),
        ({"input_shape": (3, 224, 224)}, "large"),
        ({"differentiable": False}, "black-box"),
    ],
)
def test_the_recipe_fits(changes: dict[str, object], recipe: str) -> None:
    """By gradients, size and number of images."""
    assert proposal.recipe_for(replace(FOUND, **changes))[0] == recipe  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("images", "promise"), [(5000, (0.01, "pac")), (600, (0.02, "pac")), (210, (0.05, "pac")), (130, (0.1, "pac"))]
)
def test_the_rate_is_one_that_the_images_support(images: int, promise: tuple[float, str]) -> None:
    """The smallest, with confidence where that can be had."""
    assert proposal.promise_for(images, "quick") == promise


def test_too_few_images_are_refused() -> None:
    """No file is made of which calibration would say that it cannot be."""
    with pytest.raises(TooFewSamplesError, match="distinct images in all would do"):
        proposal.promise_for(40, "quick")


def test_the_file_has_what_was_given_and_what_was_found() -> None:
    """As TOML, with a comment above each key."""
    listed = list(proposal.entries(FOUND, {"model": 'a "b".py:net', "data": "x.npz", "split": "train"}))
    text = proposal.toml(listed, "ce-detect.toml")
    read = tomllib.loads(text)
    assert read["model"] == 'a "b".py:net'
    assert read["split"] == "train"
    assert read["bounds"] == [0.0, 1.0]
    assert "multi-label" not in read
    assert text.count("\n# ") >= len(listed)
    several = list(proposal.entries(FOUND, {"model": "m", "data": "d", "multi_label": True, "label": 3}))
    assert tomllib.loads(proposal.toml(several, "f"))["multi-label"] is True
    assert tomllib.loads(proposal.toml(several, "f"))["label"] == 3
