"""The benchmarks use the package by its public names and by one internal face."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import ce_detect
from benchmarks import face

BENCHMARKS = Path(face.__file__).parent
PUBLIC = ("ce_detect.runtime", "ce_detect.adapters")
"""Rooms that users import from."""

FILES = {path.relative_to(BENCHMARKS): ast.parse(path.read_text()) for path in BENCHMARKS.rglob("*.py")}


def imports(tree: ast.Module) -> Iterator[tuple[str, str | None]]:
    """Modules and, where some are named, names that are imported from them; anywhere in a file."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name, None) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, "benchmarks import each other by their whole names"
            yield from ((str(node.module), alias.name) for alias in node.names)


def internal(module: str, name: str | None) -> bool:
    """Whether an import reaches into the package."""
    if module == "ce_detect":
        return name is not None and name not in ce_detect.__all__
    return module.startswith("ce_detect.") and not module.startswith(PUBLIC)


def test_nothing_but_the_face_imports_internals() -> None:
    """A name that is moved in the package is followed in one file."""
    found = {str(path): [pair for pair in imports(tree) if internal(*pair)] for path, tree in FILES.items()}
    assert len(found) > 50
    assert {path: pairs for path, pairs in found.items() if pairs} == {}


def test_every_name_of_the_face_is_there_and_is_used() -> None:
    """The list holds what the package has, and nothing that no program asks for."""
    for name in face.HOMES:
        assert getattr(face, name) is not None
    used = {name for tree in FILES.values() for module, name in imports(tree) if module == "benchmarks.face"}
    assert used == set(face.HOMES)


def test_an_unknown_name_is_an_import_error() -> None:
    """A typing error in a program says so."""
    assert not hasattr(face, "no_such_name")
