"""``ce-detect demo``: what it prints."""

from __future__ import annotations

import json
from typing import Any

import pytest
from support.command_line import Calibrated, call

from ce_detect import Attack, CalibrationSettings
from ce_detect.cli import demo
from ce_detect.data.corruptions import KINDS
from ce_detect.guard.demonstration import Sizes, demonstrate


def test_interrupt_of_a_fresh_demo_promises_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """A demo with a temporary cache keeps nothing, and says so."""

    def interrupted(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("ce_detect.guard.demonstration.demonstrate", interrupted)
    done = call("demo", "--fresh")
    assert (done.code, done.err) == (130, "interrupted: of a --fresh demo nothing is kept\n")


def test_demonstration(calibrated: Calibrated) -> None:
    """The demo's run, on few images and with one-step attacks, fills everything that the demo prints."""
    settings = CalibrationSettings.of(
        recipe=calibrated.folder / "tiny.toml", fpr=0.05, cache=calibrated.folder / "cache"
    )
    found = demonstrate(
        settings,
        sizes=Sizes(calibration=400, held_out=50, attacked=50),
        unseen=Attack.of("fgsm", eps="2/255"),
        shown=Attack.of("pgd", max_iter=5),
    )
    assert list(found.report["attacks"]) == ["fgsm 8/255", "fgsm 2/255"]
    assert list(found.report["corruptions"]) == [f"{kind} 1" for kind in KINDS]
    assert [judged.kind for judged in found.judged] == ["clean", "pgd 8/255"]
    assert found.cost > 0
    assert "p-value" in demo.in_words(found.judged[1])
    assert json.loads(json.dumps(found.to_dict(), allow_nan=False))["unseen"] == ["fgsm 2/255"]
