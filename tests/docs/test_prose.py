"""What people read is plain: short sentences, and no word that had a meaning of our own."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from support import prose

ROOT = Path(__file__).parents[2]
PAGES = prose.pages(ROOT)

PRIVATE = {"signature", "free statistics", "site", "latent", "log-odds", "conformal", "logits"}
"""Words that the README does without."""


def test_sentences_are_found() -> None:
    """Code, tables and headings are no prose; a link counts as its words, and a colon ends a sentence."""
    page = (
        "# A heading of words\n\nOne [two](x.md) `three four`: five. Six et al. 2019\nseven?\n\n"
        "| a | table |\n| --- | --- |\n\n```sh\ncode. Code.\n```\n\n- An item\n- and one more.\n"
    )
    assert prose.sentences(page) == ["One two code:", "five.", "Six et al. 2019 seven?", "An item", "and one more."]


def test_a_long_sentence_is_told() -> None:
    """A sentence of 30 words passes, one of 31 does not; signs are no words."""
    assert prose.long("word " * 30 + "- .") == []
    assert prose.long("word " * 31 + ".")[0].startswith("31: ")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_sentences_are_short(page: Path) -> None:
    """No sentence has more than 30 words."""
    assert prose.long(page.read_text()) == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_retired_words_are_gone(page: Path) -> None:
    """No page uses a word that was given up."""
    assert prose.retired(page.read_text()) == set()


def test_the_readme_has_no_private_words() -> None:
    """An engineer who never read a paper understands it."""
    said = " ".join(prose.blocks((ROOT / "README.md").read_text())).lower()
    assert {word for word in PRIVATE if re.search(rf"\b{word}\b", said)} == set()


@pytest.mark.parametrize("word", ["signature", "free statistics", "site", "log-odds", "intervention", "effect"])
def test_words_of_the_method_are_explained(word: str) -> None:
    """The page that explains the method says what its words mean, and the glossary has them."""
    page = (ROOT / "docs" / "explanations" / "how-it-works.md").read_text().lower()
    assert any(f"{mark}{word}{mark}" in page for mark in ("*", "**")) or f"the *{word}" in page
    assert f"| {word} |" in (ROOT / "docs" / "glossary.md").read_text()
