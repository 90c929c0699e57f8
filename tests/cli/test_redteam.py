"""``ce-detect redteam``: what it writes and its exit codes."""

from __future__ import annotations

import contextlib
import io
import json
import re
from pathlib import Path

import pytest
from support.calibrated import guard

from ce_detect import cli


def call(*arguments: object) -> tuple[int, str, str]:
    """Run a command line in this process; exit code, stdout and stderr."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = cli.run([str(argument) for argument in arguments])
    return code, out.getvalue(), err.getvalue()


@pytest.fixture
def attack(tmp_path: Path) -> tuple[object, ...]:
    """A quick attack on the calibrated gate, as a command line."""
    path = tmp_path / "guard.safetensors"
    guard().save(path)
    few = ("--images", 3, "--steps", 2, "--queries", 4, "--decisions", 0, "--eps", "12/255", "24/255")
    return ("redteam", path, "--model", "demo", "--data", "demo", *few)


def test_writes_every_card_and_passes_without_a_bar(attack: tuple[object, ...], tmp_path: Path) -> None:
    """Page, data and model card are written, stdout has the JSON alone, and a bar that is never missed passes."""
    cards = ("--out", tmp_path / "card.json", "--out", tmp_path / "card.html", "--out", tmp_path / "card.md")
    cards += ("--within", "8/255", "--then", "jpeg 2")
    code, out, _ = call(*attack, *cards, "--bar", 0, "--json")
    card = json.loads(out)
    assert card == json.loads((tmp_path / "card.json").read_text())
    assert card["report"]["images"] == 3
    assert [row["then"] for row in card["report"]["under_attack"]] == ["", "jpeg 2"]
    assert "8/255, then jpeg 2" in (tmp_path / "card.html").read_text().replace("\N{NO-BREAK SPACE}", " ")
    assert code == (0 if card["checks_passed"] else 1)
    assert card["verdict"]["headline"] in (tmp_path / "card.html").read_text().replace("\N{NO-BREAK SPACE}", " ")
    assert "radius ratio on 3 images" in (tmp_path / "card.md").read_text()


def test_exits_with_1_below_the_bar(attack: tuple[object, ...]) -> None:
    """A ratio that nothing reaches fails, and the table says so."""
    code, out, _ = call(*attack, "--bar", 1000)
    assert code == 1
    assert "radius ratio" in out
    assert "check radius ratio of 1000 or more: FAILED" in out


def test_a_censored_ratio_is_told(attack: tuple[object, ...]) -> None:
    """The smallest bound fools nearly everything here, and the reason stands beside the ratio; sizes have units."""
    out = " ".join(call(*attack)[1].split())
    assert "radius ratio at least" in out
    assert re.search(r"censored: [\d.]+ ?% of the images fool the classifier at the smallest bound, 12/255", out)
    assert re.search(r"12/255 \(12 to [\d.]+\), or 0.0471 in pixels from 0 to 1", out)


@pytest.mark.slow
def test_same_command_same_card(attack: tuple[object, ...]) -> None:
    """Two runs give the same bytes."""
    assert call(*attack, "--json")[1] == call(*attack, "--json")[1]


@pytest.mark.parametrize(
    ("more", "named"),
    [
        (("--eps", "8/255", "1/255"), "eps"),
        (("--eps", "x", "1/255"), "positive number"),
        (("--secret-seeds",), "random"),
        (("--out", "/nowhere/card.html"), "/nowhere/card.html"),
        (("--out", "card.txt"), ".html for a page"),
    ],
)
def test_bad_input_is_refused(attack: tuple[object, ...], more: tuple[object, ...], named: str) -> None:
    """Exit code 2 and one line that names what is wrong."""
    code, _, err = call(*attack, *more)
    assert code == 2
    assert named in err
