"""``ce-detect calibrate``: what it prints."""

from __future__ import annotations

import pytest
from support.command_line import Calibrated, call


@pytest.mark.slow
def test_a_cascade_says_whom_it_clears_and_what_others_cost(calibrated: Calibrated) -> None:
    """When it is calibrated, and whenever the artifact is looked at."""
    guard, recipe = calibrated.folder / "cascade.safetensors", calibrated.folder / "tiny.toml"
    config = ("--config", calibrated.folder / "config.toml")
    done = call("calibrate", *config, "--recipe", recipe, "--fpr", 0.05, "--output", guard, "--cascade")
    assert done.code == 0, done.err
    for said in (done.out, call("inspect", guard).out):
        text = " ".join(said.split())
        assert "on average over clean inputs, of which" in text
        assert "others cost" in text


def test_calibrate_prints_the_manifest(calibrated: Calibrated) -> None:
    """The JSON names the file and holds what the flags and the configuration said."""
    manifest = calibrated.printed["manifest"]
    assert calibrated.printed["output"] == str(calibrated.guard)
    assert (manifest["fpr"], manifest["budget"], manifest["data"]["images"]) == (0.05, None, 400)
    assert manifest["recipe"]["name"] == "tiny"
    assert len(manifest["signature"]["names"]) == 2
    assert calibrated.guard.is_file()
