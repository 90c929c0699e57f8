"""An attack with its settings: plain data, named, checked, and told from others."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
from typing import Any

import pytest
from support.attacks import FAST

from ce_detect.attacks import ATTACKS, Attack
from ce_detect.calibrate.recipe import Recipe
from ce_detect.core.errors import CalibrationError

FROZEN = {
    "fgsm": (("eps", "8/255"),),
    "pgd": (("eps", "8/255"), ("eps_step", "2/255"), ("max_iter", 20), ("num_random_init", 1)),
    "pgd-l2": (("eps", 0.5), ("eps_step", 0.1), ("max_iter", 20), ("num_random_init", 1)),
    "cw-l2": (
        ("binary_search_steps", 10), ("confidence", 0.0), ("initial_const", 0.01), ("learning_rate", 0.01),
        ("max_iter", 10),
    ),
    "deepfool": (("epsilon", 0.02), ("max_iter", 50), ("nb_grads", 10)),
    "apgd-dlr": (("eps", "8/255"), ("eps_step", "4/255"), ("max_iter", 50), ("nb_random_init", 1)),
    "square": (("eps", "8/255"), ("max_iter", 300), ("p_init", 0.8)),
    "hopskipjump": (("init_eval", 20), ("init_size", 100), ("max_eval", 1000), ("max_iter", 10)),
}  # fmt: skip  # fmt: skip
"""Settings under which users keep attacked images: a change of these throws hours of work away."""

every_attack = pytest.mark.parametrize("kind", ATTACKS)


@pytest.mark.parametrize("kind", FROZEN)
def test_settings_that_name_cached_attacks_stay_as_they_are(kind: str) -> None:
    """The key of an attacked set is made of these: no setting may be added, renamed or changed."""
    assert Attack.of(kind).settings == FROZEN[kind]
    assert (
        Attack.of(kind, target="next").settings == tuple(sorted((*FROZEN[kind], ("target", "next"))))
        if (ATTACKS[kind].targeted)
        else "target" not in dict(FROZEN[kind])
    )


def test_shipped_recipes_name_the_same_attacked_sets() -> None:
    """So do those of the recipes."""
    pgd = dict(FROZEN["pgd"])
    found = [dict(attack.settings) for attack in Recipe.load("default").attacks]
    weak = {**pgd, "eps": "2/255", "eps_step": "1/510"}
    assert found == [dict(FROZEN["fgsm"]), weak, pgd, dict(FROZEN["pgd-l2"]), dict(FROZEN["cw-l2"])]


@every_attack
def test_more_iterations_cost_more(kind: str) -> None:
    """The estimate of passes grows with the number of iterations, where there are any."""
    if "max_iter" in ATTACKS[kind].defaults:
        assert Attack.of(kind, max_iter=2000).passes > 1.5 * Attack.of(kind, max_iter=1000).passes


@every_attack
def test_specification_makes_it_again(kind: str) -> None:
    """An attack is plain data and equal to what is made from it."""
    attack = Attack.of(kind, **FAST[kind])
    assert Attack.of(**attack.spec()) == attack
    assert hash(Attack.of(**attack.spec())) == hash(attack)
    assert attack != Attack.of(kind, **{**FAST[kind], next(iter(FAST[kind]), "eps"): 0.5 if kind == "jsma" else 7})


def test_names_tell_the_strength() -> None:
    """Attacks of one kind and different strength get different names; a name of one's own is kept."""
    assert Attack.of("pgd", eps="2/255").name == "pgd 2/255"
    assert Attack.of("cw-l2").name == "cw-l2"
    assert Attack.of("pgd", name="strong").name == "strong"
    assert Attack.of("pgd", target="least-likely").name == "pgd 8/255 to least-likely"
    assert Attack.of("cw-l2", target=3).name == "cw-l2 to 3"


@pytest.mark.parametrize(
    ("kind", "changes", "message"),
    [
        ("bims", {}, "no attack 'bims'; there are: fgsm, bim, mim, pgd, pgd-l2, "),
        ("fgsm", {"epsilon": 1}, "attack 'fgsm' has no setting 'epsilon'; it has: eps, target"),
        ("deepfool", {"target": "next"}, "attack 'deepfool' has no setting 'target'"),
        ("pgd", {"eps": 0}, "eps = 0 of attack 'pgd' is not a positive number or fraction such as '8/255'"),
        ("pgd", {"eps_step": "2/0"}, "eps_step = '2/0'"),
        ("pgd", {"eps": "-1/255"}, "eps = '-1/255'"),
        ("pgd", {"eps": float("nan")}, "eps = nan"),
        ("pgd", {"eps": "much"}, "eps = 'much'"),
        ("pgd", {"max_iter": "many"}, "max_iter = 'many' of attack 'pgd' is not a whole number of at least 0"),
        ("pgd", {"max_iter": 2.5}, "max_iter = 2.5"),
        ("pgd", {"max_iter": True}, "max_iter = True"),
        ("square", {"p_init": -0.1}, "p_init = -0.1 of attack 'square' is not a number of at least 0"),
        (
            "pgd",
            {"target": "best"},
            "target = 'best' of attack 'pgd' is neither the number of a class nor one of next, ",
        ),
        ("pgd", {"target": -1}, "target = -1"),
        ("pgd", {"target": True}, "target = True"),
        ("patch", {"target": "next"}, "target = 'next' of attack 'patch' is not the number of a class"),
        ("os:system", {}, "'os:system' is a function, which is never called because a file names it"),
    ],
)
def test_mistakes_are_named(kind: str, changes: dict[str, Any], message: str) -> None:
    """The error names the attack, what was wrong and what would do."""
    with pytest.raises(CalibrationError, match=message):
        Attack.of(kind, **changes)


def test_attack_cannot_be_changed() -> None:
    """Its settings are part of the name under which attacked images are kept."""
    with pytest.raises(dataclasses.FrozenInstanceError):
        Attack.of("fgsm").kind = "pgd"  # type: ignore[misc]


def test_attacks_are_named_without_torch_and_art() -> None:
    """Recipes and `ce-detect doctor` list attacks where only the light core is installed."""
    source = (
        "import sys; sys.modules.update(dict.fromkeys(('torch', 'scipy', 'art')))\n"
        "from ce_detect.attacks import ATTACKS, Attack\n"
        "print(Attack.of('pgd', eps='4/255').name, 'square' in ATTACKS)"
    )
    told = subprocess.run([sys.executable, "-c", source], capture_output=True, text=True, check=False)
    assert told.stdout.split() == ["pgd", "4/255", "True"], told.stderr
