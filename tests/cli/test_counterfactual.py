"""``ce-detect counterfactual``: from images to a file, and from a file to pictures."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from support.calibrated import fresh, guard
from support.command_line import call
from support.counterfactuals import SHORT, fresh_folder, trained, zeros_and_ones

from ce_detect.counterfactual import Counterfactual, fit

QUICK = [part for name in ("steps", "batch", "width", "depth") for part in (f"--{name}", getattr(SHORT, name))]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with images, labels, an image file and a trained counterfactual."""
    x, y = zeros_and_ones()
    np.savez(tmp_path / "digits.npz", x=x, y=y)
    Image.fromarray(np.round(x[0, 0] * 255).astype(np.uint8)).save(tmp_path / "one.png")
    trained().save(tmp_path / "cf.safetensors")
    return tmp_path


def test_training_writes_what_fit_gives(folder: Path) -> None:
    """The same bytes as from Python, with the losses beside it."""
    out, data = folder / "new.safetensors", folder / "digits.npz"
    done = call("counterfactual", "train", "--data", data, "--out", out, "--cache", folder, "--json", *QUICK)
    assert done.code == 0
    assert out.read_bytes() == (folder / "cf.safetensors").read_bytes()
    assert done.data["manifest"] == trained().manifest.plain()
    assert len((folder / "new.csv").read_text().splitlines()) == 1 + SHORT.steps


def test_training_tells_problems_to_people(folder: Path) -> None:
    """Six steps teach nothing."""
    data, out = folder / "digits.npz", folder / "new.safetensors"
    done = call("counterfactual", "train", "--data", data, "--out", out, "--cache", folder, *QUICK)
    assert done.code == 0
    assert "accuracy" in done.out
    assert all(problem[:40] in done.out for problem in trained().manifest.problems)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--data", "digits.npz", "--weights", "w.safetensors"], "--weights are those of --model"),
        (["--data", "digits.npz", "--depth", "7"], "smaller than the down-sampling"),
        (["--data", "digits.npz", "--steps", "0"], "steps = 0"),
        (["--data", "digits.npz", "--out", "no/such/place"], "cannot write"),
        (["--data", "one.png"], "there are no labels"),
    ],
)
def test_what_makes_no_sense_is_refused(
    folder: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], told: str
) -> None:
    """In one line."""
    monkeypatch.chdir(folder)
    done = call("counterfactual", "train", *arguments)
    assert done.code == 2
    assert told in done.err


def test_an_image_is_shown_as_another_class(folder: Path) -> None:
    """As a page, a picture and data: labels and fakeness before and after, and the mask."""
    page, picture = folder / "page.html", folder / "sheet.png"
    asked = ("counterfactual", "show", folder / "one.png", "--counterfactual", folder / "cf.safetensors")
    done = call(*asked, "--out", page, "--out", picture, "--json")
    assert done.code == 0
    (found,) = done.data["images"]
    expected = trained().generate(zeros_and_ones()[0][:1].round(2), None)
    assert found["target"] == 1 - found["label"] == int(expected.target[0])
    assert found["fakeness"] == pytest.approx(float(expected.fakeness[0]), abs=0.02)
    assert np.asarray(found["mask"]).shape == (8, 8)
    assert "what would have to change" in page.read_text()
    assert "one.png, image 1" in page.read_text()
    with Image.open(picture) as image:
        assert image.width == 3 * image.height
    assert json.loads(call(*asked, "--target", 0, "--json").out)["images"][0]["target"] == 0
    assert "counterfactuals are of the class" in call(*asked, "--out", page).out


def test_what_is_missing_is_said(folder: Path) -> None:
    """Where to write, an ending that means nothing, a class that there is not."""
    asked = ("counterfactual", "show", folder / "one.png", "--counterfactual", folder / "cf.safetensors")
    for arguments, told in (
        ((), "give --out page.html"),
        (("--out", folder / "page.pdf"), "none of .html for a page"),
        (("--json", "--target", 5), "expected a class from 0 to 1"),
    ):
        done = call(*asked, *arguments)
        assert done.code == 2
        assert told in done.err


def test_explain_shows_counterfactuals_beside_the_maps(tmp_path: Path) -> None:
    """In the page and as data, for a counterfactual that was trained from the very model."""
    from ce_detect import load_data, load_model

    images = load_data("demo", limit=300)
    fit(images, settings=SHORT, model=load_model("demo"), cache=fresh_folder(), progress=False).save(
        tmp_path / "cf.safetensors"
    )
    guard().save(tmp_path / "guard.safetensors")
    np.savez(tmp_path / "two.npz", x=fresh()[0][:2])
    asked = ("explain", tmp_path / "guard.safetensors", tmp_path / "two.npz", "--model", "demo")
    done = call(*asked, "--json", "--out", tmp_path / "why.html", "--counterfactual", tmp_path / "cf.safetensors")
    assert done.code == 0
    made = Counterfactual.load(tmp_path / "cf.safetensors", load_model("demo")).generate(fresh()[0][:2])
    assert [one["counterfactual"]["target"] for one in done.data["inputs"]] == made.target.tolist()
    assert "what would have to change" in (tmp_path / "why.html").read_text()
    assert "counterfactual" not in call(*asked, "--json").data["inputs"][0]
