"""Docstrings that the Python reference shows are plain: no sentence over 30 words."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from support import prose

ROOT = Path(__file__).parents[2]
SHOWN = re.findall(r"^::: (ce_detect\S+)$", (ROOT / "docs" / "reference" / "python.md").read_text(), re.MULTILINE)
TREE = "ce_detect.core.errors"
"""Its docstring draws a tree."""


def docstrings(name: str) -> Iterator[str]:
    """Docstrings of an object and of what is in it, as Markdown."""
    module, _, wanted = name.rpartition(".")
    path = ROOT / f"{module.replace('.', '/')}.py"
    for top in ast.walk(ast.parse(path.read_text())):
        if isinstance(top, ast.ClassDef | ast.FunctionDef) and top.name == wanted:
            for node in ast.walk(top):
                if isinstance(node, ast.ClassDef | ast.FunctionDef):
                    yield _markdown(ast.get_docstring(node) or "")


def _markdown(docstring: str) -> str:
    """Examples left out, and each argument a paragraph."""
    without = re.sub(r">>> .*", "", docstring).replace("``", "`")
    apart = re.sub(r"^ *\w+(?:, \w+)*: ", "\n\n", without, flags=re.MULTILINE)
    return re.sub(r"^(?:Args|Returns|Raises|Attributes):$", "\n", apart, flags=re.MULTILINE)


def test_docstrings_are_found() -> None:
    """Of a class and of its methods; an argument's name is no part of its sentence."""
    found = list(docstrings("ce_detect.verdict.policies.Abstain"))
    assert len(found) == 2
    assert "raise code instead of returning." in prose.blocks(found[0])


@pytest.mark.parametrize("name", [name for name in SHOWN if name != TREE])
def test_sentences_are_short(name: str) -> None:
    """Each page of the reference can be read."""
    found = list(docstrings(name))
    assert found, name
    assert [long for docstring in found for long in prose.long(docstring)] == []
