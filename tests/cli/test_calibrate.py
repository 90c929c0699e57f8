"""``ce-detect calibrate``: what it prints."""

from __future__ import annotations

import pytest
from support.command_line import Calibrated, call

from ce_detect.runtime import Gate


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


@pytest.mark.slow
def test_a_deployment_goes_through_every_command(calibrated: Calibrated) -> None:
    """The artifact says in what; what is exported from it verifies, and judges files without torch."""
    guard, recipe = calibrated.folder / "int8.safetensors", calibrated.folder / "tiny.toml"
    config = ("--config", calibrated.folder / "config.toml")
    done = call("calibrate", *config, "--recipe", recipe, "--fpr", 0.05, "--output", guard, "--deploy", "int8")
    assert done.code == 0, done.err
    for said in (done.out, call("inspect", guard).out):
        assert "int8: all of this holds for the exported graph" in " ".join(said.split())
    exported = call("export", guard, "--model", "demo", "--data", "demo", "--limit", 64, "--json")
    assert exported.code == 0, exported.err
    assert exported.data["differences"]["precision"] == "int8"
    assert exported.data["differences"]["score"] > 0
    graph = guard.with_suffix(".onnx")
    model = ("--model", "demo", "--data", "demo", "--limit", 40)
    verified = call("verify", graph, "--against", guard, *model, "--attack", "fgsm", "--json")
    assert verified.code == 0, verified.err
    assert verified.data["agree"]
    assert Gate(graph).manifest["deploy"]["precision"] == "int8"
