"""The main job end to end on the embedded classifier: calibrate, gate, save, load, refuse."""

from __future__ import annotations

import logging
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from ce_detect.calibrate.recipe import Recipe
from ce_detect.calibrate.settings import CalibrationSettings
from ce_detect.core.errors import (
    AbstainedError,
    CalibrationError,
    InputError,
    ModelError,
    ModelMismatchError,
    NotCalibratedError,
    TooFewSamplesError,
)
from ce_detect.data import Images, load_data
from ce_detect.demo.model import fashion_cnn
from ce_detect.guard.detected_model import DetectedModel
from ce_detect.verdict.policies import Abstain, FallBack

SMALL: dict[str, Any] = {
    "splits": {"fit": 0.4, "select": 0.2, "calibrate": 0.3, "test": 0.1},
    "attack": [{"kind": "fgsm"}, {"kind": "pgd", "eps": "6/255", "eps_step": "2/255", "max_iter": 5}],
    "intervention": [{"kind": "Flip", "scale": 0.75}, {"kind": "Blur", "site": "stage2.8", "sigma": 0.7}],
}


@pytest.fixture(scope="module")
def images() -> Images:
    """Real test images of the embedded data."""
    return load_data("demo").subset(np.arange(800))


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache that the tests of this file share."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def guard(images: Images, cache: Path) -> DetectedModel:
    """A detector that most tests look at."""
    return calibrated(images, cache)


def calibrated(images: Images, cache: Path, **changes: Any) -> DetectedModel:
    """Calibrate on the first 600 images with a small recipe."""
    first = images.subset(np.arange(600))
    recipe = changes.pop("recipe", Recipe.parse("small", SMALL))
    settings: dict[str, Any] = {"fpr": 0.1, "budget": math.inf, "cache": cache, "jobs": 1, **changes}
    return DetectedModel(fashion_cnn()).calibrate(first.x, first.y, recipe=recipe, **settings)


@pytest.mark.slow
def test_strong_attacks_score_above_clean_images(guard: DetectedModel, images: Images, cache: Path) -> None:
    """Attacks that fool the classifier are told from clean images far better than by chance."""
    fresh = images.subset(np.arange(600, 800))
    figures = guard.evaluate(fresh.x, fresh.y, cache=cache, jobs=1)
    assert figures.attacks["pgd 6/255"].auroc_successes > 0.85
    assert figures.clean.false_positive_rate < 0.2
    assert figures.clean.n == 200
    assert figures.clean.passed_accuracy is not None


def test_the_result_is_in_the_kind_of_array_that_was_given(guard: DetectedModel, images: Images) -> None:
    """NumPy gives NumPy, torch gives torch, with equal values."""
    x = images.x[600:610]
    plain, tensors = guard(x), guard(torch.from_numpy(x))
    for field in ("logits", "label", "score", "p_value", "probability", "is_adversarial"):
        assert isinstance(getattr(plain, field), np.ndarray)
        assert isinstance(getattr(tensors, field), torch.Tensor)
        np.testing.assert_array_equal(getattr(plain, field), getattr(tensors, field).numpy())
    assert plain.logits.shape == (10, 10)
    assert plain.is_adversarial.dtype == bool


def test_logits_are_those_of_the_model(guard: DetectedModel, images: Images) -> None:
    """The gate does not change what the classifier says."""
    x = images.x[600:650]
    with torch.inference_mode():
        expected = guard.model(torch.from_numpy(x)).numpy()
    np.testing.assert_allclose(guard(x).logits, expected, atol=1e-3)


def test_a_batch_of_one_equals_a_row_of_a_batch(guard: DetectedModel, images: Images) -> None:
    """What else is in the batch does not matter."""
    x = images.x[600:640]
    whole = guard(x).score
    alone = np.concatenate([guard(x[i : i + 1]).score for i in range(5)])
    np.testing.assert_allclose(alone, whole[:5], atol=1e-4)


def test_a_large_batch_equals_its_parts(guard: DetectedModel, images: Images) -> None:
    """Inputs beyond the chunk size are judged in parts that change nothing."""
    x = images.x[:300]
    np.testing.assert_allclose(guard(x).score, np.concatenate([guard(x[:150]).score, guard(x[150:]).score]), atol=1e-4)


def test_p_value_and_verdict_agree_with_the_clean_scores(guard: DetectedModel, images: Images) -> None:
    """A flagged input has a p-value of at most the promised rate; probability grows with the score."""
    result = guard(images.x[600:800])
    clean = guard.gate.clean_scores.numpy()
    expected = (1 + (clean[None] >= result.score[:, None]).sum(1)) / (len(clean) + 1)
    np.testing.assert_allclose(result.p_value, expected, rtol=1e-6)
    assert (result.p_value[result.is_adversarial] <= 0.1).all()
    order = np.argsort(result.score)
    assert (np.diff(result.probability[order]) >= -1e-6).all()


def test_save_load_save_gives_the_same_bytes_and_verdicts(guard: DetectedModel, images: Images, tmp_path: Path) -> None:
    """An artifact is all of the detector."""
    guard.save(tmp_path / "a.safetensors")
    again = DetectedModel.load(tmp_path / "a.safetensors", fashion_cnn())
    again.save(tmp_path / "b.safetensors")
    assert (tmp_path / "a.safetensors").read_bytes() == (tmp_path / "b.safetensors").read_bytes()
    np.testing.assert_array_equal(again(images.x[:50]).score, guard(images.x[:50]).score)


@pytest.mark.slow
def test_the_same_seed_gives_the_same_bytes(guard: DetectedModel, images: Images, cache: Path, tmp_path: Path) -> None:
    """Calibrating again, attacks included, changes nothing."""
    guard.save(tmp_path / "a.safetensors")
    (tmp_path / "costs").mkdir()
    for table in (cache / "costs").glob("*.safetensors"):  # measured times are the one thing that no seed fixes
        (tmp_path / "costs" / table.name).write_bytes(table.read_bytes())
    calibrated(images, tmp_path).save(tmp_path / "b.safetensors")
    assert (tmp_path / "a.safetensors").read_bytes() == (tmp_path / "b.safetensors").read_bytes()


def test_other_weights_are_refused_unless_told(guard: DetectedModel, tmp_path: Path) -> None:
    """A detector belongs to the model it was calibrated for."""
    guard.save(tmp_path / "a.safetensors")
    other = fashion_cnn()
    with torch.no_grad():
        next(other.parameters()).mul_(1.01)
    with pytest.raises(ModelMismatchError, match="Calibrate again"):
        DetectedModel.load(tmp_path / "a.safetensors", other)
    DetectedModel.load(tmp_path / "a.safetensors", other, allow_other_model=True)


def test_other_preprocessing_is_refused(guard: DetectedModel, tmp_path: Path) -> None:
    """The same weights behind another preprocessing are another model."""

    class Brighter(type(fashion_cnn())):  # type: ignore[misc]
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            logits: torch.Tensor = super().forward(x * 0.5 + 0.4)
            return logits

    guard.save(tmp_path / "a.safetensors")
    other = fashion_cnn()
    other.__class__ = Brighter
    with pytest.raises(ModelMismatchError, match="preprocessing"):
        DetectedModel.load(tmp_path / "a.safetensors", other)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda x: x[0], "x\\[None\\]"),
        (lambda x: x[:0], "empty batch"),
        (lambda x: (x * 255).astype(np.uint8), "floating point"),
        (lambda x: x * 255, "outside the bounds"),
        (lambda x: np.where(x > 0.5, np.nan, x), "NaN"),
        (lambda x: x.transpose(0, 2, 3, 1), "channels come first"),
        (lambda x: x.tolist(), "list"),
    ],
)
def test_inputs_that_cannot_be_judged_are_refused(
    guard: DetectedModel, images: Images, change: Any, message: str
) -> None:
    """Each names what was passed and the remedy."""
    with pytest.raises(InputError, match=message):
        guard(change(images.x[:4]))


def test_policies(guard: DetectedModel, images: Images, cache: Path) -> None:
    """Abstain hides or raises, a fallback answers; what passes keeps its label."""
    from ce_detect.attacks import Attack
    from ce_detect.attacks.generation import attack_all

    attack = Attack.of("pgd")
    x = attack_all(guard.classifier, images.x[600:664], (attack,), seed=0, cache=cache, jobs=1)[attack.name].x
    plain = guard(x)
    flagged = plain.is_adversarial
    assert flagged.sum() > 0
    abstained = guard(x, policy="abstain")
    assert (abstained.label[flagged] == -1).all()
    np.testing.assert_array_equal(abstained.label[~flagged], plain.label[~flagged])
    answered = guard(torch.from_numpy(x), policy=lambda part: torch.full((len(part),), 7))
    assert (answered.label[torch.from_numpy(flagged)] == 7).all()
    logits = guard(x, policy=FallBack(lambda part: np.eye(10)[np.full(len(part), 3)]))
    assert (logits.label[flagged] == 3).all()
    with pytest.raises(AbstainedError) as caught:
        guard(x, policy=Abstain(raise_error=True))
    assert caught.value.indices == tuple(np.flatnonzero(flagged))
    with pytest.raises(ValueError, match="policy"):
        guard(x, policy="panic")


def test_the_score_is_differentiable(guard: DetectedModel, images: Images) -> None:
    """An adaptive attacker gets gradients of the score; nothing is masked."""
    x = torch.from_numpy(images.x[:4].copy()).requires_grad_(True)
    guard.gate(x).score.sum().backward()
    assert x.grad is not None
    assert (x.grad.flatten(1).abs().sum(1) > 0).all()


def test_a_gate_before_calibration_says_what_to_do() -> None:
    """Neither verdict nor file before calibration."""
    guard = DetectedModel(fashion_cnn())
    with pytest.raises(NotCalibratedError, match="calibrate"):
        guard(np.zeros((1, 1, 28, 28), np.float32))
    with pytest.raises(NotCalibratedError, match="calibrate"):
        guard.save("nowhere.safetensors")


def test_too_few_images_are_refused_before_any_attack(images: Images, tmp_path: Path) -> None:
    """The error names the number of images that would do, and no attack was run."""
    with pytest.raises(TooFewSamplesError, match="would do") as caught:
        calibrated(images, tmp_path, fpr=0.001)
    assert caught.value.given == 600
    assert not (tmp_path / "attacks").exists()
    assert caught.value.needed > 600


def test_images_of_one_class_are_taken(images: Images, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Traffic in which a class is rare is normal; the log says what else it may be."""
    labels = fashion_cnn()(torch.from_numpy(images.x)).argmax(1).numpy()
    one = np.repeat(images.x[labels == labels[0]], 8, axis=0)[:600]
    one = np.clip(one + np.linspace(0, 1e-3, len(one), dtype=np.float32)[:, None, None, None], 0, 1)
    recipe = Recipe.parse("clean", {"head": "distance", "intervention": [{"kind": "Flip"}]})
    guard = DetectedModel(fashion_cnn()).calibrate(one, recipe=recipe, fpr=0.1, budget=math.inf, cache=tmp_path)
    assert "gives 100 % of the images the label" in caplog.text
    assert guard(one).is_adversarial.mean() < 0.2


def test_attacks_that_never_succeed_are_refused(images: Images, tmp_path: Path) -> None:
    """An attack too weak to fool the classifier leaves nothing to learn from; the error counts its successes."""
    weak = Recipe.parse("weak", {**SMALL, "attack": [{"kind": "fgsm", "eps": "1/25500"}]})
    with pytest.raises(CalibrationError, match="fgsm 1/25500: 0 and 0"):
        calibrated(images, tmp_path, recipe=weak)


@pytest.mark.slow
def test_one_attack_that_never_succeeds_is_left_out(
    images: Images, cache: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The others still make a detector, and a warning says so."""
    mixed = Recipe.parse("mixed", {**SMALL, "attack": [{"kind": "fgsm", "eps": "1/25500"}, *SMALL["attack"]]})
    with caplog.at_level(logging.WARNING, logger="ce_detect"):
        guard = calibrated(images, cache, recipe=mixed)
    assert "fgsm 1/25500 succeeded only 0 times" in caplog.text
    assert guard.manifest["recipe"]["learned_from"] == ["fgsm 8/255", "pgd 6/255"]


def test_a_budget_below_one_is_refused(images: Images, tmp_path: Path) -> None:
    """The model itself runs once."""
    with pytest.raises(CalibrationError, match=r"above 1\.0"):
        calibrated(images, tmp_path, budget=0.9)


@pytest.mark.slow
def test_a_tight_budget_leaves_interventions_out(images: Images, cache: Path, caplog: pytest.LogCaptureFixture) -> None:
    """When the measured cost is above the budget, interventions go until it is not or none are left, which is told."""
    recipe = Recipe.parse(
        "greedy", {**SMALL, "intervention": [*SMALL["intervention"], {"kind": "GridMask", "cells": 4}]}
    )
    guard = calibrated(images, cache, recipe=recipe, budget=3.0)
    names = guard.manifest["signature"]["names"]
    assert not any(name.startswith("GridMask") for name in names)
    assert guard.manifest["figures"]["cost"] <= 3.0
    assert "no intervention that recipe" not in caplog.text
    assert calibrated(images, cache, recipe=recipe, budget=1.02).manifest["signature"]["names"] == []
    assert "no intervention that recipe 'greedy' names keeps the budget of 1.02" in caplog.text


@pytest.mark.slow
def test_the_search_finds_interventions_within_the_budget(images: Images, cache: Path) -> None:
    """A searched signature beats the free statistics on its own objective and keeps its measured cost."""
    plain = {key: value for key, value in SMALL.items() if key != "intervention"}
    guard = calibrated(images, cache, recipe=Recipe.parse("search", plain), budget=6.0)
    found = guard.manifest["search"]
    assert guard.manifest["signature"]["interventions"]
    assert found["objective"] > found["free"]
    assert guard.manifest["figures"]["cost"] <= 6.0


@pytest.mark.slow
def test_clean_only_calibration_needs_no_attack(images: Images, cache: Path) -> None:
    """The distance head detects something, promises the same rate, and reports no probability."""
    guard = DetectedModel(fashion_cnn()).calibrate(
        images.x[:600], recipe="clean-only", fpr=0.1, budget=3.0, cache=cache, jobs=1
    )
    result = guard(images.x[600:])
    assert np.isnan(result.probability).all()
    assert result.is_adversarial.mean() < 0.25


def test_batches_give_the_same_detector_as_arrays(guard: DetectedModel, images: Images, cache: Path) -> None:
    """An iterable of (images, labels) batches is as good as two arrays, and settings as good as keywords."""
    batches = [(images.x[i : i + 100], images.y[i : i + 100]) for i in range(0, 600, 100)]  # type: ignore[index]
    settings = CalibrationSettings.of(recipe=Recipe.parse("small", SMALL), fpr=0.05, cache=cache, jobs=1)
    other = DetectedModel(fashion_cnn()).calibrate(batches, None, settings, fpr=0.1, budget=math.inf)
    assert other.manifest == guard.manifest


def test_training_mode_is_refused() -> None:
    """Dropout and batch statistics would change the answers."""
    with pytest.raises(ModelError, match=r"model\.eval\(\)"):
        DetectedModel(fashion_cnn().train())


@pytest.mark.slow
def test_one_logit_is_read_as_log_odds(images: Images, cache: Path) -> None:
    """A binary classifier with one output is calibrated and gated as two classes."""
    binary = nn.Sequential(fashion_cnn(), nn.Linear(10, 1)).eval()
    with torch.no_grad():
        weights = torch.where(torch.arange(10) < 5, 0.5, -0.5)
        binary[1].weight.copy_(weights[None])
        binary[1].bias.zero_()
    guard = DetectedModel(binary).calibrate(images.x[:600], recipe="clean-only", fpr=0.1, budget=5.0, cache=cache)
    result = guard(images.x[600:620])
    with torch.inference_mode():
        expected = (binary(torch.from_numpy(images.x[600:620]))[:, 0] > 0).long().numpy()
    np.testing.assert_array_equal(result.label, expected)


def test_splits_keep_twins_together_and_calibrate_clean(guard: DetectedModel) -> None:
    """The manifest counts the splits, and the threshold comes from the clean *calibrate* split alone."""
    splits = guard.manifest["data"]["splits"]
    assert sum(splits.values()) == 600
    assert len(guard.gate.clean_scores) == splits["calibrate"]


def test_copies_of_images_are_no_evidence(images: Images, tmp_path: Path) -> None:
    """A promise needs distinct images, however often they are repeated."""
    few = np.repeat(images.x[:40], 30, axis=0)
    with pytest.raises(TooFewSamplesError) as caught:
        DetectedModel(fashion_cnn()).calibrate(few, recipe="clean-only", fpr=0.1, cache=tmp_path)
    assert caught.value.given == 40


def test_splits_that_cannot_teach_are_refused(images: Images, tmp_path: Path) -> None:
    """Attacks need successes in both splits that learn from them; nothing crashes half-way."""
    no_select = Recipe.parse("s", {**SMALL, "splits": {"fit": 0.6, "select": 0.0, "calibrate": 0.3, "test": 0.1}})
    with pytest.raises(CalibrationError, match="select split"):
        calibrated(images, tmp_path, recipe=no_select)
    with pytest.raises(CalibrationError, match="no images to fit on"):
        Recipe.parse("s", {**SMALL, "splits": {"fit": 0.0, "select": 0.6, "calibrate": 0.3, "test": 0.1}})


@pytest.mark.slow
def test_attack_time_limits_all_splits_together(images: Images, tmp_path: Path) -> None:
    """With no time at all, every split still gets the first chunk of each attack, and no more."""
    calibrated(images, tmp_path, attack_time=0.0)
    chunks = len(list((tmp_path / "attacks").glob("*.safetensors")))
    assert chunks == 2 * 3  # attacks, splits


@pytest.mark.slow
def test_an_unbounded_search_uses_more_than_a_tight_one(images: Images, cache: Path) -> None:
    """Budgets order what the search may choose: 1.1 keeps to cheap statistics, no limit takes all that is worth it."""
    plain = Recipe.parse("search", {key: value for key, value in SMALL.items() if key != "intervention"})
    free = calibrated(images, cache, recipe=plain, budget=math.inf).manifest
    tight = calibrated(images, cache, recipe=plain, budget=1.1).manifest
    assert free["search"]["objective"] > tight["search"]["free"]
    assert len(free["signature"]["interventions"]) >= len(tight["signature"]["interventions"])
    assert free["budget"] is None
    assert free["figures"]["cost"] > tight["figures"]["cost"]


@pytest.mark.slow
def test_recalibration_follows_new_weights(images: Images, cache: Path) -> None:
    """Weights that changed after wrapping are the ones that are calibrated and fingerprinted."""
    guard = calibrated(images, cache)
    with torch.no_grad():
        for parameter in guard.model.parameters():
            parameter.mul_(1.001)
    before = guard.manifest["model"]["fingerprint"]
    first = images.subset(np.arange(600))
    guard.calibrate(first.x, first.y, recipe="clean-only", fpr=0.1, budget=5.0, cache=cache)
    assert guard.manifest["model"]["fingerprint"] != before
    with torch.inference_mode():
        expected = guard.model(torch.from_numpy(first.x[:8])).numpy()
    np.testing.assert_allclose(guard(first.x[:8]).logits, expected, atol=1e-3)


def test_nan_among_calibration_images_is_named(images: Images, tmp_path: Path) -> None:
    """The error speaks of NaN, not of bounds."""
    bad = images.x[:600].copy()
    bad[3, 0, 0, 0] = np.nan
    with pytest.raises(InputError, match="NaN"):
        DetectedModel(fashion_cnn()).calibrate(bad, recipe="clean-only", fpr=0.1, cache=tmp_path)
