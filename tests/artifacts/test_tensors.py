"""The table of what tensors must be."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from support.manifests import manifest, plain, tensors

from ce_detect.artifacts.tensors import check
from ce_detect.core.errors import ArtifactError

BESIDE = {"clean_only": {"kind": "mahalanobis"}}
F4 = np.float32


@pytest.mark.parametrize("kind", ["network", "mahalanobis", "fused"])
def test_tensors_that_fit(kind: str) -> None:
    """Of each head, with a detector beside it, and with slope and offset that are not known."""
    heads = {"head": {"kind": kind}, **BESIDE}
    found = tensors(plain(heads=heads))
    found["head.slope"] = found["head.offset"] = np.array(np.nan, F4)
    found["calibration_images"] = np.array([3, 2**64 - 1], np.uint64)
    check(manifest(heads=heads), found)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("threshold", F4(np.inf), "'threshold' holds inf"),
        ("threshold", F4(1e38), "'threshold' holds 1e"),
        ("threshold", F4(7010), "threshold is 7010.*expected at most 7006"),
        ("threshold", F4(-1), r"above which 1 of the clean scores lie .*at most 0\.01 of them"),
        ("threshold", np.float64(6.5), "'threshold' is float64, expected float32"),
        ("threshold", F4([6.5]), r"'threshold' has shape \(1,\), expected \(\)"),
        ("clean_scores", np.zeros(0, F4), r"'clean_scores' has shape \(0,\), expected \(clean\)"),
        ("clean_scores", F4([0, np.nan]), "'clean_scores' holds nan, expected finite numbers"),
        ("clean_scores", F4([1, 0]), "clean_scores are not in order"),
        ("prior", F4(np.inf), "'prior' holds inf"),
        ("prior", F4(1), r"prior is 1, expected the log-odds of prevalence = 0\.1"),
        ("head.scale", np.full(40, 1e-9, F4), "'head.scale' holds 1e-09, expected finite numbers from 1e-08"),
        ("head.network.weight", np.full((40, 2), np.nan, F4), "'head.network.weight' holds nan"),
        ("head.network.weight", np.zeros((39, 2), F4), r"has shape \(39, 2\), expected \(40, attacks\)"),
        ("head.network.bias", np.zeros(3, F4), r"'head.network.bias' has shape \(3,\), expected \(2\)"),
        ("head.clean.precision", np.full(40, -1, F4), "'head.clean.precision' holds -1"),
        ("head.width", F4(0), "'head.width' holds 0"),
        ("head.slope", F4(np.inf), "'head.slope' holds inf"),
        ("signature.layer_consistency.error", np.zeros(8, F4), "error' holds 0"),
        ("signature.interventions.0.x", F4(np.nan), "'signature.interventions.0.x' holds nan"),
        ("signature.interventions.1.x", F4(0), "belongs to nothing that its manifest names"),
        ("head.network.weight2", F4(0), r"'head.network.weight2' has shape \(\)"),
        ("else", F4(0), "'else' belongs to nothing"),
    ],
)
def test_a_tensor_that_does_not_fit(name: str, value: Any, message: str) -> None:
    """Its name, what it is, and what was expected."""
    found = {**tensors(plain()), name: np.asarray(value)}
    with pytest.raises(ArtifactError, match=message):
        check(manifest(), found)


@pytest.mark.parametrize("name", sorted(set(tensors(plain())) - {"signature.interventions.0.x"}))
def test_a_tensor_that_is_missing(name: str) -> None:
    """Every one of them is needed, unless it is a layer more of the networks."""
    found = tensors(plain())
    del found[name]
    with pytest.raises(ArtifactError, match=r"is missing|layers, expected|has shape"):
        check(manifest(), found)
