"""Pages and pictures of counterfactuals."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from support.counterfactuals import trained, zeros_and_ones

from ce_detect.core.errors import UsageError
from ce_detect.reporting.counterfactual import Shown, check, described


def shown(count: int = 3) -> Shown:
    """Some digits as the other digit."""
    x = zeros_and_ones()[0][:count]
    made = trained()
    names = [f"image {place}" for place in range(count)]
    return Shown(made.generate(x), x, names, made.bounds, made.manifest, "cf.safetensors")


def test_a_picture_has_a_row_an_image(tmp_path: Path) -> None:
    """The image, its counterfactual, and what changed, in their proportions."""
    shown(3).write(tmp_path / "sheet.png")
    with Image.open(io.BytesIO((tmp_path / "sheet.png").read_bytes())) as image:
        assert image.width == image.height
        times = image.width // 24
        first = np.asarray(image.convert("L"))[: 8 * times : times, : 8 * times : times]
    np.testing.assert_allclose(first / 255, zeros_and_ones()[0][0, 0], atol=0.01)


def test_a_page_says_what_was_found_and_what_went_wrong(tmp_path: Path) -> None:
    """Each image by its name, both fakenesses, the figures and the problems of the training."""
    found = shown()
    found.write(tmp_path / "page.html")
    text = (tmp_path / "page.html").read_text()
    for name in found.names:
        assert name in text
    assert f"fakeness {found.found.fakeness[0]:.2f}" in text
    assert text.count("<figure><img") == 9
    assert found.headline in text
    assert found.manifest.problems
    assert "Problem" in text
    assert "model-card" not in text


def test_the_same_page_gives_the_same_bytes(tmp_path: Path) -> None:
    """And so does a picture."""
    for name in ("a.html", "b.html", "a.png", "b.png"):
        shown().write(tmp_path / name)
    assert (tmp_path / "a.html").read_bytes() == (tmp_path / "b.html").read_bytes()
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()


def test_captions_say_before_and_after() -> None:
    """Labels by the K+1 network."""
    found = shown()
    captions = [one["caption"] for one in described(found.found, found.pixels, 1, "it", found.bounds)]
    assert f"as class {found.found.target[1]}" in captions[0]
    assert f"class {found.found.label_after[1]}, fakeness {found.found.fakeness_after[1]:.2f}" in captions[0]
    assert "of the range on average" in captions[1]


def test_an_ending_that_means_nothing_is_refused() -> None:
    """With those that mean something."""
    check([Path("a.html"), Path("a.png")])
    with pytest.raises(UsageError, match=r"none of \.html for a page, \.png for a picture"):
        check([Path("a.json")])
