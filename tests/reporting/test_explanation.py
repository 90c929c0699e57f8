"""The report of an explanation."""

from __future__ import annotations

from dataclasses import replace

import pytest
from support.calibrated import fresh, guard
from support.manifests import manifest
from support.pages import Page, explained, source

from ce_detect.reporting import explanation


def test_each_input_is_shown_with_its_maps() -> None:
    """Under its name, with its verdict."""
    page = Page(source("explain"))
    assert [one.text for one in page.all("h3")][:2] == ["clean & plain", "attacked"]
    assert [one.attributes["alt"] for one in page.all("img")][:6] == [
        "The input clean & plain", "Map over clean & plain: where hiding weakens the decision",
        "Map over clean & plain: Grad-CAM", "Map over clean & plain: Integrated gradients",
        "Map over clean & plain: where hiding moves other classes",
        "Map over clean & plain: where hiding lets a rival rise",
    ]  # fmt: skip
    assert "Flagged" in source("explain")


def test_other_methods_stand_beside_with_their_likeness() -> None:
    """How like ours they order the pixels, as in the data; the same map is like itself."""
    (first, _), words = explained().data["inputs"], Page(source("explain")).all("figcaption")
    likeness = first["rank_correlation"]
    assert set(likeness) == {"grad-cam", "integrated-gradients"}
    assert words[2].text == f"Grad-CAM: rank correlation with the effect map {likeness['grad-cam']:.2f}"
    own = guard().explain(fresh()[0][:1], method="effect-map")
    assert own.likeness["effect-map"] == pytest.approx([1.0])


def test_maps_after_the_attack_stand_below_those_before() -> None:
    """Each with how like the one before it is, as in the data; the numbers of the page are without maps."""
    page, likeness = Page(source("explain")), explained().data["inputs"][0]["after_attack"]["rank_correlation"]
    assert [one.attributes["alt"] for one in page.all("img")][6:10] == [
        "clean & plain after the attack", "Map over clean & plain after the attack: Effect map (ours)",
        "Map over clean & plain after the attack: Grad-CAM",
        "Map over clean & plain after the attack: Integrated gradients",
    ]  # fmt: skip
    captions = [one.text for one in page.all("figcaption")][7:9]
    assert captions == [
        f"Effect map (ours): rank correlation with the map before {likeness['target']:.2f}",
        f"Grad-CAM: rank correlation with the map before {likeness['grad-cam']:.2f}",
    ]
    assert "by 2/255 of the pixel range at most" in source("explain")


def test_concepts_are_shown_with_the_images_that_excite_them() -> None:
    """In the order of the data, each with its words; its places are enlarged to the size of the image."""
    page, found = Page(source("explain")), explained().data["concepts"]["concepts"]
    headings = [one.text for one in page.all("h3") if one.text.startswith("Concept ")]
    assert headings == [f"Concept {one['number']}" for one in found]
    pictures = [one for one in page.all("img") if "where concept" in (one.attributes["alt"] or "")]
    assert len(pictures) == sum(len(one["images"]) for one in found)
    image, number = found[0]["images"][0] + 1, found[0]["number"]
    assert pictures[0].attributes["alt"] == f"Map over clean image {image}: where concept {number} is"
    assert found[0]["words"][1:] in source("explain")
    assert '"places": "see --json"' in page.all("pre")[0].text


def test_the_page_says_when_maps_are_for_another_class() -> None:
    """In the caption and beside the verdict, and not where the class is what was decided."""
    x = fresh()[0][:1]
    decided = int(guard()(x).label[0])
    other = (decided + 1) % 10

    def page(label: int) -> str:
        found = guard().explain(x, label=label)
        made = explanation.document(
            found, guard().calibrated.manifest, artifact="guard", names=["one"], bounds=(0.0, 1.0)
        )
        return made.page()

    assert f"The maps are for class {other}" in page(other)
    assert f"where hiding weakens class {other}" in page(other)
    assert "The maps are for class" not in page(decided)


def test_the_page_says_what_carried_the_score() -> None:
    """The intervention in words."""
    assert "after do(exchange left and right) the top label" in source("explain")


def test_the_data_have_whole_maps_and_names() -> None:
    """As nested lists, beside the verdicts."""
    first, second = explained().data["inputs"]
    assert (first["name"], second["name"]) == ("clean & plain", "attacked")
    assert len(first["maps"]["target"]) == 28
    (moved, *_) = (part for part in first["carried"] if part["effect"] is not None)
    middle, width = moved["usual"]
    assert f"the median of clean inputs {'fell' if middle >= 0 else 'rose'} by {abs(middle):.1f}" in moved["words"]
    assert f"an interquartile range of {width:.1f}" in moved["words"]
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


def test_what_is_left_out_is_said_at_the_top() -> None:
    """With the remedy, on the page and in the data; nothing is said where nothing is left out."""
    found = replace(guard().explain(fresh()[0][:1]), left_out=("Grad-CAM", "concepts"))
    made = explanation.document(found, guard().calibrated.manifest, artifact="guard", names=["one"], bounds=(0.0, 1.0))
    said = "Left out, as the classifier has no gradients: Grad-CAM, concepts. Pass the PyTorch model"
    assert any(one.startswith(said) for one in made.data["verdict"]["details"])
    assert made.data["left_out"] == ["Grad-CAM", "concepts"]
    assert said in made.page()
    assert "Left out" not in source("explain")
