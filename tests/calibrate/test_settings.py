"""A secret seed: random interventions that draw from something else than the public seed."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from support.calibrated import QUICK, SETTINGS, cache, images

from ce_detect.data import load_data
from ce_detect.demo.model import fashion_cnn
from ce_detect.guard import detected_model
from ce_detect.guard.detected_model import DetectedModel
from ce_detect.redteam.settings import Plan
from ce_detect.reporting import red_team_card as cards

NOISY = replace(QUICK, interventions=({"kind": "GaussianNoise", "sigma": 0.05},))


def calibrated(**changes: Any) -> DetectedModel:
    """A detector with one random intervention whose seed the recipe leaves open."""
    first, settings = images(), {"recipe": NOISY, "jobs": 1, "cache": cache(), **SETTINGS, **changes}
    return DetectedModel(fashion_cnn()).calibrate(first.x, first.y, **settings)


def seeds(guard: DetectedModel) -> list[Any]:
    """Seeds of the interventions of a signature."""
    return [spec["seed"] for spec in guard.manifest["signature"]["interventions"]]


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
    """Nothing public says what was drawn."""
    asked: list[int] = []

    def drawn(bits: int) -> int:
        asked.append(bits)
        return 4242

    monkeypatch.setattr(detected_model.secrets, "randbits", drawn)
    assert seeds(calibrated(secret_seed="random")) == [4242]
    assert asked == [48]


def test_report_card_keeps_the_secret() -> None:
    """A card names what is random, and not what it draws from."""
    guard = calibrated(secret_seed=987654)
    report = guard.redteam(load_data("demo").x[300:304], plan=Plan(steps=2, queries=2, decisions=0))
    card = json.dumps(cards.card(report, guard.manifest, artifact="guard.safetensors", bar=None))
    assert "seed=secret" in card
    assert "987654" not in card


def test_recipe_that_names_a_seed_is_taken_at_its_word() -> None:
    """What a recipe says stays as it is."""
    named = replace(NOISY, interventions=({**NOISY.interventions[0], "seed": 5},))
    assert seeds(calibrated(recipe=named, secret_seed=77)) == [5]
