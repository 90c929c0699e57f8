"""What a calibration is asked for: one form for what users give, and a secret seed among it."""

from __future__ import annotations

import json
from dataclasses import FrozenInstanceError, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.calibrated import CLEAN, QUICK, SETTINGS, cache, images

from ce_detect.calibrate import settings as module
from ce_detect.calibrate.recipe import Recipe, recipe_folder
from ce_detect.calibrate.settings import CalibrationOptions, CalibrationSettings
from ce_detect.core.errors import CalibrationError
from ce_detect.data import Images, load_data
from ce_detect.demo.model import fashion_cnn
from ce_detect.guard.detected_model import DetectedModel
from ce_detect.redteam.settings import Plan
from ce_detect.reporting import red_team_card

NOISY = replace(QUICK, interventions=({"kind": "GaussianNoise", "sigma": 0.05},))


# --- one form


@pytest.mark.parametrize("given", ["quick", recipe_folder() / "quick.toml", Recipe.load("quick")])
def test_a_recipe_is_given_by_name_path_or_itself(given: str | Path | Recipe) -> None:
    """Settings hold the recipe, whatever it was called by, and however they are made."""
    assert CalibrationSettings.of(recipe=given).recipe == Recipe.load("quick")
    assert CalibrationSettings(recipe=given).recipe == Recipe.load("quick")  # type: ignore[arg-type]


def test_what_is_not_given_has_a_default() -> None:
    """Everything can be left out; the default recipe is the one that the documentation names so."""
    made = CalibrationSettings()
    assert made == CalibrationSettings.of()
    assert (made.recipe.name, made.fpr, made.budget, made.guarantee) == ("default", 0.01, 2.0, "pac")
    assert (made.cache, made.secret_seed, made.harden_images, made.drawn) == (None, None, None, 0)


def test_options_are_the_fields() -> None:
    """What can be given by keyword is what there is, and natural changes, which join the recipe."""
    kept = {field.name for field in fields(CalibrationSettings)}
    assert set(CalibrationOptions.__annotations__) == kept | {"natural"}


def test_settings_can_be_changed_by_name_and_are_left_as_they_were() -> None:
    """Changes go before the settings they are made from."""
    first = CalibrationSettings.of(recipe="quick", fpr=0.05, cache="somewhere")
    second = CalibrationSettings.of(first, fpr=0.1, attack_time=3.0)
    assert (first.fpr, second.fpr, second.attack_time) == (0.05, 0.1, 3.0)
    assert second.recipe == first.recipe
    assert second.cache == Path("somewhere")
    with pytest.raises(FrozenInstanceError):
        first.fpr = 0.5  # type: ignore[misc]


@pytest.mark.parametrize(
    ("name", "nearest"), [("buget", "budget"), ("attack_seconds", "attack_time"), ("xyz", "recipe, ")]
)
def test_an_unknown_name_tells_the_nearest(name: str, nearest: str) -> None:
    """In settings, and in what the front door passes on, before any image is looked at."""
    with pytest.raises(TypeError, match=f"no calibration setting '{name}'; did you mean .*{nearest}"):
        CalibrationSettings.of(**{name: 1})  # type: ignore[misc]
    with pytest.raises(TypeError, match=f"'{name}'"):
        DetectedModel(fashion_cnn()).calibrate(None, **{name: 1})


def test_images_to_harden_with_are_read_once_and_scaled() -> None:
    """They may be anything that images can be, also an iterator that runs once."""
    batches = iter([np.zeros((2, 1, 4, 4), np.float32), np.ones((3, 1, 4, 4), np.float32)])
    made = CalibrationSettings.of(recipe=QUICK, harden=1, harden_with=batches)
    assert made.harden_images is not None
    assert made.harden_images.shape == (5, 1, 4, 4)
    assert replace(made, seed=1).harden_images is made.harden_images
    grey = replace(made, harden_with=Images(made.harden_images, bounds=(0.0, 1.0))).within((0.0, 255.0))
    assert np.asarray(grey.harden_images).max() == 255
    assert CalibrationSettings().within((0.0, 255.0)) == CalibrationSettings()


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"budget": 1.0}, r"budget = 1\.0: .*must be above 1\.0"),
        ({"budget": float("nan")}, "must be above"),
        ({"harden_with": np.zeros((2, 1, 4, 4), np.float32)}, "harden = 0: ask for at least one round"),
        ({"cascade": True, "harden": 1}, "exclude each other"),
        ({"cascade": True, "recipe": CLEAN}, "cascade: recipe 'clean' learns from clean images alone"),
        ({"harden": 1, "recipe": CLEAN}, "harden = 1: recipe 'clean' learns from clean images alone"),
        ({"recipe": "nope"}, "no recipe 'nope'; there are"),
    ],
)
def test_what_makes_no_sense_is_refused(given: dict[str, Any], message: str) -> None:
    """At once, and however settings are made."""
    with pytest.raises(CalibrationError, match=message):
        CalibrationSettings.of(**given)
    with pytest.raises(CalibrationError, match=message):
        CalibrationSettings(**given)


# --- a secret seed


def calibrated(**changes: Any) -> DetectedModel:
    """A detector with one random intervention whose seed the recipe leaves open."""
    first, settings = images(), {"recipe": NOISY, "jobs": 1, "cache": cache(), **SETTINGS, **changes}
    return DetectedModel(fashion_cnn()).calibrate(first.x, first.y, **settings)


def seeds(guard: DetectedModel) -> list[Any]:
    """Seeds of the interventions of a signature."""
    return [spec["seed"] for spec in guard.manifest["signature"]["interventions"]]


@pytest.mark.slow
def test_named_seed_gives_the_same_detector_again() -> None:
    """A seed that the user names is what is drawn from, and nothing else changes."""
    first, again, public = calibrated(secret_seed=77), calibrated(secret_seed=77), calibrated()
    assert seeds(first) == [77]
    assert seeds(public) == [0]
    assert first.gate.clean_scores.equal(again.gate.clean_scores)
    assert not first.gate.clean_scores.equal(public.gate.clean_scores)
    assert (first.manifest["seed"], first.manifest["secret_seed"]) == (0, True)
    assert not public.manifest["secret_seed"]


def test_random_seed_comes_from_the_system(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing public says what was drawn, and it is drawn once."""
    asked: list[int] = []

    def drawn(bits: int) -> int:
        asked.append(bits)
        return 4242

    monkeypatch.setattr(module.secrets, "randbits", drawn)
    made = CalibrationSettings.of(secret_seed="random")
    assert (made.drawn, made.seed) == (4242, 0)
    assert CalibrationSettings.of(made, fpr=0.1).drawn == 4242
    assert asked == [48]


@pytest.mark.slow
def test_report_card_keeps_the_secret() -> None:
    """A card names what is random, and not what it draws from."""
    guard = calibrated(secret_seed=987654)
    report = guard.redteam(load_data("demo").x[300:304], plan=Plan(steps=2, queries=2, decisions=0))
    manifest = guard.calibrated.manifest
    card = json.dumps(red_team_card.document(report, manifest, artifact="guard.safetensors", bar=None).data)
    assert "seed=secret" in card
    assert "987654" not in card


def test_recipe_that_names_a_seed_is_taken_at_its_word() -> None:
    """What a recipe says stays as it is."""
    named = replace(NOISY, interventions=({**NOISY.interventions[0], "seed": 5},))
    assert seeds(calibrated(recipe=named, secret_seed=77)) == [5]
