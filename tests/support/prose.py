"""Sentences of prose: of Markdown, and of what the command line says."""

from __future__ import annotations

import re
from pathlib import Path

LONGEST = 30
"""Words of a sentence."""

RETIRED = frozenset({"served", "material", "spread", "standin", "tidy", "roughness", "ride", "riding"})
"""Words that had meanings of our own once; see docs/glossary.md for those that came after them."""

_NOT_PROSE = (
    (re.compile(r"^---\n.*?\n---\n", re.DOTALL), ""),
    (re.compile(r"^( *)(```|~~~).*?^\1\2 *$", re.DOTALL | re.MULTILINE), "\n\n"),
    (re.compile(r"<!--.*?-->", re.DOTALL), "\n\n"),
    (re.compile(r"^ *\|.*\|? *$", re.MULTILINE), "\n\n"),
    (re.compile(r"^ *(:::|!!!).*(\n +.*)*", re.MULTILINE), "\n\n"),
    (re.compile(r"^\*\d{4}-.*\*$|^\*not measured yet.*\*$", re.MULTILINE), "\n\n"),
    (re.compile(r"^#+ .*$", re.MULTILINE), "\n\n"),
    (re.compile(r"!?\[([^\]]*)\]\([^)]*\)"), r"\1"),
    (re.compile(r"^ *(?:[-*]|\d+\.) ", re.MULTILINE), "\n\n"),
    (re.compile(r"`[^`]*`"), "code"),
)
_END = re.compile(r"(?<=[.?!:])[*)\"]*\s+(?=[\"(*\[A-Z0-9a-z])")
_ABBREVIATION = re.compile(r"\b(?:et al|e\.g|i\.e|vs|Fig|No)\.$")


def blocks(markdown: str) -> list[str]:
    """Paragraphs and items of lists, without code, tables, headings and the targets of links."""
    for pattern, other in _NOT_PROSE:
        markdown = pattern.sub(other, markdown)
    return [" ".join(block.split()) for block in re.split(r"\n\s*\n", markdown) if block.strip()]


def sentences(markdown: str) -> list[str]:
    """Sentences; a colon ends one, as what follows it is a thought or a list of its own."""
    found: list[str] = []
    for block in blocks(markdown):
        for part in _END.split(block):
            if found and _ABBREVIATION.search(found[-1]):
                found[-1] += f" {part}"
            else:
                found.append(part)
    return found


def words(sentence: str) -> int:
    """How many words a sentence has; signs alone are none."""
    return sum(any(letter.isalnum() for letter in word) for word in sentence.split())


def long(markdown: str) -> list[str]:
    """Sentences that are too long, with their length."""
    return [f"{words(one)}: {one}" for one in sentences(markdown) if words(one) > LONGEST]


def retired(markdown: str) -> set[str]:
    """Retired words in the prose."""
    return RETIRED & set(re.findall(r"[a-z]+", " ".join(blocks(markdown)).lower()))


def pages(root: Path) -> list[Path]:
    """README and everything that people read."""
    top = [root / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "SECURITY.md")]
    return [path for path in (*top, *sorted((root / "docs").rglob("*.md"))) if path.exists()]
