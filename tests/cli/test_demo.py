"""``ce-detect demo``: what it prints."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.command_line import Calibrated, call

from ce_detect import Attack, CalibrationSettings
from ce_detect.cli import demo
from ce_detect.data.corruptions import KINDS
from ce_detect.guard.demonstration import Sizes, demonstrate


def test_interrupt_of_a_fresh_demo_promises_nothing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A demo with a temporary cache keeps nothing, and says so."""

    def interrupted(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("ce_detect.guard.demonstration.demonstrate", interrupted)
    done = call("demo", "--fresh", "--html", tmp_path / "demo.html")
    assert (done.code, done.err) == (130, "interrupted: of a --fresh demo nothing is kept\n")


def test_without_what_draws_a_page_there_is_none(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """That is said before the work, and the rest goes on; a page of another kind is refused."""

    def stopped(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("ce_detect.guard.demonstration.demonstrate", stopped)
    monkeypatch.setitem(sys.modules, "captum", None)
    done = call("demo", "--html", tmp_path / "demo.html")
    assert "no page will be written" in done.err
    assert done.code == 130
    assert "the ending says what is written" in call("demo", "--html", tmp_path / "demo.png").err


def test_demonstration(calibrated: Calibrated) -> None:
    """The demo's run, on few images and with one-step attacks, fills everything that the demo prints."""
    settings = CalibrationSettings.of(
        recipe=calibrated.folder / "tiny.toml", fpr=0.05, cache=calibrated.folder / "cache"
    )
    sizes = Sizes(calibration=400, held_out=50, attacked=50)
    found = demonstrate(settings, sizes=sizes, unseen=Attack.of("fgsm", eps="16/255"), fresh=True)
    data = found.document.data
    assert list(data["report"]["attacks"]) == ["fgsm 8/255", "fgsm 16/255"]
    assert list(data["report"]["corruptions"]) == [f"{kind} 1" for kind in KINDS]
    assert [judged.kind for judged in found.judged] == ["clean", "natural", "attacked"] * 3
    assert [judged.change for judged in found.judged[:3]] == ["", "contrast 1", "fgsm 16/255"]
    assert found.cost > 0
    assert "look at least as adversarial" in demo.in_words(found.judged[1])
    assert json.loads(json.dumps(found.to_dict(), allow_nan=False))["unseen"] == ["fgsm 16/255"]


@pytest.mark.slow
def test_the_demo_as_it_ships(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It makes no attack, flags hardly any mild natural change and most attacks; the same seed gives the same."""

    def refused(*_: Any, **__: Any) -> None:
        raise AssertionError("an attack was made")

    monkeypatch.setattr("ce_detect.attacks.chunks.run", refused)
    runs = []
    for name in ("one", "two"):
        monkeypatch.setenv("CE_DETECT_CACHE", str(tmp_path / name))
        page, guard = tmp_path / f"{name}.html", tmp_path / f"{name}.safetensors"
        done = call("demo", "--html", page, "--output", guard, "--json")
        assert done.code == 0, done.err
        assert page.stat().st_size > 50_000
        runs.append(done.data)
    first, second = (run["report"] for run in runs)
    assert first == second
    assert runs[0]["judged"] == runs[1]["judged"]
    natural = {name: one["false_positive_rate"] for name, one in first["corruptions"].items()}
    assert max(natural.values()) <= 0.1, natural
    assert first["clean"]["false_positive_rate"] <= 0.05
    assert np.mean([one["detection_rate_successes"] for one in first["attacks"].values()]) > 0.7
    tables = call("inspect", tmp_path / "one.safetensors", "--json").data
    assert tables["data"] == call("inspect", tmp_path / "two.safetensors", "--json").data["data"]
