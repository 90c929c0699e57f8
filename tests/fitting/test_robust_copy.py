"""A robust copy of a classifier: what it is untrained, and what training makes of it."""

from __future__ import annotations

import functools
import logging
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from support.calibrated import QUICK, cache, images
from support.gates import demo
from support.hardening import harden_quickly
from torch import Tensor, nn

from ce_detect import CalibrationError, DetectedModel
from ce_detect.classifiers import batchnorm
from ce_detect.classifiers.wrapping import wrap
from ce_detect.data.corruptions import Corruption
from ce_detect.demo.model import fashion_cnn
from ce_detect.features.effects import EFFECTS
from ce_detect.features.signature import Signature
from ce_detect.fitting import robust_copy
from ce_detect.interventions import RobustCopy

EPS = 0.03
"""Radius of the training in these tests, in parts of the pixel range."""


def trained(folder: Path, classifier: Any = None, reach: float = EPS / robust_copy.RADII) -> RobustCopy:
    """A copy, trained or from the cache in the folder."""
    classifier = classifier or demo()
    copy = robust_copy.untrained(classifier)
    assert copy is not None
    found = robust_copy.trained(classifier, copy, images().x, reach, seed=0, folder=folder)
    assert found is copy
    return found


@functools.cache
def once() -> RobustCopy:
    """A trained copy, the same for all tests."""
    return trained(cache())


@pytest.fixture(autouse=True)
def _few(monkeypatch: pytest.MonkeyPatch) -> None:
    harden_quickly(monkeypatch)


def seen_by(copy: RobustCopy, x: Tensor) -> Tensor:
    """Logits in the eyes of a copy."""
    z: Tensor = demo().resume(copy.site, copy(x), x)
    return z


def fooled(logits: Any, x: Tensor, labels: Tensor) -> Tensor:
    """What PGD makes of images within the radius."""
    changed = x
    for _ in range(10):
        leaf = changed.detach().requires_grad_()
        (slope,) = torch.autograd.grad(F.cross_entropy(logits(leaf), labels), leaf)
        changed = (changed + EPS / 4 * slope.sign()).clamp(x - EPS, x + EPS).clamp(0, 1)
    return changed


def fresh() -> Tensor:
    """Images that nothing here was trained on."""
    from ce_detect import load_data

    return torch.from_numpy(np.asarray(load_data("demo", limit=500).x[300:]))


def test_untrained_copy_changes_nothing() -> None:
    """Before it is trained, a copy makes the very latent that is there."""
    copy = RobustCopy(site=demo().sites[-1])
    signature = Signature(demo(), [copy])
    x = fresh()[:8]
    _, features = signature(x)
    effect = features[:, signature.names.index(f"{copy.name}.{EFFECTS[0]}")]
    assert effect.abs().max() < 1e-4


@pytest.mark.slow
def test_trained_copy_holds_out_where_the_classifier_falls() -> None:
    """PGD within the radius fools the classifier nearly always, and a copy that it attacks just as directly less."""
    x, copy = fresh(), once()
    labels = demo().logits(x).argmax(1)
    agreeing = (seen_by(copy, x).argmax(1) == labels).float().mean()
    standing = (seen_by(copy, fooled(functools.partial(seen_by, copy), x, labels)).argmax(1) == labels).float().mean()
    fallen = (demo().logits(fooled(demo().logits, x, labels)).argmax(1) == labels).float().mean()
    assert agreeing > 0.6
    assert standing > fallen + 0.2


def test_training_leaves_the_classifier_alone_and_nothing_to_train() -> None:
    """Only the copy has other weights afterwards; no norm is left in it, and none of its weights has a gradient."""
    before = {name: value.clone() for name, value in demo().state_dict().items()}
    copy = once()
    assert all(torch.equal(value, before[name]) for name, value in demo().state_dict().items())
    assert not any(isinstance(module, nn.BatchNorm2d) for module in copy.modules())
    assert not any(parameter.requires_grad for parameter in copy.parameters())
    weights = RobustCopy(site=copy.site)
    weights.attach(demo())
    assert any(not torch.equal(a, b) for a, b in zip(weights.parameters(), copy.parameters(), strict=True))


@pytest.mark.slow
def test_same_seed_same_weights_from_the_cache_or_not(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Training twice, and training once and reading, give the same bytes; a damaged file is trained again."""
    first, read = trained(tmp_path), trained(tmp_path)
    (file,) = (tmp_path / "hardened").iterdir()
    file.write_bytes(b"damaged")
    with caplog.at_level(logging.WARNING, "ce_detect"):
        second = trained(tmp_path)
    assert "cannot be read" in caplog.text
    for other in (second, read):
        assert all(torch.equal(a, b) for a, b in zip(first.parameters(), other.parameters(), strict=True))


def test_norms_change_nothing_until_something_is_learned() -> None:
    """In eval mode, norms that were just put in give what was there, and so do the convolutions with them folded in."""
    x = fresh()[:32]
    layers = demo().copied(demo().sites[-1])
    with torch.no_grad():
        expected = layers(x)
        added = batchnorm.put_in(layers, lambda: layers(x))
        assert added
        assert all(norm.training for norm, *_ in added)
        for norm, *_ in added:
            norm.eval()
        torch.testing.assert_close(layers(x), expected, rtol=1e-4, atol=1e-4)
        batchnorm.folded(layers, added)
        torch.testing.assert_close(layers(x), expected, rtol=1e-4, atol=1e-4)


def test_other_natural_change_is_another_copy() -> None:
    """One that was kept for other natural change is not taken from the cache."""
    copy = robust_copy.untrained(demo())
    assert copy is not None
    given = [(), (Corruption("jpeg"),), (Corruption("jpeg", 2),)]
    keys = {robust_copy._key(demo(), copy, images().x, EPS, 0, corruptions) for corruptions in given}
    assert len(keys) == 3


@pytest.mark.slow
def test_what_changed_naturally_is_learned_from_too(tmp_path: Path) -> None:
    """A copy that saw other light agrees with the classifier about bright images more often than one that did not."""
    light = (Corruption("contrast"), Corruption("brightness"))
    copy = robust_copy.untrained(demo())
    assert copy is not None
    robust_copy.trained(demo(), copy, images().x, EPS / robust_copy.RADII, seed=0, folder=tmp_path, corruptions=light)
    bright = torch.from_numpy(Corruption("brightness", 2)(fresh().numpy(), bounds=(0.0, 1.0), seed=5))
    labels = demo().logits(bright).argmax(1)
    with_light, without = ((seen_by(one, bright).argmax(1) == labels).float().mean() for one in (copy, once()))
    assert with_light > without + 0.05


def test_too_few_images_are_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A copy that would learn nothing is not made, and a warning says so."""
    with caplog.at_level(logging.WARNING, "ce_detect"):
        copy = robust_copy.untrained(demo())
        assert copy is not None
        assert robust_copy.trained(demo(), copy, images().x[:31], 0.01, seed=0, folder=tmp_path) is None
    assert "31 images are too few" in caplog.text


class Uncut(nn.Module):
    """A model whose forward depends on its values, which no export captures."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = fashion_cnn()

    def forward(self, x: Tensor) -> Tensor:
        z: Tensor = self.inner(x)
        return z if float(z.detach().abs().max()) > -1 else -z


def test_model_that_cannot_be_cut_has_no_copy(caplog: pytest.LogCaptureFixture) -> None:
    """It says so, and an attempt to attach one is an error."""
    uncut = wrap(Uncut().eval(), input_shape=(1, 28, 28), bounds=(0.0, 1.0))
    with caplog.at_level(logging.WARNING, "ce_detect"):
        assert robust_copy.untrained(uncut) is None
    assert "cannot be cut into segments" in caplog.text
    with pytest.raises(CalibrationError, match="cannot be cut into segments"):
        RobustCopy(site=uncut.sites[-1]).attach(uncut)


@pytest.mark.slow
def test_several_labels_are_kept_by_their_signs() -> None:
    """Where each logit is a decision of its own, the copy is trained towards all of them."""
    many = wrap(fashion_cnn(), input_shape=(1, 28, 28), bounds=(0.0, 1.0), multi_label=True)
    x = fresh()
    found = trained(cache() / "many", many, 0.005)
    signs = many.resume(found.site, found(x), x) > 0
    assert (signs == (many.logits(x) > 0)).float().mean() > 0.8


@pytest.mark.slow
def test_hardened_guard_exports_and_loads(tmp_path: Path) -> None:
    """The copy goes into the artifact and into the graph, which judges as the guard does."""
    settings: dict[str, Any] = {"recipe": QUICK, "fpr": 0.1, "budget": math.inf, "jobs": 1, "cache": cache()}
    guard = DetectedModel(fashion_cnn()).calibrate(images().x, images().y, harden=1, **settings)
    guard.export(tmp_path / "guard.onnx")  # refuses a graph that judges otherwise
    guard.save(tmp_path / "guard.safetensors")
    loaded = DetectedModel.load(tmp_path / "guard.safetensors", fashion_cnn())
    x = fresh().numpy()
    assert np.array_equal(loaded(x).score, guard(x).score)
    from ce_detect.runtime import Gate

    np.testing.assert_allclose(Gate(tmp_path / "guard.onnx")(x).score, guard(x).score, atol=1e-4)
