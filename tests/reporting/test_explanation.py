"""The report of an explanation."""

from __future__ import annotations

from dataclasses import replace

from support.calibrated import fresh, guard
from support.manifests import manifest
from support.pages import Page, explained, source

from ce_detect.reporting import explanation


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


def test_secret_seeds_stay_secret() -> None:
    """Names of interventions are in the data, their seeds are not."""
    found = guard().explain(fresh()[0][:1])
    (parts,) = found.carried
    named = replace(found, carried=[[replace(parts[0], name="GaussianNoise(seed=987654)@input"), *parts[1:]]])
    document = explanation.document(
        named, manifest(secret_seed=True), artifact="guard", names=["one"], bounds=(0.0, 1.0)
    )  # fmt: skip
    assert "seed=secret" in str(document.data)
    assert "987654" not in str(document.data)
    assert "987654" not in document.page()
