"""Hardening: rounds of adaptive examples that the detector learns from."""

from __future__ import annotations

import functools
import math
import shutil
from typing import Any

import numpy as np
import pytest
from support.calibrated import CLEAN, QUICK, SETTINGS, cache, guard, images

from ce_detect.calibrate import adversarial_rounds as hardening
from ce_detect.core.errors import CalibrationError
from ce_detect.data.splits import identities, split_by_identity
from ce_detect.demo.model import fashion_cnn
from ce_detect.fitting import robust_copy
from ce_detect.guard.detected_model import DetectedModel
from ce_detect.heads.disagreement import DisagreementHead

ROUNDS = 2


def calibrated(**changes: Any) -> DetectedModel:
    """The detector of `calibrated.guard`, hardened."""
    first, settings = images(), {"recipe": QUICK, "harden": ROUNDS, **SETTINGS, **changes}
    return DetectedModel(fashion_cnn()).calibrate(first.x, first.y, jobs=1, **{"cache": cache(), **settings})


@pytest.fixture(autouse=True)
def _few(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hardening, "IMAGES", {"fit": 75, "select": 30})
    monkeypatch.setattr(hardening, "STEPS", 8)
    monkeypatch.setattr(robust_copy, "BATCH", 32)
    monkeypatch.setattr(robust_copy, "IMAGES", 90 * 32)
    monkeypatch.setattr(hardening, "RADIUS_IMAGES", 16)


@functools.cache
def hardened() -> DetectedModel:
    """Made once, by the first test that asks."""
    return calibrated()


@pytest.mark.slow
def test_rounds_are_in_the_manifest() -> None:
    """Each round says what was found, how much of it passed before, and how much passes after it was learned.

    After all rounds no more passes than before them. One round may give nothing with a hundred examples: clean images
    score higher, too, so the threshold rises.
    """
    rounds = hardened().manifest["figures"]["hardening"]
    assert [one["name"] for one in rounds] == ["adaptive-round-1", "adaptive-round-2"]
    assert all(0 < one["examples"] <= 105 for one in rounds)
    assert rounds[-1]["passes_after"] <= rounds[0]["passed_before"]
    assert guard().manifest["figures"]["hardening"] == []


@pytest.mark.slow
def test_copy_comes_first_and_the_rest_stays() -> None:
    """A hardened copy is added to what is done to the inputs; the head is fitted again."""
    plain, hard = guard().gate, hardened().gate
    added = [name for name in hard.signature.names if name.startswith("RobustCopy")]
    assert len(added) == 6
    assert plain.signature.names == tuple(name for name in hard.signature.names if name not in added)
    assert not np.allclose(plain.clean_scores, hard.clean_scores)
    assert isinstance(hard.head, DisagreementHead)


@pytest.mark.slow
def test_same_seed_same_detector_with_and_without_the_cache(caplog: pytest.LogCaptureFixture) -> None:
    """Adaptive examples from the cache are those that would be made; damaged ones are made again."""
    first = hardened()
    from_cache = calibrated()
    assert "cannot be read" not in caplog.text
    for path in (cache() / "adaptive").iterdir():
        path.write_bytes(path.read_bytes()[:-100])
    after_damage = calibrated()
    assert "adaptive examples in" in caplog.text
    shutil.rmtree(cache() / "adaptive")
    for other in (from_cache, after_damage, calibrated()):
        assert np.array_equal(first.gate.clean_scores, other.gate.clean_scores)
        assert other.threshold == first.threshold


@pytest.mark.slow
def test_only_fit_and_select_are_attacked(monkeypatch: pytest.MonkeyPatch) -> None:
    """No image that sets the threshold or is kept for testing is ever attacked by hardening."""
    shown: list[Any] = []
    run = hardening._run

    def watched(gate: Any, x: Any, reach: float) -> Any:
        shown.append(identities(x.numpy()))
        return run(gate, x, reach)

    monkeypatch.setattr(hardening, "_run", watched)
    shutil.rmtree(cache() / "adaptive", ignore_errors=True)
    calibrated(harden=1)
    parts = split_by_identity(images().x, QUICK.splits, 0)
    allowed = identities(images().x[np.concatenate([parts["fit"], parts["select"]])])
    assert len(shown) == 2
    assert np.isin(np.concatenate(shown), allowed).all()


def test_promise_holds_on_the_clean_images_that_set_it() -> None:
    """The threshold of a hardened detector comes from clean scores as ever."""
    gate = hardened().gate
    assert float((gate.clean_scores > gate.threshold).float().mean()) <= SETTINGS["fpr"]


def test_recipe_without_attacks_is_refused() -> None:
    """A detector that learns from clean images alone has nothing to be hardened."""
    with pytest.raises(CalibrationError, match="harden"):
        calibrated(recipe=CLEAN, budget=math.inf)


def test_saved_and_loaded(tmp_path: Any) -> None:
    """A hardened detector is an artifact like any other."""
    hardened().save(tmp_path / "hard.safetensors")
    loaded = DetectedModel.load(tmp_path / "hard.safetensors", fashion_cnn())
    assert loaded.manifest == hardened().manifest
