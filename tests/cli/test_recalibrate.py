"""``ce-detect recalibrate``: from a store of reviews to a new artifact, without torch."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from support.command_line import Calibrated, call

from ce_detect.artifacts.file import Artifact
from ce_detect.records.filters import Filter
from ce_detect.records.rows import Row
from ce_detect.records.store import Store
from ce_detect.verdict import conformal


@pytest.fixture
def reviews(calibrated: Calibrated, tmp_path: Path) -> str:
    """A store of 100 inputs that were drawn at random, all but one of them reviewed, and of some that were flagged."""
    clean = Artifact.load(calibrated.guard).tensors["clean_scores"]
    scores = np.float32(np.random.default_rng(0).normal(clean.mean(), clean.std(), 120))
    p_values = conformal.p_values(clean, scores)
    url = f"sqlite:///{tmp_path / 'reviews.db'}"
    store = Store(url)
    store.add(
        Row(source=f"{i}", time=1e9 + i, score=float(scores[i]), p_value=p_values[i], flagged=i >= 100, drawn=i < 100)
        for i in range(120)
    )
    for item in store.items(Filter(status="all"), "ada", most=200):
        if item.source != "50":
            store.decide(item.id, "ada", "benign")
    store.close()
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
    assert not (tmp_path / "new.safetensors").exists()
