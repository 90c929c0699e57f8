"""Attacks of ART: made of settings, aimed at targets, and those of ART itself where it needs no patch."""

from __future__ import annotations

from typing import Any

import art.attacks.evasion
import numpy as np
import pytest
import torch
from support.attacks import FAST, attacked, labels
from support.models import Subject, as_array, subject

from ce_detect.attacks import ATTACKS, Attack, art_adapter
from ce_detect.attacks.art_estimator import Estimator
from ce_detect.attacks.attack import length
from ce_detect.core.errors import CalibrationError

with_target = pytest.mark.parametrize("kind", [kind for kind, info in ATTACKS.items() if info.targeted])


@pytest.mark.parametrize("kind", ["fgsm", "bim", "mim", "pgd", "pgd-l2", "apgd-dlr", "autoattack", "square"])
def test_strength_follows_the_pixel_range(kind: str) -> None:
    """With pixels from 0 to 255, a strength of 8/255 is eight grey levels, and an attack uses it in full."""
    part = subject("residual")
    attack = Attack.of(kind, **{**FAST[kind], "eps": 1.0 if kind == "pgd-l2" else "8/255"})
    built = art_adapter.build(attack, Estimator(part.classifier), width=255.0, batch_size=4)
    expected = {"pgd-l2": 255.0}.get(kind, 8.0)
    assert built.eps == pytest.approx(expected)
    x = as_array(part.x[:4])
    change = attacked(part.classifier, kind, x, eps=dict(attack.settings)["eps"]) - x
    size = np.abs(change).max() if kind != "pgd-l2" else np.linalg.norm(change.reshape(4, -1), axis=1).max()
    assert expected / 4 < size <= expected + 1e-3


def test_attack_that_cannot_do_with_two_classes_says_so() -> None:
    """The difference of logits ratio compares with the third class: refused by name before it fails inside."""
    part = subject("one-logit")
    with pytest.raises(CalibrationError, match="attack 'apgd-dlr' needs at least 3 classes, the classifier has 2"):
        attacked(part.classifier, "apgd-dlr", as_array(part.x[:4]))


@pytest.mark.parametrize(
    ("kind", "changes", "message"),
    [
        ("square", {"p_init": 1.5}, r"'square 32/255' cannot be made with .*'p_init': 1\.5.*: .*p_init"),
        ("geoda", {"max_iter": 100}, r"'geoda' cannot be made with .*: ART finds no plan for so few queries"),
        ("geoda", {"max_iter": 2000, "lambda_param": 0.3}, r"'geoda' cannot be made with .*: ART finds no plan"),
    ],
)
def test_what_art_refuses_is_a_calibration_error(
    plain: Subject, kind: str, changes: dict[str, Any], message: str
) -> None:
    """Settings that only ART can judge are reported with the attack and with the reason."""
    with pytest.raises(CalibrationError, match=message):
        attacked(plain.classifier, kind, as_array(plain.x[:4]), **changes)


@pytest.mark.parametrize("kind", ["fgsm", "pgd", "deepfool", "square"])
def test_untargeted_attacks_are_those_of_art(kind: str, plain: Subject) -> None:
    """Where ART needs no mending, its own class on its own makes the same images, to the bit."""
    x, info = as_array(plain.x[:4]), ATTACKS[kind]
    settings: dict[str, Any] = {**info.defaults, **FAST[kind]}
    settings |= {key: length(kind, key, settings[key]) for key in ("eps", "eps_step") if key in settings}
    if kind == "deepfool":
        settings["nb_grads"] = 4
    quiet = {} if kind == "fgsm" else {"verbose": False}
    with torch.random.fork_rng():
        np.random.seed(0)
        torch.manual_seed(0)
        art_class = getattr(art.attacks.evasion, info.art)
        expected = art_class(Estimator(plain.classifier), batch_size=4, **settings, **quiet).generate(x=x)
    np.testing.assert_array_equal(attacked(plain.classifier, kind, x), expected)


# --- targets


@with_target
def test_targets_are_reached(kind: str, plain: Subject) -> None:
    """An aimed attack brings images to the class it is aimed at, and leaves those that have it already."""
    x, classifier = as_array(plain.x), plain.classifier
    stronger = {"eps": 3.0 if kind == "pgd-l2" else 0.3} if "eps" in ATTACKS[kind].defaults else {}
    if "eps_step" in ATTACKS[kind].defaults:
        stronger["eps_step"] = stronger["eps"] / 3
    before = labels(classifier, x)
    target = int(np.bincount(before, minlength=4).argmax())
    result = attacked(classifier, kind, x, target=target, **stronger)
    reached = labels(classifier, result) == target
    np.testing.assert_array_equal(result[before == target], x[before == target])
    assert reached[before == target].all()
    assert reached[before != target].any()


def test_rules_choose_targets() -> None:
    """By number, by rank of the logits, by order of the classes, or by the seed; never the label itself by a rule."""
    logits = np.array([[3, 1, 2, 0], [0, 1, 2, 3]], dtype=np.float32)

    def targets(rule: str | int) -> list[int]:
        return art_adapter._targets(rule, logits).tolist()

    assert targets("next") == [1, 0]
    assert targets("second") == [2, 2]
    assert targets("least-likely") == [3, 0]
    assert targets(2) == [2, 2]
    drawn = np.array([art_adapter._targets("random", logits) for _ in range(50)])
    assert [set(column) for column in drawn.T.tolist()] == [{1, 2, 3}, {0, 1, 2}]


def test_aimed_attacks_take_the_classes_that_the_rule_names(plain: Subject) -> None:
    """A strong attack towards the runner-up ends there, for most images."""
    x = as_array(plain.x)
    second = Estimator(plain.classifier).predict(x).argsort(1)[:, -2]
    result = attacked(plain.classifier, "pgd", x, eps=0.3, eps_step=0.05, max_iter=10, target="second")
    assert (labels(plain.classifier, result) == second).mean() > 0.7


def test_target_beyond_the_classes_is_refused(plain: Subject) -> None:
    """The error says how many there are."""
    with pytest.raises(CalibrationError, match=r"target = 4 of 'pgd 8/255 to 4' needs at least 5 classes, .* has 4"):
        attacked(plain.classifier, "pgd", as_array(plain.x), target=4)
