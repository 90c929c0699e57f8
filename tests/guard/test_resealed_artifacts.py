"""An artifact that somebody changed and sealed anew is refused by our own error, or is a gate that works."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from support import resealed
from support.models import tiny_classifier, tiny_images

from ce_detect.artifacts.file import Artifact
from ce_detect.core.errors import ArtifactError
from ce_detect.detector import serialization

pytestmark = pytest.mark.filterwarnings("ignore:invalid value encountered in cast:RuntimeWarning")

KINDS = ["fused", "disagreement", "cascade"]


def judges(path: Path) -> bool:
    """Whether it is loaded, and then its scores are numbers; else it is refused by an error that is ours."""
    try:
        gate = serialization.to_gate(Artifact.load(path), tiny_classifier("plain"))
    except ArtifactError:
        return False
    with torch.inference_mode():
        assert gate(tiny_images("plain", 4)).score.isfinite().all()
    return True


@pytest.mark.parametrize("kind", KINDS)
def test_changed_manifests(tmp_path: Path, kind: str) -> None:
    """Any field may be anything."""
    manifest, tensors = resealed.whole(kind)
    assert judges(resealed.write(tmp_path / "a", manifest, tensors))
    generator, places = np.random.default_rng(0), list(resealed.leaves(manifest))
    loaded = 0
    for place in generator.choice(len(places), 60):
        value = resealed.VALUES[generator.integers(len(resealed.VALUES))]
        other = resealed.changed(manifest, places[place], value)
        loaded += judges(resealed.write(tmp_path / "a", other, tensors))
    assert loaded < 30


@pytest.mark.parametrize("kind", KINDS)
def test_changed_tensors(tmp_path: Path, kind: str) -> None:
    """Any tensor may hold anything, have any shape, or be gone."""
    manifest, tensors = resealed.whole(kind)
    generator, names = np.random.default_rng(1), sorted(set(tensors) - {"calibration_images"})
    loaded = 0
    for _ in range(60):
        others, name = dict(tensors), names[generator.integers(len(names))]
        others[name] = resealed.spoilt(others[name], generator)
        if generator.random() < 0.1:
            del others[name]
        loaded += judges(resealed.write(tmp_path / "a", manifest, others))
    assert loaded < 20


@pytest.mark.parametrize(
    "spec",
    [
        {"kind": "GaussianNoise", "draws": 4000, "channels": 60000, "side": 4000},
        {"kind": "LearnedMask", "shape": "9" * 5000 + "x8x8"},
        {"kind": "UniversalPerturbation", "shape": "99999x99999x99999", "low": 0.0, "high": 1.0},
        {"kind": "GridMask", "cells": 10**6},
        {"kind": "AblateConcept", "site": "stage1", "channels": 60000, "concepts": 4000},
    ],
)
def test_settings_that_would_take_all_memory(tmp_path: Path, spec: resealed.Plain) -> None:
    """They are refused before a tensor is made."""
    manifest, tensors = resealed.whole()
    other = resealed.changed(manifest, ("signature", "interventions", 0), {"site": "input", **spec})
    with pytest.raises(ArtifactError, match=r"numbers|digits|whole number"):
        serialization.to_gate(Artifact.load(resealed.write(tmp_path / "a", other, tensors)), tiny_classifier("plain"))
