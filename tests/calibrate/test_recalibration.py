"""A threshold moved by reviews: the promise of before holds whatever is not settled; flagged inputs cannot move it."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support import calibrated

from ce_detect.artifacts.file import Artifact
from ce_detect.calibrate.recalibration import recalibrated
from ce_detect.core.errors import CalibrationError, TooFewSamplesError
from ce_detect.data import load_data
from ce_detect.demo.model import fashion_cnn
from ce_detect.detector import serialization
from ce_detect.guard.detected_model import DetectedModel
from ce_detect.records.rows import Drawn
from ce_detect.verdict import conformal


@functools.cache
def artifact() -> Artifact:
    """A calibrated detector; its promise is 10 %, pac, with confidence 95 %."""
    guard = calibrated.guard()
    return serialization.to_artifact(guard.gate, guard.calibrated.manifest, guard.calibrated.seen)


def drawn(score: Any, outcome: Any = "benign", **changed: Any) -> Drawn:
    """Inputs that this detector gave these scores."""
    score = np.asarray(score, np.float32)
    clean, threshold = artifact().tensors["clean_scores"], float(artifact().tensors["threshold"])
    made = {
        "score": score.astype(float), "p_value": conformal.p_values(clean, score),
        "threshold": np.full(len(score), threshold), "outcome": np.broadcast_to(np.asarray(outcome), len(score)),
        "flagged": score > threshold,
    }  # fmt: skip
    return Drawn(**{**made, **changed})


def test_reviewed_inputs_move_the_threshold(tmp_path: Path) -> None:
    """The new artifact keeps the promise with the threshold of these very inputs, and its p-values are theirs."""
    x = load_data("demo").x[300:700]
    result = calibrated.guard()(x)
    found = recalibrated(
        artifact(),
        Drawn(result.score.astype(float), result.p_value.astype(float), np.full(400, result.threshold),
              np.full(400, "benign"), result.is_adversarial),
    )  # fmt: skip
    found.artifact.save(tmp_path / "new.safetensors")
    moved = DetectedModel.load(tmp_path / "new.safetensors", fashion_cnn())
    expected = conformal.threshold(result.score, 0.1)
    assert (moved.threshold, found.threshold, found.before) == (
        pytest.approx(expected), pytest.approx(expected), pytest.approx(result.threshold),
    )  # fmt: skip
    again = moved(x)
    assert np.mean(again.is_adversarial) == pytest.approx(found.flagged)
    assert found.flagged <= 0.1
    np.testing.assert_allclose(again.p_value, conformal.p_values(result.score, result.score), atol=0.01)
    said = moved.calibrated.manifest
    assert said.recalibration is not None
    assert (said.recalibration.clean, said.recalibration.doubtful, said.data.splits["calibrate"]) == (400, 0, 400)
    assert said.figures.test is None
    assert (said.fpr, said.guarantee, said.confidence) == (0.1, "pac", 0.95)


def test_too_few_says_how_many_more() -> None:
    """A promise of 10 % needs 29 clean inputs."""
    with pytest.raises(TooFewSamplesError, match=r"9 more\. 5 drawn ones wait") as caught:
        recalibrated(artifact(), drawn(np.linspace(-3, 0, 25), ["benign"] * 20 + [""] * 5))
    assert (caught.value.needed, caught.value.given) == (29, 20)


def test_what_another_detector_judged_is_left_out() -> None:
    """Its p-values do not follow from these clean scores; nor does a threshold of a client's own count."""
    scores = np.linspace(*np.quantile(artifact().tensors["clean_scores"], [0.1, 0.9]), 60)
    good = drawn(scores)
    p_value, threshold = good.p_value.copy(), good.threshold.copy()
    p_value[:10] -= 0.05
    threshold[10:15] = 7.0
    threshold[15:20] = np.nan  # a file of an older version does not say
    assert recalibrated(artifact(), drawn(scores, p_value=p_value, threshold=threshold)).left_out == 15
    with pytest.raises(CalibrationError, match="another detector"):
        recalibrated(artifact(), drawn(scores, p_value=np.full(60, 0.99)))


def test_nothing_was_drawn() -> None:
    """Flagged inputs alone are not asked at all."""
    with pytest.raises(CalibrationError, match="--quarantine-sample"):
        recalibrated(artifact(), drawn([]))


@given(
    clean=st.lists(st.floats(-5, 5, width=32), min_size=29, max_size=60),
    doubtful=st.lists(st.floats(-5, 5, width=32), max_size=8),
    truth=st.integers(0, 255),
)
def test_the_threshold_holds_whatever_is_not_settled(clean: list[float], doubtful: list[float], truth: int) -> None:
    """It is at least the one of any subset of the open inputs; those found to be attacks do not count."""
    outcome = ["benign"] * len(clean) + ["", "unsure"] * (len(doubtful) // 2) + [""] * (len(doubtful) % 2) + ["attack"]
    found = recalibrated(artifact(), drawn([*clean, *doubtful, 99.0], outcome))
    assert (found.clean, found.doubtful, found.attacks) == (len(clean), len(doubtful), 1)
    true = [score for place, score in enumerate(doubtful) if truth >> place & 1]
    assert found.threshold >= conformal.threshold(np.float32([*clean, *true]), 0.1)


def test_the_promise_holds_over_many_recalibrations() -> None:
    """Scores that drifted, every tenth input an attack, and reviewers who leave the odd ones open: 5 % may do worse."""
    generator, failed = np.random.default_rng(0), 0
    for _ in range(150):
        clean, attacks = generator.normal(1.0, 2.0, 90), generator.normal(4.0, 1.0, 10)
        open_ = clean > 3.5  # they look like attacks
        outcome = [*np.where(open_, "", "benign"), *["attack"] * 10]
        threshold = recalibrated(artifact(), drawn([*clean, *attacks], outcome)).threshold
        failed += float(np.mean(generator.normal(1.0, 2.0, 4000) > threshold)) > 0.1
    assert failed <= 15  # 7.5 are expected at most; a binomial count exceeds 15 with probability 0.004


@pytest.mark.parametrize("guarantee", ["pac", "marginal"])
def test_many_open_inputs_cost_no_hour(guarantee: Any) -> None:
    """As many thresholds as there are open inputs, and the largest is the one of trying each in full."""
    random, said = np.random.default_rng(0), artifact().manifest
    manifest = msgspec.structs.replace(said, guarantee=guarantee)
    outcome = np.array(["benign"] * 1000 + [""] * 5000)
    assert (
        recalibrated(Artifact(artifact().tensors, manifest), drawn(random.normal(size=6000), outcome)).doubtful > 4000
    )
    score, outcome = np.round(random.normal(size=400), 2), np.array(["benign"] * 300 + [""] * 100)
    found = recalibrated(Artifact(artifact().tensors, manifest), drawn(score, outcome))
    clean, largest = np.float32(score[:300]), np.sort(np.float32(score[300:]))[::-1]
    tried = [
        conformal.threshold(np.concatenate([clean, largest[:count]]), said.fpr, guarantee=guarantee)
        for count in range(101)
    ]
    assert found.threshold == max(tried)


def test_open_inputs_without_a_score() -> None:
    """A few, as the gate gave NaN, are the largest of all; where they would set the threshold it is refused."""
    score, outcome = np.linspace(0, 1, 400), np.array(["benign"] * 390 + [""] * 10)
    score[-2:] = np.inf
    assert np.isfinite(recalibrated(artifact(), drawn(score, outcome)).threshold)
    score, outcome = np.linspace(0, 1, 600), np.array(["benign"] * 390 + [""] * 210)
    score[-200:] = np.inf
    with pytest.raises(CalibrationError, match="decide about them first"):
        recalibrated(artifact(), drawn(score, outcome))
