"""The report of an evaluation."""

from __future__ import annotations

import sys
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.calibrated import guard
from support.manifests import manifest
from support.pages import Page, evaluated, report, source
from support.reports import report as scored

from ce_detect.core.errors import MissingExtraError
from ce_detect.reporting import evaluation


def verdict(flagged: int, **checks: float) -> dict[str, Any]:
    """The verdict on 100 clean images of which so many are flagged, where 10 % are promised."""
    made = scored(clean=np.arange(100) < flagged, threshold=0.5, target=0.1)
    found = evaluation.document(made, manifest(), guard().gate, artifact="a", data="b", seed=0, **checks)
    shown: dict[str, Any] = found.data["verdict"]
    return shown


@pytest.mark.parametrize(
    ("flagged", "state", "label"),
    [
        (10, "measured", "False alarms as promised"),
        (14, "measured", "False alarms within chance"),
        (30, "failed", "More false alarms than promised"),
    ],
)
def test_the_promise_is_judged_by_the_interval(flagged: int, state: str, label: str) -> None:
    """14 of 100 may well come of 10 %, 30 of 100 may not; and nothing passes by that alone."""
    found = verdict(flagged)
    assert (found["state"], found["label"]) == (state, label)
    assert f"{flagged}.0 % of clean images" in found["headline"]


def test_checks_decide_where_there_are_some() -> None:
    """Each is told with its limit and what was measured."""
    assert verdict(30, max_fpr=0.5)["state"] == "passed"
    found = verdict(30, max_fpr=0.2)
    assert (found["state"], found["label"]) == ("failed", "Checks failed")
    assert "Check max-fpr 20 %: failed, measured 30.0 %." in found["details"]
    assert verdict(0, min_detection=0.0)["state"] == "failed"  # no attack succeeded, so nothing was detected


def test_the_verdict_says_what_the_figures_are_not() -> None:
    """Those of images that calibration did not see, or of the graph that is deployed."""
    told = partial(evaluation.document, gate=guard().gate, artifact="a", data="b", seed=0)
    made = scored(clean=[0.0, 1.0], threshold=2.0)
    seen, deployed = replace(made, seen=2), manifest(deploy={"precision": "int8"})
    assert "2 of these images were used in calibration" in str(told(seen, manifest()).data["verdict"]["details"])
    assert "the exported graph in int8" in str(told(made, deployed).data["verdict"]["details"])
    assert "calibration" not in str(told(made, manifest()).data["verdict"]["details"])


def test_figures_are_those_of_the_report() -> None:
    """The JSON has the report as it is, and curves that agree with it."""
    data, figures = evaluated().data, report().to_dict()
    assert data["report"] == figures
    for name, found in data["curves"]["detection"].items():
        assert found["value"] == pytest.approx(figures["attacks"][name]["detection_rate_successes"], abs=1e-4)
        assert found["low"] < found["value"] < found["high"]
    roc = data["curves"]["roc"]
    assert roc["false_positive_rate"][roc["chosen"]] == pytest.approx(figures["clean"]["false_positive_rate"], abs=1e-4)
    assert data["cost"]["pytorch"] == guard().manifest["figures"]["cost"]


def test_the_data_are_small() -> None:
    """Curves add less than 30 kB, of however many images."""
    assert len(str(evaluated().data["curves"])) < 30_000


def test_flagged_inputs_are_shown_with_maps() -> None:
    """One of each kind: what it was before, the input, three maps; the verdict is the gate's."""
    shown = evaluated().data["flagged"]
    assert [one["kind"] for one in shown] == ["attacked", "natural", "clean"]
    pictures = Page(source("evaluate")).all("img")
    assert len(pictures) == 5 + 5 + 4
    first = report().scores.flagged[0]
    judged = guard()(first.pixels[None])
    assert shown[0]["score"] == pytest.approx(float(judged.score[0]), abs=1e-4)
    assert shown[0]["is_adversarial"]
    assert shown[0]["label"] == int(judged.label[0]) != shown[0]["label_before"]
    assert f"image {first.image}, {first.change}" in source("evaluate")


def test_a_page_without_attacks_labels_or_flags() -> None:
    """Nothing is missing that could be there."""
    found = evaluation.document(
        guard().evaluate(report().scores.flagged[0].pixels[None], attacks=(), corruptions=(), jobs=1),
        guard().calibrated.manifest, guard().gate, artifact="a", data="b", seed=0,
    )  # fmt: skip
    page = Page(found.page())
    assert "No attack was made." in page.all("main")[0].text
    assert [one.text for one in page.all("h2")] == [
        "Detection", "Scores and p-values", "False alarms", "Cost", "Model card", "All numbers",
    ]  # fmt: skip
    assert page.all("img") == []


def test_an_attack_that_never_succeeds_is_in_the_table_alone() -> None:
    """It has no rate that could be drawn."""
    made = report()
    failed = replace(
        made,
        attacks={"pgd": replace(next(iter(made.attacks.values())), auroc_successes=float("nan"))},
        scores=replace(made.scores, attacked={"pgd": made.scores.clean[:0]}, flagged=()),
    )
    manifest = guard().calibrated.manifest
    found = evaluation.document(failed, manifest, guard().gate, artifact="a", data="b", seed=0)
    assert found.data["curves"]["roc"] is None
    assert "pgd" in Page(found.page()).all("table")[0].text


def test_only_a_page_has_a_gallery(monkeypatch: pytest.MonkeyPatch) -> None:
    """It needs Captum, which is told before the work; 0 switches it off."""
    page = [Path("a.json"), Path("a.html")]
    assert evaluation.examples(3, page) == 3
    assert evaluation.examples(3, page[:1]) == 0
    monkeypatch.setitem(sys.modules, "captum", None)
    assert evaluation.examples(0, page) == 0
    with pytest.raises(MissingExtraError, match=r"none with --gallery 0.*ce-detect\[explain\]"):
        evaluation.examples(3, page)
