"""The report of an explanation."""

from __future__ import annotations

from support.pages import Page, explained, source


def test_each_input_is_shown_with_its_maps() -> None:
    """Under its name, with its verdict."""
    page = Page(source("explain"))
    assert [one.text for one in page.all("h3")][:2] == ["clean & plain", "attacked"]
    assert [one.attributes["alt"] for one in page.all("img")][:2] == [
        "The input clean & plain", "Map over clean & plain: where hiding weakens the decision",
    ]  # fmt: skip
    assert len(page.all("img")) == 2 * 4
    assert "Flagged" in source("explain")


def test_the_page_says_what_carried_the_score() -> None:
    """The intervention in words."""
    assert "after do(exchange left and right) the top label" in source("explain")


def test_the_data_have_whole_maps_and_names() -> None:
    """As nested lists, beside the verdicts."""
    first, second = explained().data["inputs"]
    assert (first["name"], second["name"]) == ("clean & plain", "attacked")
    assert len(first["maps"]["target"]) == 28
    assert (
        explained().data["verdict"]["headline"]
        == f"{first['is_adversarial'] + second['is_adversarial']} of 2 inputs flagged."
    )
