"""What ``--help`` says is plain: short sentences, and no word that only these docs know."""

from __future__ import annotations

import re

import click
import pytest
from support import prose

from ce_detect.cli._group import COMMANDS, program

PRIVATE = ("grey level", "free statistics", "latent", "radius ratio", "hardened copy", "served")
"""Words that need a page of docs. What a flag is called must be known where it is explained."""

EXPLAINED = {"radius ratio": "redteam"}
"""Words that the help of a command explains where it uses them."""


def texts(name: str) -> list[str]:
    """The docstring of a command, and the help of each of its options."""
    command = program.get_command(click.Context(program), name)
    assert command is not None
    helped = [_own(option.help or "") for option in command.params if isinstance(option, click.Option)]
    return [re.sub(r"\\b|``", "", command.help or ""), *helped]


@pytest.mark.parametrize("name", COMMANDS)
def test_sentences_are_short(name: str) -> None:
    """No sentence has more than 30 words."""
    assert [long for text in texts(name) for long in prose.long(text)] == []


@pytest.mark.parametrize("name", COMMANDS)
def test_every_option_is_explained(name: str) -> None:
    """Each says something, and ends as a sentence does."""
    assert [text for text in texts(name) if not text.strip().endswith(".")] == []


@pytest.mark.parametrize("name", COMMANDS)
def test_no_private_words(name: str) -> None:
    """Whoever reads it has not read the docs."""
    said = " ".join(texts(name)).lower()
    found = {word for word in PRIVATE if word in said and EXPLAINED.get(word) != name}
    assert found == set()
    assert prose.retired(said) == set()


def _own(text: str) -> str:
    """Help without the default behind it, which click writes for others."""
    return re.sub(r"\s*\[default: [^\]]*\]$", "", text)
