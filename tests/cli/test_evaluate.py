"""``ce-detect evaluate``: figures, checks and refusals."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from support.command_line import Calibrated, call, evaluate


def test_evaluate_prints_figures(calibrated: Calibrated, tmp_path: Path) -> None:
    """The same figures go to stdout and to the file, also those of natural change and of the clean-only detector."""
    output = tmp_path / "report.json"
    done = evaluate(calibrated, "--limit", 60, "--json", "--output", output)
    assert done.code == 0, done.err
    assert {"jpeg 1", "rotation 2"} <= set(done.data["report"]["corruptions"])
    assert 0 < done.data["report"]["attacks"]["fgsm 8/255"]["clean_only"]["auroc_successes"] < 1
    control = done.data["report"]["attacks"]["fgsm 8/255"]["control"]
    assert 0 <= control["flagged"] < 0.5 < control["auroc"] <= 1
    assert done.data["report"]["clean"]["n"] == 60
    assert list(done.data["report"]["attacks"]) == ["fgsm 8/255"]
    assert json.loads(output.read_text()) == done.data


def test_evaluate_writes_a_page_and_a_card(calibrated: Calibrated, tmp_path: Path) -> None:
    """With flagged inputs on the page, as many as asked for; the same is in the JSON of that run."""
    files = [tmp_path / name for name in ("report.html", "report.json", "card.md")]
    given = [part for file in files for part in ("--out", file)]
    done = evaluate(calibrated, "--limit", 60, "--attack", "fgsm", "--no-corruptions", "--gallery", 1, *given)
    assert done.code == 0, done.err
    page, data, card = (file.read_text() for file in files)
    found = json.loads(data)
    assert [one["kind"] for one in found["flagged"]].count("attacked") == 1
    assert f"image {found['flagged'][0]['image']}, fgsm 8/255" in page
    assert found["verdict"]["headline"] in page.replace("\N{NO-BREAK SPACE}", " ")
    assert "fgsm 8/255: flagged when successful" in card


def test_a_page_without_a_gallery(calibrated: Calibrated, tmp_path: Path) -> None:
    """It is quicker to make; and without a page nothing is explained."""
    page = ("--out", tmp_path / "report.html", "--gallery", 0)
    done = evaluate(calibrated, "--limit", 60, "--attack", "fgsm", "--no-corruptions", "--json", *page)
    assert done.data["flagged"] == []
    assert "<img" not in (tmp_path / "report.html").read_text()
    assert done.data["curves"]["roc"]["detection_rate"].keys() == {"fgsm 8/255"}


def test_evaluate_in_words(calibrated: Calibrated) -> None:
    """People read a row an attack and a row a corruption, and the false-positive rate beside its target."""
    done = evaluate(calibrated, "--limit", 30, "--attack", "fgsm")
    assert done.code == 0, done.err
    for told in (
        "target 5 %",
        "fgsm 8/255",
        "clean-only",
        "gaussian-noise 1",
        "flagged of same decision",
        "control of",
    ):
        assert told in " ".join(done.out.split())


def test_natural_change_may_be_left_out(calibrated: Calibrated) -> None:
    """Then no corruption is listed."""
    done = evaluate(calibrated, "--no-corruptions", "--json")
    assert done.data["report"]["corruptions"] == {}


@pytest.mark.parametrize(
    ("check", "code"),
    [(("--max-fpr", 1), 0), (("--max-fpr", 0), 1), (("--min-detection", 0), 0), (("--min-detection", 1), 1)],
)
def test_failed_check_is_exit_code_1(calibrated: Calibrated, check: tuple[str, float], code: int) -> None:
    """A figure beyond its limit gives 1, and the figures are printed all the same."""
    done = evaluate(calibrated, *check, "--no-corruptions", "--json")
    assert done.code == code, done.err
    assert done.data["checks"][0]["passed"] == (code == 0)


def test_evaluate_refuses_another_model(calibrated: Calibrated, tmp_path: Path) -> None:
    """A detector does not judge for a model that it was not calibrated for."""
    source = tmp_path / "other.py"
    source.write_text("from ce_detect.demo.model import FashionCNN\ndef make():\n    return FashionCNN()")
    done = call("evaluate", calibrated.guard, "--model", f"{source}:make", "--data", "demo", "--limit", 10)
    assert done.code == 2
    assert "error: this detector was calibrated for a model with fingerprint" in done.err


def test_calibration_images_are_called_out(calibrated: Calibrated) -> None:
    """Figures on the very images of the calibration come with a warning, on stderr."""
    cache = ("--cache", calibrated.folder / "cache")
    data = ("--model", "demo", "--data", "demo", "--limit", 400)
    done = call("evaluate", calibrated.guard, *data, *cache, "--no-corruptions")
    assert "warning: 400 of these 400 images were used in calibration" in done.err
    assert "400 clean images" in done.out
