"""What an export holds the graph against."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.calibrated import guard

from ce_detect.data import load_data
from ce_detect.guard import exporting


@pytest.fixture
def held(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Collects the images that a graph is held against, and writes none."""
    found: list[Any] = []
    monkeypatch.setattr(exporting.writer, "write", lambda gate, manifest, path, *, x, **_: found.append(x))
    monkeypatch.setattr(exporting.samples, "kept", lambda gate: "kept")
    return found


def test_images_that_are_given_come_first_then_those_of_the_calibration(held: list[Any]) -> None:
    """The first 256 that are given; else what the calibration in this process saw; else what it left on the machine."""
    calibrated, model = guard().calibrated, guard().wrapped
    given = load_data("demo").x[300:600]
    exporting.write(calibrated, model, Path("graph.onnx"), data=given)
    np.testing.assert_array_equal(held.pop(), given[: exporting.MOST_IMAGES])
    exporting.write(calibrated, model, Path("graph.onnx"))
    assert held.pop() is calibrated.sample
    exporting.write(replace(calibrated, sample=None), model, Path("graph.onnx"))
    assert held.pop() == "kept"
