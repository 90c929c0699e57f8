"""What a release is made of: the image of the server, the workflow, the versions that are supported."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.version import Version

from ce_detect.cli import serve

ROOT = Path(__file__).parents[2]
PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
DOCKERFILE = (ROOT / "Dockerfile").read_text()
WORKFLOW = (ROOT / ".github" / "workflows" / "ci.yml").read_text()


def instructions() -> list[tuple[str, str]]:
    """Instructions of the Dockerfile with what follows them, comments and broken lines joined."""
    lines = re.sub(r"\\\n", " ", "\n".join(line for line in DOCKERFILE.splitlines() if not line.startswith("#")))
    return [(line.split()[0], line.partition(" ")[2].strip()) for line in lines.splitlines() if line.strip()]


def last_stage() -> list[tuple[str, str]]:
    """Those of the image that is shipped."""
    found = instructions()
    start = max(place for place, (name, _) in enumerate(found) if name == "FROM")
    return found[start:]


def constraints(name: str) -> dict[str, Version]:
    """Versions of a file of constraints, by distribution."""
    lines = [line for line in (ROOT / name).read_text().splitlines() if line and not line.startswith("#")]
    return {line.partition("==")[0].lower(): Version(line.partition("==")[2]) for line in lines}


def requirements() -> list[Requirement]:
    """Everything that the core and the extras that go together ask for."""
    optional = PROJECT["optional-dependencies"]
    extras = optional["all"][0].partition("[")[2].rstrip("]").split(",")
    return [Requirement(one) for one in [*PROJECT["dependencies"], *(r for extra in extras for r in optional[extra])]]


def test_the_image_runs_as_nobody_in_particular() -> None:
    """By number, so that Kubernetes can check it, and for all that follows."""
    users = [rest for name, rest in last_stage() if name == "USER"]
    assert len(users) == 1
    assert re.fullmatch(r"[1-9]\d*:[1-9]\d*", users[0])
    names = [name for name, _ in last_stage()]
    assert names.index("USER") < names.index("ENTRYPOINT")
    assert not [name for name, _ in last_stage()[names.index("USER") :] if name in {"RUN", "COPY", "ADD"}]


def test_the_image_writes_nowhere_but_to_a_temporary_folder() -> None:
    """So its root file system can be read-only."""
    environment = dict(pair.split("=", 1) for name, rest in last_stage() if name == "ENV" for pair in shlex.split(rest))
    assert environment["PYTHONDONTWRITEBYTECODE"] == "1"
    assert environment["CE_DETECT_CACHE"].startswith("/tmp/")
    assert "--read-only --tmpfs /tmp" in DOCKERFILE
    assert "VOLUME" not in [name for name, _ in instructions()]


def test_the_image_is_asked_for_its_health() -> None:
    """At a route that the server has; by the interpreter, as there is no curl."""
    (check,) = [rest for name, rest in last_stage() if name == "HEALTHCHECK"]
    command = json.loads(check.partition("CMD")[2])
    assert command[:2] == ["python", "-c"]
    compile(command[2], "check", "exec")
    route = re.search(r"http://127.0.0.1:8000(/[\w/]+)", command[2])
    assert route is not None
    assert f'"{route[1]}"' in (ROOT / "ce_detect" / "serve" / "app.py").read_text()


def test_the_image_starts_the_server_and_its_variables_are_flags() -> None:
    """``CE_DETECT_SERVE_*`` names flags that there are; the base image is a small one."""
    found = dict(last_stage())
    assert json.loads(found["ENTRYPOINT"]) == ["ce-detect", "serve"]
    variables = re.findall(r"CE_DETECT_SERVE_(\w+)", DOCKERFILE)
    assert variables
    assert {variable.lower() for variable in variables} <= {one.name for one in serve.command.params}
    assert all(rest.startswith("python:3.11-slim") for name, rest in instructions() if name == "FROM")
    assert "torch" not in "".join(rest for name, rest in instructions() if name == "RUN")


def test_what_the_image_copies_is_there_and_let_in() -> None:
    """Neither more nor less."""
    copied = [rest.split()[:-1] for name, rest in instructions() if name == "COPY" and "--from" not in rest]
    allowed = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    assert {path for paths in copied for path in paths} == allowed
    assert all((ROOT / path).exists() for path in allowed)


@pytest.mark.slow
def test_the_image_can_be_built() -> None:
    """Where there is a Docker that runs."""
    docker = shutil.which("docker")
    if docker is None or subprocess.run([docker, "info"], capture_output=True, check=False).returncode:
        pytest.skip("no Docker runs here")
    done = subprocess.run([docker, "build", "--tag", "ce-detect-test", ROOT], capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()


def test_the_workflow_runs_what_make_has() -> None:
    """Each of its own steps is a call of make, and each target exists."""
    jobs = yaml.safe_load(WORKFLOW)["jobs"]
    steps = [step["run"] for job in jobs.values() for step in job["steps"] if "run" in step]
    assert all(step.startswith("make ") for step in steps)
    targets = {target for step in steps for target in step.split()[1:]}
    known = set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), flags=re.MULTILINE))
    (gate,) = re.findall(r"^make ((?:[a-z-]+ )+)", (ROOT / ".ci" / "run").read_text(), flags=re.MULTILINE)
    assert {*gate.split(), "dist"} <= targets <= known
    assert yaml.safe_load(WORKFLOW)["permissions"] == {"contents": "read"}


def test_the_workflow_tries_each_python_that_is_named() -> None:
    """Of the classifiers, from the lowest on."""
    named = re.findall(r"Python :: (3\.\d+)", "\n".join(PROJECT["classifiers"]))
    tried = yaml.safe_load(WORKFLOW)["jobs"]["test"]["strategy"]["matrix"]["python"]
    assert set(named) <= set(tried)
    assert f">={min(tried, key=Version)}" == PROJECT["requires-python"]


@pytest.mark.parametrize("requirement", requirements(), ids=str)
def test_the_lowest_versions_are_those_that_are_asked_for(requirement: Requirement) -> None:
    """The lower end of what pyproject.toml allows is what the file of the lowest versions has."""
    (lower,) = [one for one in requirement.specifier if one.operator == ">="]
    lowest, newest = constraints("constraints-lowest.txt")[requirement.name], constraints("constraints.txt")
    assert lowest in requirement.specifier
    assert lowest.release[: len(Version(lower.version).release)] == Version(lower.version).release
    assert newest[requirement.name] >= lowest
    assert newest[requirement.name] in requirement.specifier


def test_the_package_says_that_it_is_typed() -> None:
    """For type checkers (PEP 561)."""
    assert (ROOT / "ce_detect" / "py.typed").exists()
    assert "Typing :: Typed" in PROJECT["classifiers"]
