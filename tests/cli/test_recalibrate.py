"""``ce-detect recalibrate``: from a store of reviews to a new artifact, without torch."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from support.command_line import Calibrated, call
from support.reviews import reviewed

from ce_detect.artifacts.file import Artifact


@pytest.fixture
def reviews(calibrated: Calibrated, tmp_path: Path) -> str:
    """A store of 100 inputs that were drawn at random, all but one of them reviewed, and of some that were flagged."""
    url = f"sqlite:///{tmp_path / 'reviews.db'}"
    reviewed(url, calibrated.guard, open_=(50,))
    return url


def test_a_new_artifact(calibrated: Calibrated, reviews: str, tmp_path: Path) -> None:
    """It says what moved; nothing of torch is asked for."""
    out = tmp_path / "new.safetensors"
    given = [str(one) for one in ("recalibrate", calibrated.guard, "--reviews", reviews, "--out", out)]
    source = f"import sys; from ce_detect.cli import run; print(run({given}), {{'torch', 'art'}} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", source], capture_output=True, text=True, check=True)
    assert done.stdout.endswith("0 set()\n"), done.stderr
    assert "99, of which" in done.stdout
    assert "1; the threshold holds whatever they are: settle them" in done.stdout
    found = call("recalibrate", calibrated.guard, "--reviews", reviews, "--out", out, "--json").data
    assert (found["clean"], found["doubtful"], found["attacks"], found["left_out"]) == (99, 1, 0, 0)
    assert float(Artifact.load(out).tensors["threshold"]) == pytest.approx(found["threshold"])
    inspected = call("inspect", out, "--json").data
    assert inspected["recalibration"]["clean"] == 99


def test_refusals(calibrated: Calibrated, reviews: str, tmp_path: Path) -> None:
    """Too few inputs in a span of time say how many more; what is no time or no store is named."""
    given = ("recalibrate", calibrated.guard, "--reviews", reviews, "--out", tmp_path / "new.safetensors")
    few = call(*given, "--until", "2001-09-09T01:47:00")
    assert few.code == 2
    assert "more" in few.err
    assert "--quarantine-sample" in few.err
    assert "2026-11-30T08:00" in call(*given, "--since", "yesterday").err
    assert "no address" in call(*given[:3], "reviews.db", *given[4:]).err
    assert "there is no store" in call(*given[:3], f"sqlite:///{tmp_path / 'misspelt.db'}", *given[4:]).err
    assert not (tmp_path / "misspelt.db").exists()
    assert not (tmp_path / "new.safetensors").exists()
