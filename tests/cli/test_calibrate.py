"""``ce-detect calibrate``: what it prints."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from support.command_line import Calibrated, Called, call

from ce_detect.data import load_data
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


def calibrate(calibrated: Calibrated, *more: object) -> Called:
    """Calibrate as the fixture did, with more flags."""
    config, recipe = ("--config", calibrated.folder / "config.toml"), calibrated.folder / "tiny.toml"
    return call("calibrate", *config, "--recipe", recipe, "--fpr", 0.05, *more)


def test_a_file_of_natural_changes_is_read_first(
    calibrated: Calibrated, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is wrong with it is one line, exit code 2, and no model was asked for."""
    monkeypatch.setattr("ce_detect.load_model", None)
    (tmp_path / "fog.toml").write_text('[[corruption]]\nkind = "fog"\n')
    output = ("--output", tmp_path / "guard.safetensors")
    for name, said in (("fog.toml", "no corruption 'fog'; there are: "), ("absent.toml", "cannot be read")):
        done = calibrate(calibrated, "--natural", tmp_path / name, *output)
        assert done.code == 2
        assert said in done.err


def test_too_few_images_of_ones_own_are_refused(calibrated: Calibrated, tmp_path: Path) -> None:
    """The error names them, and says how many would do."""
    np.savez(tmp_path / "own.npz", x=load_data("demo").x[500:520])
    done = calibrate(calibrated, "--also-clean", tmp_path / "own.npz", "--output", tmp_path / "guard.safetensors")
    assert done.code == 2
    assert "Of the 20 also_clean given" in done.err
    assert "distinct images in all would do" in done.err


def test_attacks_that_people_found_are_learned(calibrated: Calibrated, tmp_path: Path) -> None:
    """The manifest names them among what was learned from."""
    np.savez(tmp_path / "attacks.npz", x=1 - load_data("demo").x[500:600], y=np.ones(100, np.int64))
    guard = tmp_path / "guard.safetensors"
    done = calibrate(calibrated, "--also-attacked", tmp_path / "attacks.npz", "--output", guard)
    assert done.code == 0, done.err
    assert "reviewed" in call("inspect", guard, "--json").data["recipe"]["learned_from"]


@pytest.mark.slow
def test_changes_and_images_of_ones_own_count_as_clean(calibrated: Calibrated, tmp_path: Path) -> None:
    """The manifest lists the changes, and they are printed."""
    (tmp_path / "own.py").write_text("def negative(image, generator):\n    return 255 - image\n")
    kind = f"{tmp_path / 'own.py'}:negative"
    (tmp_path / "own.toml").write_text(f'[[corruption]]\nkind = "{kind}"\n')
    np.savez(tmp_path / "own.npz", x=1 - load_data("demo").x[500:800])
    given = ("--natural", tmp_path / "own.toml", "--also-clean", tmp_path / "own.npz")
    guard = tmp_path / "guard.safetensors"
    done = calibrate(calibrated, *given, "--output", guard)
    assert done.code == 0, done.err
    told = "".join(done.out.split())
    for said in ("".join(kind.split()), "controlof", "sochanged"):
        assert said in told
    assert call("inspect", guard, "--json").data["recipe"]["corruptions"] == [{"kind": kind}]


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
