"""An artifact that the command line made."""

from __future__ import annotations

import pytest
from support.command_line import RECIPE, Calibrated, call


@pytest.fixture(scope="session")
def calibrated(tmp_path_factory: pytest.TempPathFactory) -> Calibrated:
    """One calibration of the demo classifier, on few images and with one attack, by configuration file and flags."""
    folder = tmp_path_factory.mktemp("cli")
    (folder / "tiny.toml").write_text(RECIPE)
    config = folder / "config.toml"
    given = 'model = "demo"\ndata = "demo"\nlimit = 400\nbudget = inf\nfpr = 0.5\nattack-time = "5m"\n'
    config.write_text(f'{given}cache = "{folder / "cache"}"')
    guard = folder / "guard.safetensors"
    recipe = ("--recipe", folder / "tiny.toml", "--fpr", 0.05)
    done = call("calibrate", "--config", config, *recipe, "--output", guard, "--json")
    assert done.code == 0, done.err
    return Calibrated(folder, guard, done.data)
