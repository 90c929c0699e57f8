"""A search: what it takes at its word, what it weighs, and what its ledger says."""

from __future__ import annotations

import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest

from ce_detect.attacks import Attack
from ce_detect.attacks.generation import AttackedSet
from ce_detect.calibrate.cost.pytorch import SIGNATURES_A_TURN
from ce_detect.calibrate.items import Item
from ce_detect.calibrate.recipe import Recipe
from ce_detect.calibrate.search import search
from ce_detect.calibrate.search.candidates import candidates
from ce_detect.calibrate.search.greedy import MOST_IN_ORDER
from ce_detect.core.errors import CalibrationError
from ce_detect.data import Images, load_data
from ce_detect.demo.model import fashion_cnn
from ce_detect.fitting import interventions
from ce_detect.fitting.feature_tables import Sets
from ce_detect.guard.detected_model import DetectedModel

SITE = "stage2.8"
RECIPE: dict[str, Any] = {
    "splits": {"fit": 0.4, "select": 0.2, "calibrate": 0.3, "test": 0.1},
    "attack": [{"kind": "fgsm"}, {"kind": "pgd", "eps": "6/255", "eps_step": "2/255", "max_iter": 5}],
}


@pytest.fixture(scope="module")
def images() -> Images:
    """Real test images of the embedded data."""
    return load_data("demo").subset(np.arange(700))


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache that the tests of this file share."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def few_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where it does not matter how well something is learned."""
    monkeypatch.setattr(interventions, "STEPS", interventions.LEAST_STEPS)
    monkeypatch.setattr(search, "COMPARED_IMAGES", {"fit": (100, 40), "select": (60, 30)})
    monkeypatch.setattr(search, "FINAL_IMAGES", {"fit": (120, 50), "select": (70, 35)})


@pytest.fixture
def one_of_each_kind(monkeypatch: pytest.MonkeyPatch) -> None:
    """A search that considers the first candidate of each kind."""

    def few(classifier: Any, seed: int) -> list[Item]:
        found = {(item.family, type(item.intervention)): item for item in reversed(candidates(classifier, seed))}
        return list(found.values())

    monkeypatch.setattr(search, "candidates", few)


@pytest.mark.parametrize(("each", "times"), [(0.1, 1), (9.0, None)])
def test_without_attacks_no_more_is_timed_than_is_taken(each: float, times: int | None) -> None:
    """Timing takes long with a large model: all are timed only where too few of the first keep the budget."""
    classifier = DetectedModel(fashion_cnn(), input_shape=(1, 28, 28), bounds=(0.0, 1.0)).classifier
    asked: list[int] = []

    def costs(some: list[Item]) -> dict[str, float]:
        asked.append(len(some))
        return {item.name: each for item in some}

    meter = SimpleNamespace(
        items=costs, room=lambda budget, share: budget * share - 1.1, cost=lambda items, _: 1.1 + each * len(items),
        free=lambda: 1.1,
    )  # fmt: skip
    recipe = SimpleNamespace(interventions=(), attacks=())
    settings = SimpleNamespace(progress=None, recipe=recipe, budget=2.0, drawn=0)
    chosen = search.search(classifier, *cast(Any, (None, meter, settings)), cache=Path())
    every = [item for item in candidates(classifier, 0) if item.intervention is not None and item.exportable]
    assert len(chosen.items) == (MOST_IN_ORDER if times else 0)
    assert sum(asked) == (times * SIGNATURES_A_TURN if times else len(every))


@pytest.mark.slow
def test_a_recipe_may_name_learned_interventions_without_their_shapes(
    images: Images, cache: Path, tmp_path: Path, few_steps: None
) -> None:
    """They are learned, saved and loaded; the loaded gate gives the same scores, bit for bit, and the same file."""
    named = [
        {"kind": "LearnedMask", "site": SITE},
        {"kind": "AblateConcept", "site": SITE, "concepts": 4},
        {"kind": "UniversalPerturbation"},
        {"kind": "GradientStep", "site": SITE},
    ]
    recipe = Recipe.parse("learned", {**RECIPE, "intervention": named})
    first = images.subset(np.arange(500))
    guard = DetectedModel(fashion_cnn()).calibrate(
        first.x, first.y, recipe=recipe, fpr=0.1, budget=math.inf, cache=cache, jobs=1
    )
    (figures,) = guard.manifest["search"]["learned"]
    assert figures["name"].startswith("AblateConcept")
    assert figures["accuracy_inserted"] <= 1
    masks = guard.gate.signature.interventions[0]
    assert float(masks.mask.std()) > 0.01  # type: ignore[operator, union-attr]
    guard.save(tmp_path / "a.safetensors")
    again = DetectedModel.load(tmp_path / "a.safetensors", fashion_cnn())
    np.testing.assert_array_equal(again(images.x[500:600]).score, guard(images.x[500:600]).score)
    again.save(tmp_path / "b.safetensors")
    assert (tmp_path / "a.safetensors").read_bytes() == (tmp_path / "b.safetensors").read_bytes()


@pytest.mark.slow
def test_the_search_weighs_every_family(images: Images, cache: Path, few_steps: None, one_of_each_kind: None) -> None:
    """The ledger has cost and gain of all within reach, and names the others; nothing unexportable is chosen."""
    seen: list[tuple[str, float, float]] = []
    first = images.subset(np.arange(500))
    guard = DetectedModel(fashion_cnn()).calibrate(
        first.x, first.y, recipe=Recipe.parse("search", RECIPE), fpr=0.1, budget=1.6, cache=cache, jobs=1,
        progress=lambda *state: seen.append(state),
    )  # fmt: skip
    ledger = guard.manifest["search"]
    assert {entry["family"] for entry in [*ledger["considered"], *ledger["too_dear"]]} >= {
        "moments", "recovery", "masking", "geometry", "resolution", "photometric", "noise", "adversarial", "latent",
        "concept", "shapley",
    }  # fmt: skip
    assert all(entry["cost"] >= 0 and math.isfinite(entry["gain"] + entry["adds"]) for entry in ledger["considered"])
    assert not any(entry["chosen"] for entry in ledger["considered"] if not entry["affordable"])
    most = max(entry["cost"] for entry in ledger["considered"])
    assert ledger["too_dear"]
    assert all(entry["cost"] > most for entry in ledger["too_dear"])
    assert {e["name"] for e in ledger["considered"] if e["chosen"]} == {e["name"] for e in ledger["chosen"]}
    assert not any(entry["chosen"] and not entry["exportable"] for entry in ledger["considered"])
    assert all(e["exportable"] != e["name"].startswith("GradientStep") for e in ledger["considered"])
    assert list(dict.fromkeys(what for what, *_ in seen if what.startswith("search"))) == [
        "search: learning interventions", "search: timing interventions", "search: trying them on fit",
        "search: trying them on select", "search: trying the best on fit", "search: trying the best on select",
        "search: choosing",
    ]  # fmt: skip
    assert ledger["learned"][0]["accuracy_inserted"] <= 1


def sets(count: int, twins: int, *, variants: int, own: int = 0) -> Sets:
    """Images whose pixel says which they are: clean ones, then variants of each, then the user's own."""
    clean = np.arange(count, dtype=np.float32)[:, None, None, None]
    beside = [clean + 1000 * (1 + turn) for turn in range(variants)]
    further = np.full((own, 1, 1, 1), -1, np.float32)
    attacked = AttackedSet(Attack.of("fgsm"), np.arange(twins, dtype=np.float32)[:, None, None, None], np.arange(twins))
    corrupted = np.concatenate([*beside, further]) if variants or own else None
    return Sets(clean, {"fgsm": attacked}, corrupted, variants)


def test_candidates_are_compared_on_images_in_their_variants() -> None:
    """As many as are asked for, the same images in each variant and the control; attacks from the first to the last."""
    found = search._some(sets(50, 90, variants=3), 40, 30)
    kept = np.asarray(found.clean).ravel()
    np.testing.assert_array_equal(kept, np.arange(10))
    np.testing.assert_array_equal(np.asarray(found.corrupted).reshape(3, 10) % 1000, np.tile(kept, (3, 1)))
    np.testing.assert_array_equal(np.asarray(found.corrupted).reshape(3, 10)[:, 0] // 1000, [1, 2, 3])
    np.testing.assert_array_equal(found.attacked["fgsm"].index, np.arange(0, 90, 3))
    few = search._some(sets(5, 7, variants=3), 40, 30)
    assert (len(few.clean), len(few.corrupted or ()), len(few.attacked["fgsm"])) == (5, 15, 7)
    many = search._some(sets(50, 90, variants=7), 40, 30)
    np.testing.assert_array_equal(np.asarray(many.corrupted).reshape(3, 10)[:, 0] // 1000, [1, 2, 7])
    one = search._some(sets(50, 90, variants=1), 40, 30)
    np.testing.assert_array_equal(np.asarray(one.corrupted).ravel(), 1000 + np.arange(20))
    alone = search._some(sets(50, 90, variants=0), 40, 30)
    assert (len(alone.clean), alone.corrupted) == (40, None)


def test_many_images_of_the_users_own_leave_others_to_compare_on() -> None:
    """However many there are, candidates are compared on plain images and their variants, too."""
    found = search._some(sets(50, 90, variants=3, own=5000), 40, 30)
    assert len(found.clean) >= 5
    assert (np.asarray(found.corrupted) >= 1000).sum() >= 5


def test_recipe_does_not_name_the_copy(images: Images, cache: Path) -> None:
    """A copy that nobody trains would be worth nothing."""
    recipe = Recipe.parse("named", {**RECIPE, "intervention": [{"kind": "RobustCopy", "site": "x"}]})
    with pytest.raises(CalibrationError, match="harden = 1"):
        DetectedModel(fashion_cnn()).calibrate(images.x[:300], recipe=recipe, fpr=0.1, cache=cache, jobs=1)
