"""The page of an explanation, and its command."""

from __future__ import annotations

import contextlib
import io
import json
import re
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from PIL import Image
from support.calibrated import fresh, guard

from ce_detect import cli
from ce_detect.reporting import explanation


@pytest.fixture(scope="module")
def page() -> str:
    """Of a clean and an attacked image."""
    clean, attacked = fresh()
    found = guard().explain(np.concatenate([clean[:1], attacked[:1]]))
    return explanation.html(found, artifact="guard <1>", names=["clean & plain", "attacked"], bounds=(0.0, 1.0))


def test_the_page_is_whole_and_needs_nothing_else(page: str) -> None:
    """Well formed, escaped, without scripts or addresses; each picture has an alternative text."""
    body = page[page.index("<body>") : page.index("</body>") + len("</body>")]
    root = ElementTree.fromstring(re.sub(r"<img ([^>]*)>", r"<img \1/>", body))
    pictures = root.findall(".//img")
    assert len(pictures) == 2 * 4
    assert all(one.get("alt") and (one.get("src") or "").startswith("data:image/png;base64,") for one in pictures)
    assert "guard &lt;1&gt;" in page
    assert "clean &amp; plain" in page
    assert "<script" not in page
    assert "http" not in page


def test_the_page_says_what_carried_the_score(page: str) -> None:
    """The intervention in words, and the verdicts."""
    assert "after do(exchange left and right) the top label" in page
    assert "Flagged" in page


def call(*arguments: object) -> tuple[int, str]:
    """Run a command line in this process; exit code and stdout."""
    out = io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(io.StringIO()):
        code = cli.run([str(argument) for argument in arguments])
    return code, out.getvalue()


def test_the_command_explains_an_image_file(tmp_path: Path) -> None:
    """As a page and as data, with the same verdict as the gate; without either it says what to give."""
    guard().save(tmp_path / "guard.safetensors")
    pixels = np.round(fresh()[0][0, 0] * 255).astype(np.uint8)
    Image.fromarray(pixels).save(tmp_path / "one.png")
    asked = ("explain", tmp_path / "guard.safetensors", tmp_path / "one.png", "--model", "demo")
    code, out = call(*asked, "--out", tmp_path / "why.html", "--json", "--baseline", "blur")
    assert code == 0
    (found,) = json.loads(out)["inputs"]
    judged = guard()((pixels / 255).astype(np.float32)[None, None])
    assert found["score"] == pytest.approx(float(judged.score[0]), abs=1e-4)
    assert np.asarray(found["maps"]["target"]).shape == (28, 28)
    assert found["baseline"] == "blur"
    assert "one.png, image 1" in (tmp_path / "why.html").read_text()
    assert call(*asked)[0] == 2
