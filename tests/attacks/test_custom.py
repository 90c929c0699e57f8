"""Attacks that are functions of the user's: told apart, and part of a calibration."""

from __future__ import annotations

import functools
import math
import pickle
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from support.models import Subject, as_array
from torch import Tensor

from ce_detect.attacks import Attack, parallel
from ce_detect.attacks.generation import attack_all
from ce_detect.attacks.run import run
from ce_detect.calibrate.recipe import Recipe
from ce_detect.core.errors import CalibrationError
from ce_detect.data import Images
from ce_detect.demo.model import fashion_cnn
from ce_detect.guard.detected_model import DetectedModel

SOURCE = '''
import torch


def step(classifier, x, labels, strength=0.1):
    """One step against the decision."""
    x = x.clone().requires_grad_(True)
    loss = torch.nn.functional.cross_entropy(classifier.logits(x), labels)
    (slope,) = torch.autograd.grad(loss, x)
    return (x + strength * slope.sign()).clamp(*classifier.bounds)


answer = 42
'''


def darken(classifier: Any, x: Tensor, labels: Tensor, share: float = 0.5) -> Tensor:
    """An attack that needs nothing but the images."""
    return x * share


def noise(classifier: Any, x: Tensor, labels: Tensor) -> Any:
    """An attack that returns an array, in double precision."""
    return np.clip(x.numpy() + np.random.normal(0, 0.1, x.shape), *classifier.bounds)


class Callables:
    """An object that can be called."""

    def __call__(self, classifier: Any, x: Tensor, labels: Tensor) -> Tensor:
        """Return the images."""
        return x


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A file with an attack in it."""
    path = tmp_path / "mine.py"
    path.write_text(SOURCE)
    return path


@pytest.mark.parametrize("by", ["file", "module"])
def test_function_by_name(by: str, source: Path, plain: Subject, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file or a module and the name of the function do, and gradients of the classifier can be had."""
    monkeypatch.syspath_prepend(str(source.parent))
    attack = Attack.custom(f"{source}:step" if by == "file" else "mine:step", strength=0.3)
    assert attack.name == "step"
    changed = plain.classifier.logits(
        torch.from_numpy(run(attack, plain.classifier, as_array(plain.x), batch_size=4))
    ).argmax(1)
    assert (changed != plain.classifier.logits(plain.x).argmax(1)).float().mean() > 0.5
    assert attack.spec() == {"kind": attack.kind, "name": "step", "strength": 0.3}
    sys.modules.pop("mine", None)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("{source}:stop", "has no function 'stop'; it has step"),
        ("{source}:answer", "is a int that cannot be called, expected a function"),
        ("no_such_package.attacks:step", "no module 'no_such_package.attacks'"),
        ("no/such/file.py:step", "no Python file"),
    ],
)
def test_name_of_no_function_is_a_calibration_error(name: str, message: str, source: Path) -> None:
    """The error names the attack and says what is wrong with the name."""
    with pytest.raises(CalibrationError, match=message):
        Attack.custom(name.format(source=source))


# --- what tells an attack from another


def test_equal_functions_and_settings_are_equal_attacks() -> None:
    """Another setting, another function or another version is another attack."""
    same = [Attack.custom(darken, share=0.5) for _ in range(2)]
    assert same[0] == same[1]
    assert hash(same[0]) == hash(same[1])
    others = {
        same[0], Attack.custom(darken), Attack.custom(darken, share=0.4), Attack.custom(noise),
        Attack.custom(darken, share=0.5, version="2"), Attack.custom(darken, share=0.5, name="mine"),
    }  # fmt: skip
    assert len(others) == 6
    assert Attack.custom(darken).name == "darken"
    assert Attack.custom(darken).kind == f"{__name__}.darken"


def test_change_of_the_source_is_another_attack(source: Path) -> None:
    """What is kept under the old source is not found for the new one."""
    before = Attack.custom(f"{source}:step")
    source.write_text(SOURCE.replace("slope.sign()", "slope"))
    after = Attack.custom(f"{source}:step")
    assert before.kind == after.kind
    assert before.settings != after.settings


@pytest.mark.parametrize(
    "function", [functools.partial(darken, share=0.1), Callables(), (lambda f: lambda c, x, y: f(c, x, y))(darken)]
)
def test_function_whose_source_does_not_tell_all_needs_a_version(function: Callable[..., Any]) -> None:
    """Two closures of one source may do different things: they are refused, or told apart by the user."""
    with pytest.raises(CalibrationError, match=r"cannot be told by its source .* Attack.custom\(..., version='1'\)"):
        Attack.custom(function)
    assert Attack.custom(function, version="1") != Attack.custom(function, version="2")


@pytest.mark.parametrize("settings", [{"mask": [1, 2]}, {"source": "mine"}, {"kind": "fgsm"}])
def test_settings_are_plain_values(settings: dict[str, Any]) -> None:
    """What a recipe or a cache key cannot hold is refused."""
    with pytest.raises(CalibrationError, match="settings are numbers, strings and bools"):
        Attack.custom(darken, **settings)


def test_artifact_never_calls_a_function() -> None:
    """What a manifest names is made by `Attack.of`, which knows the registry alone."""
    for attack in (Attack.custom(darken), Attack.custom("os:getcwd", version="1")):
        with pytest.raises(CalibrationError, match="is never called because a file names it: pass it yourself"):
            Attack.of(**attack.spec())


# --- in a calibration


def test_attacked_sets_are_kept(plain: Subject, tmp_path: Path) -> None:
    """A function is called once for each chunk, and not again for the same images, with the generators seeded."""
    calls = []

    def counted(classifier: Any, x: Tensor, labels: Tensor) -> Tensor:
        calls.append(len(x))
        return torch.rand_like(x)

    attack = Attack.custom(counted, version="1")
    first, again = (
        attack_all(plain.classifier, as_array(plain.x), (attack,), seed=0, cache=tmp_path, jobs=1)["counted"].x
        for _ in range(2)
    )
    assert calls == [8]
    np.testing.assert_array_equal(first, again)
    fresh = attack_all(plain.classifier, as_array(plain.x), (attack,), seed=0, cache=tmp_path / "2", jobs=1)
    np.testing.assert_array_equal(fresh["counted"].x, first)


def test_function_travels_by_name_or_not_at_all(
    source: Path, plain: Subject, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Worker processes load functions by their names; others are called here."""
    named, bare = Attack.custom(f"{source}:step"), Attack.custom(lambda c, x, y: x * 0, version="1", name="bare")
    registered = Attack.of("fgsm", target="next")
    for attack in (named, registered):
        assert attack.portable
        assert pickle.loads(pickle.dumps(attack)) == attack
    assert pickle.loads(pickle.dumps(named)).function is not None
    assert not bare.portable
    sent = []

    def here(function: Any, packed: Any, calls: Iterator[Any], count: int) -> Iterator[Any]:
        for number, arguments in calls:
            sent.append(arguments[0].name)
            yield number, function(plain.classifier, *arguments)

    monkeypatch.setattr(parallel, "run_in_workers", here)
    attacks = (named, bare, registered)
    sets = attack_all(plain.classifier, as_array(plain.x), attacks, seed=0, cache=tmp_path, jobs=2)
    assert sent == ["step", registered.name]
    assert not sets["bare"].x.any()
    assert len(sets["step"]) == 8


@pytest.mark.slow
def test_calibration_and_evaluation_with_a_function(source: Path, demo_images: Images, tmp_path: Path) -> None:
    """A recipe names it, the detector learns from it, and evaluation takes it from the caller."""
    recipe = Recipe.parse(
        "mine",
        {
            "head": "logistic",
            "splits": {"fit": 0.5, "select": 0.15, "calibrate": 0.25, "test": 0.1},
            "attack": [{"kind": f"{source}:step", "name": "mine", "strength": 0.05}],
            "intervention": [{"kind": "Flip"}],
        },
    )
    (attack,) = recipe.attacks
    assert dict(attack.settings)["strength"] == 0.05
    guard = DetectedModel(fashion_cnn()).calibrate(
        demo_images.x[:400], recipe=recipe, fpr=0.1, budget=math.inf, cache=tmp_path, jobs=1
    )
    assert guard.manifest["recipe"]["learned_from"] == ["mine"]
    assert guard.manifest["recipe"]["attacks"] == [{"kind": f"{source}:step", "name": "mine", "strength": 0.05}]
    fresh = demo_images.x[400:]
    report = guard.evaluate(fresh, attacks=(attack,), cache=tmp_path, jobs=1)
    assert report.attacks["mine"].auroc_successes > 0.8
    with pytest.raises(CalibrationError, match="pass it yourself"):
        guard.evaluate(fresh, cache=tmp_path, jobs=1)
