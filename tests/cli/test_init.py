"""``ce-detect init``: what it writes, and that calibrate takes it."""

from __future__ import annotations

import tomllib
from pathlib import Path

from support.command_line import call


def test_the_file_is_one_that_calibrate_takes(tmp_path: Path) -> None:
    """As it is: only the number of images is too small for a rate on the command line."""
    config = tmp_path / "found.toml"
    done = call("init", "--model", "demo", "--data", "demo", "--limit", 300, "--output", config)
    assert done.code == 0, done.err
    assert f"ce-detect calibrate --config {config}" in done.out
    found = tomllib.loads(config.read_text())
    assert (found["model"], found["data"], found["limit"], found["recipe"]) == ("demo", "demo", 300, "quick")
    refused = call("calibrate", "--config", config, "--fpr", 0.0001)
    assert "images in all would do" in refused.err
    assert "unknown key" not in refused.err


def test_nothing_is_written_over(tmp_path: Path) -> None:
    """Unless that is asked for."""
    config = tmp_path / "found.toml"
    config.write_text("mine")
    given = ("init", "--model", "demo", "--data", "demo", "--limit", 300, "--output", config)
    assert "is there already" in call(*given).err
    assert config.read_text() == "mine"
    done = call(*given, "--force", "--json", "--seed", 3)
    assert done.data["found"]["classes"] == 10
    assert done.data["config"]["seed"] == 3
    assert tomllib.loads(config.read_text())["seed"] == 3
