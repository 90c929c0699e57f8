"""The public names have types, seen from outside."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
USER = Path(__file__).parent / "user.py"


@pytest.mark.slow
def test_a_users_file_passes_mypy_strict(tmp_path: Path) -> None:
    """Right calls pass, and wrong ones are refused: an ignore that nothing needs would be an error."""
    flags = ("--strict", "--config-file", "", "--follow-imports", "silent", "--cache-dir", tmp_path / "cache")
    command = [sys.executable, "-m", "mypy", *flags, USER]
    given = {"PYTHONPATH": "", "MYPYPATH": str(ROOT), "PATH": "/usr/bin"}
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path, env=given)
    assert done.returncode == 0, done.stdout + done.stderr
    wrong = tmp_path / "wrong.py"
    wrong.write_text(USER.read_text().replace("fpr=0.05", "fpr='a'"))
    done = subprocess.run([*command[:-1], wrong], capture_output=True, text=True, check=False, cwd=tmp_path, env=given)
    assert "arg-type" in done.stdout
    assert done.returncode == 1
