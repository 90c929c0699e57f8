"""The claim's figures by hand: effect sizes, tests on pairs, their correction, and what an instrument reads."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from benchmarks.claim import claim, findings
from benchmarks.claim.interventions import CONFIDENCE, FAMILIES, Instrument
from ce_detect import load_data
from ce_detect.classifiers.segmented import TorchClassifier
from ce_detect.features.effects import effects
from ce_detect.interventions import Flip


def test_cliffs_delta_is_the_share_of_pairs_that_are_larger_less_those_that_are_smaller() -> None:
    """Counted by hand, ties included."""
    one, other = np.array([1.0, 2.0, 5.0]), np.array([0.0, 2.0])
    assert claim.cliffs_delta(one, other) == pytest.approx((1 - 1 + 1 + 0 + 1 + 1) / 6)
    assert claim.cliffs_delta(other, one) == pytest.approx(-claim.cliffs_delta(one, other))
    assert claim.cliffs_delta(one, one) == pytest.approx(0)


def test_pairs_are_tested_and_not_two_crowds() -> None:
    """A shift that is small beside the scatter of images is seen; equal pairs differ in nothing."""
    images = np.random.default_rng(0).normal(0, 10, 60)
    assert claim.p_value(images + 0.1, images) < 1e-9
    assert claim.p_value(images, images) == 1
    shuffled = np.random.default_rng(1).permutation(images)
    assert claim.p_value(shuffled, images) > 0.01


def row(delta: list[float], p: list[float]) -> dict[str, Any]:
    """One effect of one attack, as a result holds it."""
    cell = {"median": [0, 0, 0, 1], "iqr": [1, 1, 1, 1], "delta": delta, "p": p}
    return {"fooled": 20, "interventions": {"Flip": {"family": "geometry", "effects": {"target effect": cell}}}}


def test_p_values_are_corrected_over_all_subjects(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By Benjamini and Hochberg: ten tests, of which the least p-value counts ten times."""
    monkeypatch.setattr(findings, "RESULTS", tmp_path)
    attacks = [
        row([0.9, 0.8, 0.7, 0.1, 0.0], [1e-4, 1e-5, 1e-6, 0.9, 1.0]),
        row([0.9, 0.8, -0.7, 0.1, 0.0], [1e-3] * 5),
    ]
    for subject, attack in zip(("fashion", "pneumonia"), attacks, strict=True):
        (tmp_path / f"claim-{subject}.json").write_text(json.dumps({"attacks": {"pgd": attack}}))
    one, other = findings.findings()
    assert one.p["attacked", "shuffled"] == pytest.approx(1e-5)
    assert one.p["attacked", "clean"] == pytest.approx(1e-4 * 10 / 3)
    assert one.clearly("attacked", "shuffled")
    assert not one.differs("shuffled", "clean")
    assert not other.clearly("shuffled", "clean")  # a difference, but a small one
    assert other.differs("shuffled", "clean")
    assert (one.holds, other.holds) == (True, False)  # the other goes both ways
    assert one.median == {"clean": 0, "natural": 0, "shuffled": 0, "attacked": 1}


def test_an_instrument_reads_the_effects_of_the_package(fashion: TorchClassifier) -> None:
    """Of real images: decisions, confidence, and the target effect of mirroring."""
    images = load_data("demo")
    decisions, parts = Instrument(fashion, images.subset(slice(64)))(images.x[64:84])
    x = torch.from_numpy(images.x[64:84])
    with torch.inference_mode():
        z = fashion.logits(x)
        expected = effects(z, fashion.logits(Flip()(x))[None])[0, :, 0]
    np.testing.assert_array_equal(decisions, z.argmax(1))
    by_name = {part.name: part for part in parts}
    np.testing.assert_allclose(by_name["Flip(scale=1.0)"].values["target effect"], expected, rtol=1e-3, atol=1e-3)
    assert by_name["none"].values[CONFIDENCE].shape == (20,)
    assert {part.family for part in parts} == {"none", *FAMILIES}
