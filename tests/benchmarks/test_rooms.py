"""The rooms of the benchmarks: every program starts, and the subjects are those that the tables name."""

from __future__ import annotations

import ast
import importlib
from pathlib import Path

import pytest

import benchmarks
from benchmarks.subjects.settings import FILES
from benchmarks.subjects.subjects import SUBJECTS

ROOT = Path(benchmarks.__file__).parent
PROGRAMS = sorted(
    ".".join(("benchmarks", *path.relative_to(ROOT).with_suffix("").parts))
    for path in ROOT.rglob("*.py")
    if 'if __name__ == "__main__"' in path.read_text()
)


def test_programs_are_found() -> None:
    """The list is not empty for want of a pattern."""
    assert {"benchmarks.tables", "benchmarks.detection.detection", "benchmarks.peers.compare"} <= set(PROGRAMS)


@pytest.mark.parametrize("name", PROGRAMS)
def test_a_program_says_what_it_does(
    name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """``--help`` prints what the docstring says, and nothing is measured."""
    program = importlib.import_module(name)
    monkeypatch.setattr("sys.argv", [name, "--help"])
    with pytest.raises(SystemExit) as ended:
        program.main()
    assert not ended.value.code
    assert " ".join(str(program.__doc__).split())[:40] in " ".join(capsys.readouterr().out.split())


def test_every_room_says_its_question_and_its_command() -> None:
    """The docstring of a room starts with a question and names a program of it."""
    for path in ROOT.glob("*/__init__.py"):
        doc = ast.get_docstring(ast.parse(path.read_text())) or ""
        assert f"python -m benchmarks.{path.parent.name}" in doc


def test_subjects_have_the_names_that_tables_read() -> None:
    """Tables name subjects without importing what they are made of."""
    assert tuple(SUBJECTS) == FILES
