"""Preprocessing inside the model, and the warnings where images, labels and model do not fit together."""

from __future__ import annotations

import logging
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import nn

from ce_detect.calibrate import sanity
from ce_detect.classifiers.normalization import Normalized
from ce_detect.data import Images
from ce_detect.demo.model import fashion_cnn

MEAN, STD = 0.2860, 0.3530
"""What the demo classifier subtracts and divides by, inside."""


def bare() -> nn.Module:
    """The demo classifier without its preprocessing."""
    model = fashion_cnn()
    model.mean.fill_(0)
    model.std.fill_(1)
    return model


# --- plausibility


def warnings_of(
    caplog: pytest.LogCaptureFixture, model: nn.Module, x: NDArray[np.float32], y: Any, high: float = 1.0
) -> str:
    """What is said of images, labels and a model."""
    classifier = SimpleNamespace(
        logits=model, num_classes=10, bounds=(0.0, high), device=torch.device("cpu"), multi_label=False
    )
    with torch.inference_mode():
        decided = classifier.logits(torch.from_numpy(x)).argmax(1).numpy()
    caplog.clear()
    with caplog.at_level(logging.WARNING, logger="ce_detect"):
        sanity.check(classifier, Images(x, y), decided)
    return caplog.text


def test_what_fits_is_not_warned_of(caplog: pytest.LogCaptureFixture, demo_images: Images) -> None:
    """A good model, its images and their labels."""
    assert not warnings_of(caplog, fashion_cnn(), demo_images.x, demo_images.y)


def test_what_cannot_be_checked_without_labels_is_said_once(
    caplog: pytest.LogCaptureFixture, demo_images: Images
) -> None:
    """That there are none, and how sure the model is."""
    told = warnings_of(caplog, fashion_cnn(), demo_images.x, None)
    assert "have no labels" in told
    assert len(caplog.records) == 1
    assert "That is low" not in told
    unsure = nn.Sequential(fashion_cnn(), Shrunk())
    told = warnings_of(caplog, unsure, demo_images.x, None)
    assert "That is low: are pixels scaled" in told
    assert len(caplog.records) == 1


class Shrunk(nn.Module):
    """Logits so near each other that no label is likely."""

    def forward(self, z: torch.Tensor) -> torch.Tensor:
        """Shrink logits."""
        return 0.01 * z


def test_images_that_were_trained_on_are_suspected(caplog: pytest.LogCaptureFixture, demo_images: Images) -> None:
    """A classifier that is right everywhere; not where there are few images."""
    with torch.inference_mode():
        y = fashion_cnn()(torch.from_numpy(demo_images.x)).argmax(1).numpy()
    told = warnings_of(caplog, fashion_cnn(), demo_images.x, y)
    assert "right on 100 % of these 512 images. Was it trained on them?" in told
    assert len(caplog.records) == 1
    assert not warnings_of(caplog, fashion_cnn(), demo_images.x[:100], y[:100])


def test_a_classifier_that_is_sure_and_wrong_is_told_of(caplog: pytest.LogCaptureFixture, demo_images: Images) -> None:
    """Half of the labels belong to other images; no preprocessing would help."""
    assert demo_images.y is not None
    y = demo_images.y.copy()
    y[::2] = np.random.default_rng(0).permutation(y[::2])
    told = warnings_of(caplog, fashion_cnn(), demo_images.x, y)
    assert "It is sure and wrong" in told
    assert len(caplog.records) == 1


def test_pixel_range_is_named(caplog: pytest.LogCaptureFixture, demo_images: Images) -> None:
    """Grey levels for a model of [0, 1], and the reverse."""
    told = warnings_of(caplog, fashion_cnn(), demo_images.x * 255, demo_images.y, high=255)
    assert "if you divide the pixels by 255" in told
    told = warnings_of(caplog, Normalized(fashion_cnn(), scale=1 / 255), demo_images.x, demo_images.y)
    assert "if you multiply the pixels by 255" in told


def test_missing_normalisation_is_named(caplog: pytest.LogCaptureFixture, demo_images: Images) -> None:
    """A model that was trained on normalised images does badly on others; the remedy is spelled out."""
    dark = demo_images.x * np.float32(0.4) + np.float32(0.5)
    inside = Normalized(fashion_cnn(), mean=-MEAN / STD, std=1 / STD)  # takes what was normalised outside
    told = warnings_of(caplog, inside, dark, demo_images.y)
    assert "if you normalise by mean and standard deviation; those of these images are ce_detect.Normalized(" in told
    assert "Normalized(model, mean=[0.6" in told


def test_doubled_normalisation_is_named(caplog: pytest.LogCaptureFixture, demo_images: Images) -> None:
    """A model that normalises, behind a wrapper that does so again."""
    dark = demo_images.x * np.float32(0.4) + np.float32(0.5)
    mean, std = float(dark.mean()), float(dark.std())
    inner = Normalized(fashion_cnn(), mean=0.5, std=0.4)  # takes the dark images as they are
    told = warnings_of(caplog, Normalized(inner, mean=mean, std=std), dark, demo_images.y)
    assert "if you normalise once" in told


def test_order_of_classes_is_named(caplog: pytest.LogCaptureFixture, demo_images: Images) -> None:
    """A classifier that is right but for the names of the classes."""
    order = np.random.default_rng(0).permutation(10)
    told = warnings_of(caplog, fashion_cnn(), demo_images.x, order[demo_images.y])
    assert "if the classes are numbered in another order" in told


def test_chance_is_called_out(caplog: pytest.LogCaptureFixture, demo_images: Images) -> None:
    """Where nothing that was tried helps, both likely reasons are named."""
    y = np.random.default_rng(0).integers(0, 10, len(demo_images))
    told = warnings_of(caplog, fashion_cnn(), demo_images.x, y)
    assert "no better than a constant answer" in told
    assert "ce_detect.Normalized" in told


def test_labels_that_start_at_one_are_called_out(caplog: pytest.LogCaptureFixture, demo_images: Images) -> None:
    """Labels beyond the classes of the model."""
    assert demo_images.y is not None
    told = warnings_of(caplog, fashion_cnn(), demo_images.x, demo_images.y + 1)
    assert "the labels run from 1 to 10, but the classes of the model from 0 to 9" in told


def test_one_label_for_all_is_called_out(caplog: pytest.LogCaptureFixture, demo_images: Images) -> None:
    """Without labels there is only the decisions' spread to go by."""
    told = warnings_of(caplog, Normalized(fashion_cnn(), scale=1 / 255), demo_images.x, None)
    assert "of the images the label" in told
    assert "pass the labels y" in told
