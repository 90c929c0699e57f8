"""The comparison of our detectors with peers, on the packaged model and a few images."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks.peers import compare
from benchmarks.peers.arena import arena
from benchmarks.peers.ours import clean_only, ours
from benchmarks.subjects.subjects import Subject
from ce_detect import Attack, load_data
from ce_detect.data.corruptions import MILD
from ce_detect.data.splits import identities
from ce_detect.demo.model import fashion_cnn

RECIPE = """
head = "logistic"
[splits]
fit = 0.4
select = 0.1
calibrate = 0.5
test = 0.0
[[attack]]
kind = "pgd"
eps = "6/255"
eps_step = "2/255"
max_iter = 5
[[intervention]]
kind = "Flip"
"""


@pytest.fixture
def subject(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Subject:
    """A subject of 140 images that calibrate and 30 that are judged."""

    def images() -> Any:
        found = load_data("demo", limit=170)
        return found.x, found.y

    recipe = tmp_path / "tiny.toml"
    recipe.write_text(RECIPE)
    made = Subject(
        "tiny", "Tiny", fashion_cnn, images, 140, slice(140, None), recipe=str(recipe), attacked=20,
        unseen=((Attack.of("fgsm", eps="12/255"), 10),),
    )  # fmt: skip
    monkeypatch.setattr(compare, "SUBJECTS", {"tiny": made})
    monkeypatch.setattr(compare, "RESULTS", tmp_path)
    monkeypatch.setattr(compare, "FOLDER", tmp_path / "compare")
    monkeypatch.setattr(compare, "SECONDS", 0.1)
    monkeypatch.setattr(compare, "MILD", MILD[:2])
    return made


def test_the_arena_keeps_what_is_learned_from_judged_and_calibrated_with_apart(subject: Subject) -> None:
    """No image is in two of the three, and every teacher is a twin of a taught image that fools the classifier."""
    ground = arena(subject, lambda *_: None)
    known = [set(identities(x)) for x in (ground.taught.pixels, ground.calibrate, ground.judged.pixels)]
    assert len(set.union(*known)) == sum(map(len, known)) == 170
    (twins,) = ground.teachers.values()
    assert np.abs(twins.x - ground.taught.x[twins.index]).max() <= 6 / 255 + 1e-6
    assert set(ground.attempts) - set(ground.seen) == {"fgsm 12/255"}


@pytest.mark.slow
def test_a_comparison_is_written_and_not_done_again(subject: Subject, capsys: pytest.CaptureFixture[str]) -> None:
    """Figures of ours and of peers stand side by side, and a second run only reads them."""
    first, _ = subject.split()
    guard = subject.guard((1, 28, 28)).calibrate(first, recipe=subject.recipe, fpr=0.1, budget=float("inf"), jobs=1)
    subject.artifact(2.0).parent.mkdir(parents=True)
    guard.save(subject.artifact(2.0))

    compare.compare("tiny", ["ours", "max-softmax", "mahalanobis"], again=False)
    compare.merge()

    found = {name: json.loads(compare.path("tiny", name).read_text()) for name in ("ours-2", "mahalanobis")}
    assert found["mahalanobis"]["cost"] > 0
    assert set(found["mahalanobis"]["matrix"]) == {"all", "pgd 6/255"}
    assert found["ours-2"]["summary"]["auroc_seen"] > 0.8
    alone = json.loads(compare.path("tiny", "clean-only-2").read_text())
    assert 0.6 < alone["summary"]["auroc_seen"] < found["ours-2"]["summary"]["auroc_seen"]
    assert alone["matrix"] == {}
    assert 0 <= found["ours-2"]["clean"]["false_positive_rate"] < 0.3
    merged = json.loads((compare.RESULTS / "compare.json").read_text())
    assert {outcome["peer"] for outcome in merged} == {"ours-2", "clean-only-2", "max-softmax", "mahalanobis"}
    assert {outcome["peer"] for outcome in merged if "against_ours" in outcome} == {"max-softmax", "mahalanobis"}
    assert (compare.RESULTS / "compare.png").exists()
    before = compare.path("tiny", "mahalanobis").stat().st_mtime_ns
    compare.compare("tiny", ["ours", "max-softmax", "mahalanobis"], again=False)
    assert compare.path("tiny", "mahalanobis").stat().st_mtime_ns == before
    assert "missing" in capsys.readouterr().err


def test_ours_lists_only_detectors_that_are_there(subject: Subject) -> None:
    """Without artifacts there is nothing of ours to compare."""
    assert ours(subject) == clean_only(subject) == []
