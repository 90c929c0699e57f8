"""``ce-detect doctor``: what is installed, and what is found wanting."""

from __future__ import annotations

import re
import tomllib
from importlib.metadata import PackageNotFoundError
from pathlib import Path

import pytest
from support.command_line import call, call_without

from ce_detect.cli import doctor

NOT_FOR_USERS = {"all", "test", "dev", "docs"}


def test_doctor_lists_what_pyproject_declares() -> None:
    """Every dependency is listed, with an extra that brings it where one must."""
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"]
    declared: dict[str, set[str | None]] = {_name(entry): {None} for entry in project["dependencies"]}
    for extra, entries in project["optional-dependencies"].items():
        for entry in entries if extra not in NOT_FOR_USERS else ():
            declared.setdefault(_name(entry), set()).add(extra)
    listed = {package["name"]: package["extra"] for package in doctor.examination()["packages"]}
    assert listed.keys() == declared.keys()
    assert all(extra in declared[name] for name, extra in listed.items())


def _name(requirement: str) -> str:
    return re.split(r"[>\[]", requirement)[0]


def test_doctor_is_content_here() -> None:
    """Where everything is installed nothing is found wanting."""
    done = call("doctor", "--json", "--attacks", "--interventions")
    assert done.code == 0, done.err
    assert done.data["problems"] == []
    assert {"fgsm", "hopskipjump"} <= {attack["name"] for attack in done.data["attacks"]}
    assert {"Shift", "GaussianNoise"} <= {row["name"] for row in done.data["interventions"]}


def test_doctor_in_words() -> None:
    """People read the packages, the recipes and the registries."""
    done = call("doctor", "--attacks", "--interventions")
    assert done.code == 0
    for told in ("scikit-learn", "clean-only", "Madry et al. 2018", "GridMask"):
        assert told in done.out


def test_doctor_names_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    """A package that calibration needs is named with its extra, and the exit code says so."""

    def version(distribution: str) -> str:
        if distribution == "torch":
            raise PackageNotFoundError
        return "1.0"

    monkeypatch.setattr("importlib.metadata.version", version)
    done = call("doctor", "--json", "--interventions")
    assert done.code == 1
    assert "calibration needs torch: pip install 'ce-detect[calibrate]'" in done.data["problems"]
    assert done.data["interventions"] is None


def test_doctor_explains_two_runtimes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two distributions that write the same files are called out."""
    monkeypatch.setattr("importlib.metadata.version", lambda name: "1.0")
    assert "pip uninstall onnxruntime onnxruntime-gpu" in call("doctor").out


def test_doctor_runs_on_the_light_core() -> None:
    """Packages that cannot be imported are a finding, not a crash."""
    done = call_without(("torch", "sklearn", "scipy", "art"), "doctor", "--attacks", "--json")
    assert done.code == 1, done.err
    assert "cannot be imported" in done.data["problems"][0]
