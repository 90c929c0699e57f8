"""Signatures of candidates are kept on disk, under a name that tells everything they depend on."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from support import calibrated

from ce_detect.attacks import Attack
from ce_detect.attacks.generation import AttackedSet
from ce_detect.features.signature import Signature
from ce_detect.fitting import feature_tables
from ce_detect.fitting.feature_tables import Sets
from ce_detect.interventions import Flip, LearnedMask


@pytest.fixture(scope="module")
def sets() -> Sets:
    """A few clean images, and darker ones that stand for attacked twins."""
    x = calibrated.images().x[:24]
    return Sets(x, {"darker": AttackedSet(Attack.of("fgsm"), x * 0.5, np.arange(24))})


def signature(*interventions: object) -> Signature:
    """A signature of the demo model."""
    return Signature(calibrated.guard().classifier, list(interventions) or [Flip()])  # type: ignore[arg-type]


def test_a_second_call_computes_nothing(sets: Sets, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same table comes back from the file."""
    first = feature_tables.table(signature(), sets, tmp_path)
    assert np.array_equal(first.clean, feature_tables.table(signature(), sets).clean)
    monkeypatch.setattr(feature_tables, "_computed", lambda *_: pytest.fail("computed again"))
    second = feature_tables.table(signature(), sets, tmp_path)
    assert np.array_equal(first.clean, second.clean)
    assert np.array_equal(first.attacked["darker"], second.attacked["darker"])


def test_other_images_interventions_or_learned_parameters_are_computed(sets: Sets, tmp_path: Path) -> None:
    """Each has a file of its own."""
    classifier = calibrated.guard().classifier
    with torch.no_grad():
        latents = classifier.trace(classifier.probe()).latents
    site, latent = next((site, latent) for site, latent in latents.items() if latent.ndim == 4)
    mask = LearnedMask(site=site, shape="x".join(map(str, latent.shape[1:])))
    other = LearnedMask(site=site, shape="x".join(map(str, latent.shape[1:])))
    with torch.no_grad():
        next(other.parameters()).add_(0.5)
    fewer = replace(sets, clean=sets.clean[:20])
    for made, some in ((signature(), sets), (signature(), fewer), (signature(mask), sets), (signature(other), sets)):
        feature_tables.table(made, some, tmp_path)
    assert len(list((tmp_path / "tables").iterdir())) == 4


def test_a_damaged_file_is_made_again(sets: Sets, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """It is only a cache; the log says so."""
    first = feature_tables.table(signature(), sets, tmp_path)
    (path,) = (tmp_path / "tables").iterdir()
    path.write_bytes(path.read_bytes()[:100])
    with caplog.at_level(logging.WARNING):
        again = feature_tables.table(signature(), sets, tmp_path)
    assert path.name in caplog.text
    assert np.array_equal(first.clean, again.clean)
