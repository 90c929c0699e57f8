"""Options that commands share, and the configuration file."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.command_line import Calibrated, call, evaluate

from ce_detect.cli._options import Duration


@pytest.mark.parametrize(
    ("text", "seconds"), [("90", 90), ("90s", 90), ("5m", 300), ("1h", 3600), ("1.5h", 5400), (90, 90), ("2 m", 120)]
)
def test_attack_time(text: object, seconds: float) -> None:
    """A time may have a unit; seconds go without."""
    assert Duration().convert(text, None, None) == seconds


def test_unknown_key_names_the_known_ones(tmp_path: Path) -> None:
    """A misspelt key is refused, with the keys that there are."""
    config = tmp_path / "config.toml"
    config.write_text("fprr = 0.1")
    done = call("calibrate", "--config", config)
    assert done.code == 2
    assert "unknown key 'fprr'" in done.err
    assert "attack-time, bounds, budget" in done.err


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("fpr =", "not valid TOML"),
        ("fpr = 7", "--fpr"),
        ("limit = 1.5", "--limit"),
        ("jobs = true", "--jobs"),
        ("bounds = 1", "--bounds"),
        ("[model]\nname = 1", "'model' is a table"),
        ('guarantee = "none"', "--guarantee"),
    ],
)
def test_bad_value_in_a_config(tmp_path: Path, text: str, told: str) -> None:
    """A value in a file is checked as a flag is."""
    config = tmp_path / "config.toml"
    config.write_text(text)
    done = call("calibrate", "--model", "demo", "--data", "demo", "--config", config)
    assert done.code == 2
    assert done.err.startswith("error: ")
    assert told in done.err


def test_missing_config() -> None:
    """A configuration file that is not there is named."""
    done = call("doctor", "--config", "nope.toml")
    assert done.code == 2
    assert "nope.toml" in done.err


def test_config_stands_in_for_flags(tmp_path: Path) -> None:
    """A file and flags that say the same give the same, with dashes or underscores, also for flags without a value."""
    config = tmp_path / "config.toml"
    config.write_text("json = true\nattacks = true\ninterventions = false")
    assert call("doctor", "--config", config).data == call("doctor", "--json", "--attacks").data


@pytest.mark.parametrize("key", ["max-fpr", "max_fpr"])
def test_flags_win_over_config(calibrated: Calibrated, tmp_path: Path, key: str) -> None:
    """What is said on the command line counts."""
    config = tmp_path / "config.toml"
    config.write_text(f'{key} = 0.0\nattack = ["fgsm"]\njson = true')
    checks = evaluate(calibrated, "--config", config, "--max-fpr", 1, "--no-corruptions").data["checks"]
    assert [check["limit"] for check in checks] == [1]


@pytest.mark.parametrize("key", ["out", "output", "html"])
def test_config_may_name_one_of_several_as_it_is(calibrated: Calibrated, tmp_path: Path, key: str) -> None:
    """A flag that can be given often takes one value without a list, under any of its names."""
    config = tmp_path / "config.toml"
    config.write_text(f'{key} = "{tmp_path / "found.json"}"\nattack = "fgsm"\nlimit = 20\ncorruptions = false')
    assert evaluate(calibrated, "--config", config).code == 0
    assert (tmp_path / "found.json").exists()


def test_config_may_name_the_artifact(calibrated: Calibrated, tmp_path: Path) -> None:
    """An argument without a flag has a key too."""
    config = tmp_path / "config.toml"
    config.write_text(f'guard = "{calibrated.guard}"\njson = true')
    assert call("inspect", "--config", config).data == calibrated.printed["manifest"]
