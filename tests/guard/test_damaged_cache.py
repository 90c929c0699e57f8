"""A calibration on a damaged cache gives what one on an empty cache gives."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.calibrated import QUICK

from ce_detect.artifacts.file import Artifact
from ce_detect.data import load_data
from ce_detect.demo.model import fashion_cnn
from ce_detect.guard.detected_model import DetectedModel

MEASURED = ("figures", "search")
"""Parts of a manifest that hold times, which are measured anew and never the same."""


def calibrated(folder: Path, name: str) -> Artifact:
    """A small calibration with its cache in a folder."""
    images = load_data("demo", limit=100)
    guard = DetectedModel(fashion_cnn()).calibrate(
        images.x, images.y, recipe=QUICK, fpr=0.3, budget=math.inf, jobs=1, cache=folder
    )
    guard.save(folder / name)
    return Artifact.load(folder / name)


def content(artifact: Artifact) -> dict[str, Any]:
    """Everything in an artifact that no time is part of."""
    told = {name: value for name, value in artifact.manifest.plain().items() if name not in MEASURED}
    told["signature"] = {name: value for name, value in told["signature"].items() if name != "chunk"}  # a time chose it
    return {**told, **{name: value.tobytes() for name, value in artifact.tensors.items()}}


@pytest.mark.slow
def test_a_damaged_cache_changes_nothing(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Every file of it is noticed, made anew, and the artifact is the one that an empty cache gives."""
    before = content(calibrated(tmp_path, "first"))
    files = sorted(path for path in tmp_path.rglob("*/*.safetensors") if path.parent.name != "samples")  # for exports
    assert "attacks" in {path.parent.name for path in files}
    generator = np.random.default_rng(0)
    for path in files:
        damaged = bytearray(path.read_bytes())
        start = 8 + int.from_bytes(damaged[:8], "little")
        damaged[generator.integers(start, len(damaged))] ^= 0x40
        path.write_bytes(damaged)
    after = content(calibrated(tmp_path, "second"))
    assert caplog.text.count("checksum does not match") >= len(files)
    assert after == before
