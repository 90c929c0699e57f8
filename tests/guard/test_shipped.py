"""What ships with the demo."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest

from ce_detect.attacks import Attack
from ce_detect.attacks.generation import attack_all
from ce_detect.calibrate.dataset import divided
from ce_detect.calibrate.settings import CalibrationSettings
from ce_detect.classifiers.segmented import TorchClassifier
from ce_detect.classifiers.wrapping import wrap
from ce_detect.data import Images, load_data
from ce_detect.demo.model import fashion_cnn_light
from ce_detect.guard import shipped
from ce_detect.guard.demonstration import SHAPE, Sizes

FGSM = Attack.of("fgsm")


def test_what_is_packed_is_found_by_an_attack(
    fashion: TorchClassifier, demo_images: Images, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Images come back as 8-bit files hold them, and are not made again; what is missing is counted."""
    clean = demo_images.x[:70]
    attacked = np.clip(clean + np.float32(0.0304), 0, 1)
    file = io.BytesIO()
    np.savez_compressed(file, **shipped.arrays(shipped.packed({FGSM.name: (clean, attacked)})))
    (tmp_path / "assets").mkdir()
    (tmp_path / "assets" / "fashion_attacks.npz").write_bytes(file.getvalue())
    monkeypatch.setattr(shipped, "files", lambda _: tmp_path)
    images = shipped.load()
    assert shipped.unpack(images, fashion, clean, (FGSM,), seed=5, cache=tmp_path) == 0
    found = attack_all(fashion, clean, (FGSM,), seed=5, cache=tmp_path, jobs=1)[FGSM.name]
    np.testing.assert_allclose(found.x, np.round(attacked * 255) / 255, atol=1e-6)
    more = demo_images.x[:100]
    assert shipped.unpack(images, fashion, more, (FGSM, Attack.of("pgd")), seed=6, cache=tmp_path) == 36 + 100


def test_what_ships_is_all_that_the_demo_needs(tmp_path: Path) -> None:
    """With the seed 0 no attack is made: not for calibration, not for held-out images."""
    sizes, images = Sizes(), shipped.load()
    settings = CalibrationSettings.of(recipe="quick", fpr=0.05)
    data = load_data("demo", limit=sizes.calibration + sizes.held_out)
    classifier = wrap(fashion_cnn_light(), input_shape=SHAPE, bounds=(0.0, 1.0))
    parts = divided(data.subset(slice(sizes.calibration)), settings)
    attacks = settings.recipe.attacks
    for split in ("fit", "select", "test"):
        assert shipped.unpack(images, classifier, parts.clean(split), attacks, seed=0, cache=tmp_path) == 0
    held_out = data.x[sizes.calibration : sizes.calibration + sizes.attacked]
    everything = (*attacks, Attack.of("apgd-dlr"))
    assert shipped.unpack(images, classifier, held_out, everything, seed=1, cache=tmp_path) == 0
    found = attack_all(classifier, held_out, everything, seed=1, cache=tmp_path, jobs=1)
    strongest = found["apgd-dlr 8/255"]
    assert np.abs(strongest.x - held_out).max() <= 8.01 / 255
