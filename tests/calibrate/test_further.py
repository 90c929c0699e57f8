"""Attacks that people found: they join what a calibration learns from."""

from __future__ import annotations

import logging
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from support import calibrated
from support.models import as_array, tiny_images

from ce_detect.calibrate import dataset, further
from ce_detect.calibrate.settings import CalibrationSettings
from ce_detect.core.errors import CalibrationError, InputError
from ce_detect.data import Images
from ce_detect.demo.model import fashion_cnn
from ce_detect.guard.detected_model import DetectedModel


def divided(also_attacked: Any, **changes: Any) -> dataset.Divided:
    """Images of a calibration in splits, with attacks that people found."""
    images = Images(as_array(tiny_images("plain", 400)), bounds=(0.0, 1.0))
    asked = {"recipe": calibrated.QUICK, "guarantee": "marginal", "fpr": 0.1, "also_attacked": also_attacked, **changes}
    return dataset.divided(images, CalibrationSettings.of(**asked))


def others(count: int) -> NDArray[np.float32]:
    """Other images of the same shape."""
    return as_array(tiny_images("plain", count, seed=9))


def test_they_join_fit_and_select_once() -> None:
    """In the proportion of these splits; copies count once, and none is used for anything else."""
    some = others(70)
    found = divided(np.concatenate([some, some[:9]]))
    assert {split: len(part) for split, part in found.reviewed.items()} == {"fit": 50, "select": 20}
    assert len(found.beside_identities) == 70
    assert divided(None).reviewed == {}


def test_what_is_clean_is_no_attack(caplog: pytest.LogCaptureFixture) -> None:
    """Clean images of the calibration, or of the user's own, are left out with a warning."""
    clean, own = as_array(tiny_images("plain", 400))[:3], as_array(tiny_images("plain", 100, seed=5))
    found = divided(np.concatenate([others(70), clean, own[:4]]), also_clean=own)
    assert sum(len(part) for part in found.reviewed.values()) == 70
    assert "7 images of also_attacked are among the clean images" in caplog.text


def test_too_few_teach_nothing(caplog: pytest.LogCaptureFixture) -> None:
    """The warning says how many would do, and so many do."""
    with caplog.at_level(logging.WARNING, "ce_detect"):
        assert divided(others(5)).reviewed == {}
    needed = int(caplog.text.split("look different; ")[1].split()[0])
    assert divided(others(needed - 1)).reviewed == {}
    assert {split: len(part) >= further.LEAST[split] for split, part in divided(others(needed)).reviewed.items()} == {
        "fit": True, "select": True,
    }  # fmt: skip


def test_variants_of_one_image_stay_on_one_side() -> None:
    """An attacker sends each of 30 images in five variants: none of them is in *fit* and *select* at once."""
    some = others(30)
    changes = np.random.default_rng(0).uniform(-8 / 255, 8 / 255, (5, *some.shape)).astype(np.float32)
    found = divided((some + changes).clip(0, 1).reshape(-1, *some.shape[1:])).reviewed
    fit, select = (np.asarray(found[split][:]) for split in ("fit", "select"))
    assert len(fit) + len(select) == 150
    distance = np.abs(fit[:, None] - select[None]).max((2, 3, 4))
    assert distance.min() > 16 / 255


def test_variants_of_few_images_teach_nothing(caplog: pytest.LogCaptureFixture) -> None:
    """Nothing could say whether what is learned holds for another image."""
    one = others(1) * np.linspace(0.99, 1, 70, dtype=np.float32)[:, None, None, None]
    with caplog.at_level(logging.WARNING, "ce_detect"):
        assert divided(one).reviewed == {}
    assert "70 images of also_attacked, 1 of which look different" in caplog.text


def test_what_cannot_be_used_is_refused() -> None:
    """Another shape, pixels out of bounds, and a recipe that learns from no attack."""
    for wrong in (255 * others(70), others(70)[:, :, :-1]):
        with pytest.raises(InputError, match="also_attacked: "):
            divided(wrong)
    with pytest.raises(CalibrationError, match="also_attacked: recipe 'clean' learns from clean images alone"):
        divided(others(70), recipe=calibrated.CLEAN)


def test_a_gate_learns_attacks_that_people_found() -> None:
    """Stickers, which no attack of the recipe makes: more of them are flagged, and the manifest names them."""

    def with_sticker(x: NDArray[np.float32]) -> NDArray[np.float32]:
        x = x.copy()
        x[:, :, 4:14, 4:14] = np.indices((10, 10)).sum(0) % 2
        return x

    first, (fresh, _) = calibrated.images(), calibrated.fresh()
    settings: dict[str, Any] = {"recipe": calibrated.QUICK, "jobs": 1, "cache": calibrated.cache()}
    found = with_sticker(fresh[:120])
    taught = DetectedModel(fashion_cnn()).calibrate(
        first.x, first.y, also_attacked=found, **settings, **calibrated.SETTINGS
    )
    assert further.REVIEWED in taught.manifest["recipe"]["learned_from"]
    flagged = [float(guard(with_sticker(fresh[120:])).is_adversarial.mean()) for guard in (calibrated.guard(), taught)]
    assert flagged[1] > flagged[0] + 0.2
