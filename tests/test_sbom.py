"""The list of what a release is made of, ``make sbom``."""

from __future__ import annotations

import json
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[1]


def usual(name: str) -> str:
    """Name of a distribution, spelled in one way."""
    return name.lower().replace("_", "-").replace(".", "-")


def installed(name: str) -> str | None:
    """Version of a distribution that is here, else None."""
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def made(folder: Path) -> dict[str, Any]:
    """What the command of the Makefile writes of this environment."""
    (line,) = (line for line in (ROOT / "Makefile").read_text().splitlines() if "cyclonedx-py" in line)
    arguments = line.replace("dist/", f"{folder}/").replace("$(VENV)", sys.prefix).split()[1:]
    command = [sys.executable, "-m", "cyclonedx_py", *arguments, "--no-validate"]  # validation takes 20 seconds
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    found: dict[str, Any] = json.loads((folder / "ce-detect.cdx.json").read_text())
    return found


def test_the_list_names_what_is_pinned(tmp_path: Path) -> None:
    """Every pinned package that is here, by name and version, ce-detect itself, and nothing of this machine."""
    pytest.importorskip("cyclonedx_py", reason="comes with the extra dev")
    found = made(tmp_path)
    assert (found["bomFormat"], found["metadata"]["component"]["name"]) == ("CycloneDX", "ce-detect")
    named = {usual(one["name"]): one["version"] for one in found["components"]}
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    pins = [usual(line.partition("==")[0]) for line in lines if "==" in line]
    here = {name: installed(name) for name in pins if installed(name) is not None}
    assert {"numpy", "msgspec", "safetensors", "onnxruntime"} <= here.keys()
    assert {name: named.get(name) for name in here} == here
    assert str(ROOT) not in json.dumps(found)
