"""Errors and log lines are plain: short sentences, without words that only the docs explain."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest
from support import prose

PACKAGE = Path(__file__).parents[2] / "ce_detect"
FILES = sorted(PACKAGE.rglob("*.py"))

SAID = {"debug", "info", "warning", "error", "exception", "echo"}
"""Functions that say something to people."""

PRIVATE = ("free statistics", "grey level", "standin")


def messages(source: str) -> Iterator[str]:
    """What calls of errors, loggers and `click.echo` say; what is filled in counts as a word."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Call):
            name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            if name in SAID or name.endswith("Error"):
                yield from filter(None, map(text, node.args))


def text(node: ast.expr) -> str:
    """A string as far as the source tells it, else nothing."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    if isinstance(node, ast.JoinedStr):
        return "".join(text(part) if isinstance(part, ast.Constant) else "it" for part in node.values)
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        return text(node.left) + text(node.right)
    return ""


def test_messages_are_found() -> None:
    """Of errors and loggers, also where a message is in parts."""
    source = 'raise InputError(f"got {x}, " "sorry")\nlogger.warning("a" + "b", 1)\nprint("no")\n'
    assert sorted(messages(source)) == ["ab", "got it, sorry"]


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_messages_are_plain(path: Path) -> None:
    """No sentence has more than 30 words, and none needs a page of docs."""
    said = list(messages(path.read_text()))
    assert [long for message in said for long in prose.long(message)] == []
    assert [message for message in said if any(word in message.lower() for word in PRIVATE)] == []
