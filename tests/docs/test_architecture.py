"""The architecture page is true: its files exist, its floors are those of import-linter, imports obey them."""

from __future__ import annotations

import ast
import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "ce_detect"
PAGE = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")

LONGEST_FILE, LONGEST_FUNCTION = 300, 60
"""Lines."""

RETIRED = {"served", "material", "spread", "learned", "standin", "written", "tidy", "roughness", "ride", "riding"}
"""Words that named ideas which have a better name now, see docs/glossary.md."""

FILES = sorted(PACKAGE.rglob("*.py"))


def floors() -> dict[str, int]:
    """Floor of each room, as the table of the page has it."""
    rows = re.findall(r"^\| (\d+) \| ((?:`\w+` ?)+) \|", PAGE, flags=re.MULTILINE)
    return {room: int(floor) for floor, rooms in rows for room in re.findall(r"`(\w+)`", rooms)}


def imports(path: Path) -> set[str]:
    """Modules of ce_detect that a file imports, at whatever place."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("ce_detect"):
            module = str(node.module)
            found |= {f"{module}.{alias.name}" for alias in node.names} if module == "ce_detect" else {module}
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names if alias.name.startswith("ce_detect.")}
    return found


def test_every_room_has_a_floor() -> None:
    """The table names every folder of the package, and no other."""
    rooms = {path.name for path in PACKAGE.iterdir() if (path / "__init__.py").exists()}
    assert set(floors()) == rooms


def test_nothing_lies_loose_at_the_top_of_the_package() -> None:
    """Every module is in a room."""
    assert [path.name for path in PACKAGE.glob("*.py")] == ["__init__.py"]


def test_the_files_on_the_page_exist() -> None:
    """Each path on the page is one of the package, the docs or the tests."""
    named = set(re.findall(r"\b(?:ce_detect|tests|docs)/[\w/]+\.(?:py|md)\b", PAGE))
    assert len(named) > 20
    assert [name for name in sorted(named) if not (ROOT / name).exists()] == []


def test_the_floors_are_those_of_import_linter() -> None:
    """The contract in pyproject.toml has the same rooms in the same order."""
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    (layers,) = (contract["layers"] for contract in contracts if contract["type"] == "layers")
    expected: dict[int, set[str]] = {}
    for room, floor in floors().items():
        expected.setdefault(floor, set()).add(room)
    assert [set(layer.split(" | ")) for layer in layers] == [
        expected[floor] for floor in sorted(expected, reverse=True)
    ]


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_run_downward(path: Path) -> None:
    """A file imports from its own room and from rooms on lower floors."""
    known = floors()
    room = path.relative_to(PACKAGE).parts[0]
    if room == "__init__.py":
        return
    above = []
    for module in sorted(imports(path)):
        other = module.split(".")[1]
        if other in known and other != room and known[other] >= known[room]:
            above.append(module)
    assert above == []


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_files_and_functions_are_short(path: Path) -> None:
    """A file holds one idea, and a function fits on a screen."""
    text = path.read_text(encoding="utf-8")
    assert text.count("\n") <= LONGEST_FILE
    functions = [n for n in ast.walk(ast.parse(text)) if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef)]
    long = [f.name for f in functions if _lines(f) > LONGEST_FUNCTION]
    assert long == []


def _lines(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Lines of a function without its docstring."""
    first = function.body[0]
    documented = isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant)
    docstring = (first.end_lineno or 0) - first.lineno + 1 if documented else 0
    return (function.end_lineno or 0) - function.lineno + 1 - docstring


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_retired_words_name_nothing(path: Path) -> None:
    """No module, class or function carries a word that was given up."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
    names = {path.stem, *(node.name for node in ast.walk(tree) if isinstance(node, kinds))}
    words = {name: set(re.sub(r"([a-z])([A-Z])", r"\1_\2", name).lower().strip("_").split("_")) for name in names}
    carried = {name: found & RETIRED for name, found in words.items() if found & RETIRED}
    allowed = {"LearnedIntervention", "LearnedMask"}  # kinds of intervention whose parameters are learned
    assert {name: found for name, found in carried.items() if name not in allowed} == {}


def test_the_facade_is_short() -> None:
    """`DetectedModel` holds no logic of its own."""
    assert (PACKAGE / "guard" / "detected_model.py").read_text().count("\n") <= 150
