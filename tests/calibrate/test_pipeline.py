"""Natural change and the clean-only detector in a calibration: promises, figures, artifact."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from support import calibrated

from ce_detect.calibrate.recipe import Recipe
from ce_detect.data import Images, load_data
from ce_detect.data.corruptions import Corruption, mixture
from ce_detect.data.splits import identities, split
from ce_detect.demo.model import fashion_cnn
from ce_detect.evaluate.metrics import auroc
from ce_detect.evaluate.report import Report
from ce_detect.guard.detected_model import DetectedModel
from ce_detect.heads.mahalanobis import DistanceHead
from ce_detect.verdict import conformal

RECIPE: dict[str, Any] = {
    "head": "logistic",
    "splits": {"fit": 0.4, "select": 0.2, "calibrate": 0.3, "test": 0.1},
    "attack": [calibrated.PGD],
    "intervention": [{"kind": "Flip"}],
}
PGD = "pgd 6/255"
HARSH = (Corruption("gaussian-noise", 2), Corruption("contrast", 1))


@pytest.fixture(scope="module")
def images() -> Images:
    """Real test images of the embedded data; no detector here saw those after the first 600."""
    return load_data("demo", limit=1000)


@pytest.fixture(scope="module")
def plain() -> DetectedModel:
    """A detector for which corrupted images are no concern."""
    return calibrated.guard()


@pytest.fixture(scope="module")
def natural(images: Images) -> DetectedModel:
    """One for which corruptions count as clean."""
    corruptions = [corruption.spec() for corruption in HARSH]
    return calibrate(images, {**RECIPE, "corruption": corruptions, "corrupted": 0.7})


@pytest.fixture(scope="module")
def report(plain: DetectedModel, images: Images) -> Report:
    """Figures of the plain detector on images it has not seen."""
    fresh = images.subset(slice(600, 800))
    return plain.evaluate(fresh.x, fresh.y, corruptions=HARSH, cache=calibrated.cache(), jobs=1)


def calibrate(images: Images, recipe: dict[str, Any]) -> DetectedModel:
    """Calibrate on the first 600 images."""
    return DetectedModel(fashion_cnn()).calibrate(
        images.x[:600], recipe=Recipe.parse("r", recipe), cache=calibrated.cache(), jobs=1, **calibrated.SETTINGS
    )


def calibration_split(guard: DetectedModel, images: Images) -> NDArray[np.float32]:
    """The images that set the threshold."""
    first = images.x[:600]
    return first[split(identities(first), guard.manifest["recipe"]["splits"], guard.manifest["seed"])["calibrate"]]


# ---- natural change


def test_the_threshold_holds_on_plain_images_and_on_the_mixture(natural: DetectedModel, images: Images) -> None:
    """It is the larger of two thresholds, each from one score an image; p-values stay with the plain scores."""
    x = calibration_split(natural, images)
    mixed = mixture(x, HARSH, share=0.7, bounds=(0.0, 1.0), seed=0)
    scores = [natural(variant).score for variant in (x, mixed)]
    np.testing.assert_allclose(natural.gate.clean_scores, np.sort(scores[0]), atol=1e-4)
    assert natural.threshold == pytest.approx(max(conformal.threshold(found, 0.1) for found in scores), abs=1e-4)
    flagged = natural(images.x[600:])
    assert (flagged.p_value[flagged.is_adversarial] <= 0.1).all()


def test_corrupted_images_that_were_learned_pass(plain: DetectedModel, natural: DetectedModel, images: Images) -> None:
    """The promise to the mixture holds on fresh images, where a detector that never saw corruptions breaks it."""
    mixed = mixture(images.x[600:], HARSH, share=0.7, bounds=(0.0, 1.0), seed=9)
    rates = [float(guard(mixed).is_adversarial.mean()) for guard in (plain, natural)]
    assert rates[1] < 0.12 < 0.15 < rates[0]


def test_the_manifest_says_what_counts_as_clean(plain: DetectedModel, natural: DetectedModel) -> None:
    """Corruptions and their share are kept, and the test split has figures under each."""
    recipe = natural.manifest["recipe"]
    assert (recipe["corruptions"], recipe["corrupted"]) == ([corruption.spec() for corruption in HARSH], 0.7)
    figures = natural.manifest["figures"]["test"]
    assert list(figures["corruptions"]) == ["gaussian-noise 2", "contrast 1"]
    assert 0.5 < figures["attacks"][PGD]["clean_only"]["auroc"] < 1
    assert (plain.manifest["recipe"]["corruptions"], plain.manifest["recipe"]["corrupted"]) == ([], 0.0)


def test_false_alarms_are_counted_by_corruption(plain: DetectedModel, report: Report, images: Images) -> None:
    """Shares are those of the verdicts, over all images and over those whose decision stays."""
    x, y = images.x[600:800], images.y[600:800]  # type: ignore[index]
    for corruption in HARSH:
        figures, verdicts = report.corruptions[corruption.name], plain(corruption(x, bounds=(0.0, 1.0), seed=1))
        same = verdicts.label == plain(x).label
        assert figures.n == 200
        assert figures.false_positive_rate == pytest.approx(verdicts.is_adversarial.mean())
        assert figures.false_positive_rate_unchanged == pytest.approx(verdicts.is_adversarial[same].mean())
        assert figures.changed_rate == pytest.approx((~same).mean())
        assert figures.accuracy == pytest.approx((verdicts.label == y).mean())
        beside = plain.clean_only(corruption(x, bounds=(0.0, 1.0), seed=1))
        assert figures.clean_only_false_positive_rate == pytest.approx(beside.is_adversarial.mean())


# ---- clean-only


def test_clean_only_stands_beside(plain: DetectedModel, report: Report, images: Images) -> None:
    """A supervised detector carries one that no attack taught, with figures of its own for each attack."""
    x = images.x[600:800]
    result = plain.clean_only(x)
    assert isinstance(plain.gate.clean_only.head, DistanceHead)  # type: ignore[union-attr]
    assert np.isnan(result.probability).all()
    np.testing.assert_array_equal(result.is_adversarial, result.score > result.threshold)
    np.testing.assert_array_equal(result.label, plain(x).label)
    assert report.clean.clean_only_false_positive_rate == pytest.approx(result.is_adversarial.mean())
    assert result.is_adversarial.mean() < 0.2
    beside = report.attacks[PGD].clean_only
    assert beside is not None
    assert 0.75 < beside.auroc_successes < 1
    assert beside.auroc != report.attacks[PGD].auroc


def test_clean_only_detection_is_that_of_its_scores(plain: DetectedModel, images: Images) -> None:
    """The figures beside are those of its own scores at its own threshold."""
    from ce_detect.attacks import Attack
    from ce_detect.attacks.generation import attack_all
    from ce_detect.evaluate import report

    x = images.x[600:664]
    attack = Attack.of("fgsm", eps="8/255")
    twins = attack_all(plain.classifier, x, (attack,), seed=0, cache=calibrated.cache(), jobs=1)
    figures = report.evaluate(plain.gate, x, None, twins, target=0.1).attacks[attack.name].clean_only
    clean, attacked = plain.clean_only(x), plain.clean_only(twins[attack.name].x)
    success = attacked.label != clean.label
    assert figures is not None
    assert figures.auroc_successes == pytest.approx(auroc(clean.score, attacked.score[success]), abs=1e-3)
    assert figures.detection_rate == pytest.approx(attacked.is_adversarial.mean())
    assert figures.detection_rate_successes == pytest.approx(attacked.is_adversarial[success].mean())


def test_gating_does_not_ask_the_clean_only_detector(plain: DetectedModel, images: Images) -> None:
    """Its score is computed only where it is asked for."""
    asked = []
    handle = plain.gate.clean_only.head.register_forward_hook(lambda *_: asked.append(1))  # type: ignore[union-attr]
    try:
        plain(images.x[:8])
        assert not asked
        plain.clean_only(images.x[:8])
        assert asked
    finally:
        handle.remove()


def test_an_artifact_keeps_both(natural: DetectedModel, images: Images, tmp_path: Path) -> None:
    """After loading, both detectors say what they said, and saving again gives the same bytes."""
    natural.save(tmp_path / "a.safetensors")
    again = DetectedModel.load(tmp_path / "a.safetensors", fashion_cnn())
    again.save(tmp_path / "b.safetensors")
    assert (tmp_path / "a.safetensors").read_bytes() == (tmp_path / "b.safetensors").read_bytes()
    for judge in (DetectedModel.__call__, DetectedModel.clean_only):
        before, after = (judge(guard, images.x[600:650]) for guard in (natural, again))
        np.testing.assert_array_equal(before.score, after.score)
        np.testing.assert_array_equal(before.p_value, after.p_value)
        assert before.threshold == after.threshold


def test_a_detector_without_attacks_is_its_own(images: Images) -> None:
    """There is no second head then, and no figures beside."""
    guard = calibrate(images, {**RECIPE, "head": "distance", "attack": []})
    assert guard.gate.clean_only is None
    x = torch.from_numpy(images.x[600:640])
    assert torch.equal(guard.clean_only(x).score, guard(x).score)
    assert guard.manifest["figures"]["test"]["clean"]["clean_only_false_positive_rate"] is None
