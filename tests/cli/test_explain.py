"""``ce-detect explain``: a page, the same as data, and what is missing."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from support.calibrated import for_photographs, fresh, guard
from support.command_line import call
from support.onnx_files import black_box_file


@pytest.fixture
def asked(tmp_path: Path) -> tuple[object, ...]:
    """A detector and an image file, as a command line."""
    guard().save(tmp_path / "guard.safetensors")
    pixels = np.round(fresh()[0][0, 0] * 255).astype(np.uint8)
    Image.fromarray(pixels).save(tmp_path / "one.png")
    return ("explain", tmp_path / "guard.safetensors", tmp_path / "one.png", "--model", "demo")


def test_an_image_file_is_explained(asked: tuple[object, ...], tmp_path: Path) -> None:
    """As a page and as data, with the verdict of the gate."""
    done = call(*asked, "--out", tmp_path / "why.html", "--json", "--baseline", "blur")
    assert done.code == 0
    (found,) = json.loads(done.out)["inputs"]
    judged = guard()(np.float32(np.asarray(Image.open(tmp_path / "one.png"))[None, None] / 255))
    assert found["score"] == pytest.approx(float(judged.score[0]), abs=1e-4)
    assert np.asarray(found["maps"]["target"]).shape == (28, 28)
    assert found["baseline"] == "blur"
    assert "one.png, image 1" in (tmp_path / "why.html").read_text()
    assert found["name"] == "one.png, image 1"


def test_other_methods_add_their_maps(asked: tuple[object, ...], tmp_path: Path) -> None:
    """Beside ours, as data and on the page; an unknown one is refused with those that there are."""
    (found,) = json.loads(call(*asked, "--json", "--method", "grad-cam", "--method", "rise").out)["inputs"]
    assert set(found["maps"]) == {"target", "non_target", "rival", "grad-cam", "rise"}
    assert np.asarray(found["maps"]["rise"]).shape == (28, 28)
    refused = call(*asked, "--json", "--method", "magic")
    assert refused.code == 2
    assert "expected one of effect-map" in refused.err
    assert call(*asked, "--out", tmp_path / "why.html", "--method", "grad-cam").code == 0
    assert 'alt="Map over one.png, image 1: Grad-CAM"' in (tmp_path / "why.html").read_text()


def test_maps_are_made_again_after_an_attack(asked: tuple[object, ...]) -> None:
    """Of a size as the red team's; another one is refused."""
    (found,) = json.loads(call(*asked, "--json", "--attack", "1/255").out)["inputs"]
    assert found["after_attack"]["eps"] == pytest.approx(1 / 255)
    assert set(found["after_attack"]["rank_correlation"]) == {"target"}
    refused = call(*asked, "--json", "--attack", "much")
    assert refused.code == 2
    assert "is not a positive number or fraction such as 8/255" in refused.err


def test_what_is_missing_or_unknown_is_said(asked: tuple[object, ...], tmp_path: Path) -> None:
    """Where to write, and a layer that there is not."""
    assert "give --out report.html" in call(*asked).err
    done = call(*asked, "--out", tmp_path / "why.html", "--site", "nowhere")
    assert done.code == 2
    assert "has no feature map here" in done.err
    assert not (tmp_path / "why.html").exists()


def test_clean_images_of_the_same_class_stand_beside(asked: tuple[object, ...], tmp_path: Path) -> None:
    """Effects are held against theirs, and one of them is shown; none of another size is taken."""
    np.savez(tmp_path / "clean.npz", x=fresh()[0])
    done = call(*asked, "--json", "--out", tmp_path / "why.html", "--clean", tmp_path / "clean.npz")
    assert done.code == 0
    (found,) = json.loads(done.out)["inputs"]
    place = found["typical_clean_input"]
    assert guard()(fresh()[0][place : place + 1]).label[0] == found["label"]
    page = (tmp_path / "why.html").read_text()
    assert f'alt="Clean input {place + 1}, of class {found["label"]}"' in page
    np.savez(tmp_path / "clean.npz", x=fresh()[0][:, :, 1:])
    assert call(*asked, "--json", "--clean", tmp_path / "clean.npz").code == 2


def test_concepts_are_ranked_beside_the_inputs(asked: tuple[object, ...], tmp_path: Path) -> None:
    """By clean images of their own, as data and on the page."""
    np.savez(tmp_path / "clean.npz", x=fresh()[0][:64])
    done = call(*asked, "--json", "--out", tmp_path / "why.html", "--concepts", tmp_path / "clean.npz")
    assert done.code == 0
    found = json.loads(done.out)["concepts"]
    assert found["ranked_by"] == 32
    assert [one["effect"] for one in found["concepts"]] == sorted(
        (one["effect"] for one in found["concepts"]), reverse=True
    )
    assert f"Concept {found['concepts'][0]['number']}</h3>" in (tmp_path / "why.html").read_text()


def test_an_onnx_file_without_gradients_is_explained(tmp_path: Path) -> None:
    """With all that needs none; what does is left out, and the page, the data and a warning say so."""
    recipe = tmp_path / "clean.toml"
    recipe.write_text(
        "head = 'distance'\n[splits]\nfit = 0.5\nselect = 0.2\ncalibrate = 0.3\ntest = 0.0\n"
        "[[intervention]]\nkind = 'Flip'\n"
    )
    model = ("--model", black_box_file())
    few = ("--data", "demo", "--limit", 120, "--recipe", recipe, "--fpr", 0.2, "--budget", "inf")
    assert call("calibrate", *model, *few, "--output", tmp_path / "guard.safetensors").code == 0
    np.savez(tmp_path / "one.npz", x=fresh()[0][:1])
    asked = ("explain", tmp_path / "guard.safetensors", tmp_path / "one.npz", *model, "--out", tmp_path / "why.html")
    done = call(*asked, "--json", "--method", "rise", "--method", "grad-cam", "--attack", "2/255")
    assert done.code == 0
    found = json.loads(done.out)
    assert found["left_out"] == ["Grad-CAM", "maps after an attack"]
    assert set(found["inputs"][0]["maps"]) == {"target", "non_target", "rival", "rise"}
    assert found["inputs"][0]["carried"]
    assert "left out, as the classifier has no gradients: Grad-CAM" in done.err
    page = (tmp_path / "why.html").read_text()
    assert "Left out, as the classifier has no gradients: Grad-CAM" in page
    assert 'alt="Map over one.npz, image 1: RISE"' in page


def test_maps_are_given_in_the_size_of_the_image_files(tmp_path: Path) -> None:
    """As arrays that hold no objects, in a file that is whole or not there; the page shows the files themselves."""
    for_photographs().save(tmp_path / "guard.safetensors")
    pixels = np.round(fresh()[0][0, 0] * 255).astype(np.uint8)
    for number, size in enumerate([(90, 60), (64, 64)]):
        (tmp_path / "photographs").mkdir(exist_ok=True)
        Image.fromarray(pixels).resize(size).save(tmp_path / "photographs" / f"{number}.png")
    asked = ("explain", tmp_path / "guard.safetensors", tmp_path / "photographs", "--model", "demo")
    assert call(*asked, "--maps", tmp_path / "maps.npz", "--out", tmp_path / "why.html").code == 0
    with np.load(tmp_path / "maps.npz", allow_pickle=False) as maps:
        assert {name: maps[name].shape for name in maps.files if "target" in name and "non" not in name} == {
            "1/target": (60, 90), "2/target": (64, 64),
        }  # fmt: skip
        assert np.isnan(maps["1/target"][0, 0])
    assert "the image, 90 by 60 pixels" in (tmp_path / "why.html").read_text()
    assert "let its name end with .npz" in call(*asked, "--maps", tmp_path / "maps.html").err
    refused = call(*asked, "--maps", tmp_path / "nowhere" / "maps.npz")
    assert refused.code == 2
    assert "name another file" in refused.err
