"""Too few images for a promise are refused before any work, with the number that would do."""

from __future__ import annotations

import logging
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.command_line import call
from support.strategies import rates

from ce_detect.calibrate import enough
from ce_detect.calibrate.settings import CalibrationSettings
from ce_detect.classifiers import wrapping
from ce_detect.core.errors import TooFewSamplesError
from ce_detect.data import load_data
from ce_detect.demo.model import fashion_cnn
from ce_detect.guard.detected_model import DetectedModel
from ce_detect.verdict.conformal import needed_samples, rank


def never(*_: Any, **__: Any) -> Any:
    """Stands for what must not be reached."""
    raise AssertionError("work was begun with too few images")


@given(rates(), st.sampled_from(["pac", "marginal"]), st.sampled_from(["quick", "large", "clean-only"]))
def test_the_number_that_would_do_does(fpr: float, guarantee: str, recipe: str) -> None:
    """So many distinct images are enough, any more are too, and one fewer are not."""
    settings = CalibrationSettings.of(recipe=recipe, fpr=fpr, guarantee=guarantee)  # type: ignore[arg-type]
    with pytest.raises(TooFewSamplesError) as caught:
        enough.check(3, settings)
    for more in range(12):
        enough.check(caught.value.needed + more, settings)
    with pytest.raises(TooFewSamplesError):
        enough.check(caught.value.needed - 1, settings)


def test_the_refusal_says_what_the_weaker_promise_needs() -> None:
    """995 images for the default promise at 1 %, 328 on average only; the weaker promise has no weaker one."""
    with pytest.raises(TooFewSamplesError, match=r"995 distinct images.*'marginal'.*needs 328$"):
        enough.check(60, CalibrationSettings())
    with pytest.raises(TooFewSamplesError, match=r"328 distinct images in all would do$"):
        enough.check(60, CalibrationSettings(guarantee="marginal"))


def test_the_refusal_says_what_is_too_few() -> None:
    """Images, unless they are called something else; too few to learn from as well as for the promise."""
    with pytest.raises(TooFewSamplesError, match="Of the 60 images given"):
        enough.check(60, CalibrationSettings())
    with pytest.raises(TooFewSamplesError, match="Of the 60 also_clean given"):
        enough.check(60, CalibrationSettings(), of="also_clean")
    with pytest.raises(TooFewSamplesError, match="48 of 120 also_clean are left to learn from"):
        enough.check(120, CalibrationSettings(fpr=0.1), of="also_clean")


def test_python_refuses_before_the_model_is_wrapped(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither the model nor an attack is touched; copies of images count once."""
    monkeypatch.setattr(wrapping, "wrap", never)
    few = np.repeat(load_data("demo", limit=60).x, 20, axis=0)
    with pytest.raises(TooFewSamplesError) as caught:
        DetectedModel(fashion_cnn()).calibrate(few)
    assert caught.value.given == 60


def test_the_command_line_refuses_before_the_model_is_loaded(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """One line, exit code 2, and no model was asked for."""
    monkeypatch.setattr("ce_detect.load_model", never)
    output = ("--output", tmp_path / "guard.safetensors")
    done = call("calibrate", "--model", "demo", "--data", "demo", "--limit", 60, *output)
    assert done.code == 2
    assert "995 distinct images in all would do" in done.err


def test_a_threshold_that_is_the_largest_score_says_what_would_help(caplog: pytest.LogCaptureFixture) -> None:
    """How many images would let it flag half of the rate, and what the weaker promise flags; else nothing."""
    settings = CalibrationSettings(fpr=0.1)
    shares = settings.recipe.splits
    with caplog.at_level(logging.WARNING, logger="ce_detect"):
        enough.warn_of_the_largest(100, settings)
    assert "the threshold will be the largest of 30 clean scores" in caplog.text
    needed = int(re.search(r"With (\d+) images in all", caplog.text)[1])  # type: ignore[index]
    clean = round(needed * shares["calibrate"])
    assert clean > needed_samples(0.1)
    assert 0.05 <= 1 - rank(clean, 0.1) / clean <= 0.1
    assert f"flags {100 * (1 - rank(30, 0.1, guarantee='marginal') / 30):.3g} % with these" in caplog.text
    caplog.clear()
    with caplog.at_level(logging.WARNING, logger="ce_detect"):
        enough.warn_of_the_largest(450, settings)
    assert "the largest of" not in caplog.text
