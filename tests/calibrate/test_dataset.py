"""Calibration reads images a few at a time, from wherever they are, and knows them again afterwards."""

from __future__ import annotations

import logging
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from ce_detect.attacks import Attack
from ce_detect.attacks.generation import AttackedSet
from ce_detect.calibrate.recipe import Recipe
from ce_detect.calibrate.variants import PERTURBATIONS
from ce_detect.classifiers.normalization import Normalized
from ce_detect.core.errors import CalibrationError
from ce_detect.data import Images, Mapped, load_data
from ce_detect.demo.model import fashion_cnn
from ce_detect.guard.detected_model import DetectedModel

RECIPE = Recipe.parse(
    "small",
    {
        "head": "logistic",
        "splits": {"fit": 0.5, "select": 0.1, "calibrate": 0.3, "test": 0.1},
        "attack": [{"kind": "fgsm"}],
        "intervention": [{"kind": "Flip", "scale": 0.75}],
    },
)
MOST = 128
"""Images that may be in memory at a time."""


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache that the tests of this file share."""
    return tmp_path_factory.mktemp("cache")


def calibrated(images: Any, cache: Path) -> DetectedModel:
    """Calibrate with a recipe that does not search."""
    return DetectedModel(fashion_cnn()).calibrate(images, recipe=RECIPE, fpr=0.1, budget=math.inf, cache=cache, jobs=1)


@pytest.fixture(scope="module")
def guard(cache: Path) -> DetectedModel:
    """A detector whose images were all in memory."""
    return calibrated(load_data("demo", limit=450), cache)


def test_images_are_read_a_few_at_a_time(
    guard: DetectedModel, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Never more than a batch, neither of clean nor of attacked images; and the detector is the same to the byte."""
    most: list[int] = []

    def noted(x: NDArray[np.float32]) -> NDArray[np.float32]:
        most.append(len(x))
        return x

    def few_of_them(some: AttackedSet) -> NDArray[np.float32]:
        assert len(some) <= PERTURBATIONS, "the whole attacked set was read"
        return np.asarray(some.pixels)

    def all_of_them(_: Images) -> Any:
        raise AssertionError("all images were read")

    images = load_data("demo", limit=450)
    monkeypatch.setattr(AttackedSet, "x", property(few_of_them))
    monkeypatch.setattr(Images, "x", property(all_of_them))
    other = calibrated(Images(Mapped(images.pixels, noted), images.y, images.bounds), cache)
    assert 1 < max(most) <= MOST
    guard.save(tmp_path / "memory.safetensors")
    other.save(tmp_path / "lazy.safetensors")
    assert (tmp_path / "memory.safetensors").read_bytes() == (tmp_path / "lazy.safetensors").read_bytes()


def test_images_of_the_calibration_are_known_again(
    guard: DetectedModel, cache: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Some of them among new ones are counted, in any order, also after loading; new ones alone are fine."""
    guard.save(tmp_path / "a.safetensors")
    loaded = DetectedModel.load(tmp_path / "a.safetensors", fashion_cnn())
    images = load_data("demo")
    settings: dict[str, Any] = {"attacks": (Attack.of("fgsm"),), "corruptions": (), "cache": cache, "jobs": 1}
    with caplog.at_level(logging.WARNING, logger="ce_detect"):
        loaded.evaluate(images.subset(np.arange(480, 430, -1)), **settings)
        assert "19 of these 50 images were used in calibration" in caplog.text
        caplog.clear()
        loaded.evaluate(images.subset(slice(500, 550)), **settings)
    assert "used in calibration" not in caplog.text
    assert len(guard.calibrated.seen) == 450


@pytest.mark.slow
def test_grey_levels_are_scaled_to_the_bounds_of_the_model(cache: Path, tmp_path: Path) -> None:
    """A model of 0 to 255 gets what its bounds say from files, whose pixels would be in [0, 1] by default."""
    images = load_data("demo", limit=250)
    np.savez(tmp_path / "grey.npz", x=np.round(images.x[:, 0] * 255).astype(np.uint8), y=images.y)
    splits = {"fit": 0.4, "select": 0.0, "calibrate": 0.4, "test": 0.2}
    recipe = Recipe.parse("clean", {"head": "distance", "splits": splits, "intervention": [{"kind": "Flip"}]})
    model = Normalized(fashion_cnn(), scale=1 / 255)
    guard = DetectedModel(model, bounds=(0.0, 255.0)).calibrate(
        tmp_path / "grey.npz", recipe=recipe, fpr=0.1, budget=math.inf, cache=cache
    )
    assert guard.manifest["model"]["bounds"] == [0.0, 255.0]
    assert guard.manifest["figures"]["test"]["clean"]["accuracy"] > 0.8
    assert guard(255 * images.x).is_adversarial.mean() < 0.2


def test_cache_that_goes_away_is_named(guard: DetectedModel, tmp_path: Path) -> None:
    """Attacked images that were deleted while they were needed are an error with a remedy."""
    from ce_detect.attacks.generation import attack_all

    x = load_data("demo", limit=4).x
    attacked = attack_all(guard.classifier, x, (Attack.of("fgsm"),), seed=0, cache=tmp_path, jobs=1)["fgsm 8/255"]
    assert attacked.subset(slice(2)).x.shape == (2, 1, 28, 28)
    for path in (tmp_path / "attacks").iterdir():
        path.unlink()
    with pytest.raises(CalibrationError, match=r"can no longer be read.*made anew"):
        _ = attacked.x
