"""Recipes: those that ship can be used, and mistakes in a user's own are named."""

from __future__ import annotations

from pathlib import Path

import pytest

from ce_detect.calibrate.recipe import SPLITS, Recipe, recipe_folder, shipped_recipes
from ce_detect.core.errors import CalibrationError
from ce_detect.data.corruptions import TAUGHT, Corruption

ATTACK = '[[attack]]\nkind = "fgsm"\n'


def load(folder: Path, text: str) -> Recipe:
    """Write a recipe and read it."""
    path = folder / "mine.toml"
    path.write_text(text)
    return Recipe.load(path)


@pytest.mark.parametrize("name", shipped_recipes())
def test_shipped_recipes_load(name: str) -> None:
    """Every recipe that ships loads by name and by path, describes itself, and has attacks of different names."""
    recipe = Recipe.load(name)
    assert recipe == Recipe.load(recipe_folder() / f"{name}.toml")
    assert recipe.name == name
    assert recipe.description
    assert sum(recipe.splits.values()) == pytest.approx(1)
    assert tuple(recipe.splits) == SPLITS
    assert len({attack.name for attack in recipe.attacks}) == len(recipe.attacks)


def test_recipes_that_the_documentation_names_ship() -> None:
    """The default and the ones for other needs are there."""
    assert {"default", "quick", "black-box", "clean-only", "large"} <= set(shipped_recipes())
    assert Recipe.load("clean-only").attacks == ()
    assert len({attack.kind for attack in Recipe.load("default").attacks}) >= 4


@pytest.mark.parametrize("name", shipped_recipes())
def test_natural_change_counts_as_clean_in_every_shipped_recipe(name: str) -> None:
    """The same kinds in all, each at a severity drawn for the image, in half of the images."""
    recipe = Recipe.load(name)
    assert recipe.corruptions == tuple(Corruption(kind) for kind in TAUGHT)
    assert recipe.corrupted == 0.5


def test_further_corruptions_make_another_recipe() -> None:
    """Each counts once, and the recipe itself stays as it was."""
    recipe = Recipe.load("quick")
    more = recipe.with_corruptions((Corruption("gamma"), Corruption("jpeg"), Corruption("jpeg", 2)))
    assert more.corruptions == (*recipe.corruptions, Corruption("gamma"), Corruption("jpeg", 2))
    assert recipe == Recipe.load("quick")
    assert recipe.with_corruptions(()) == recipe


def test_missing_keys_have_defaults(tmp_path: Path) -> None:
    """An attack is enough of a recipe; splits may be changed in part."""
    recipe = load(tmp_path, ATTACK)
    assert (recipe.name, recipe.head, recipe.prevalence, recipe.interventions) == ("mine", "mlp", 0.01, ())
    changed = load(tmp_path, f"[splits]\nfit = 0.5\ntest = 0.05\n{ATTACK}")
    assert changed.splits == {"fit": 0.5, "select": 0.15, "calibrate": 0.3, "test": 0.05}


def test_settings_arrive(tmp_path: Path) -> None:
    """Settings of attacks and interventions are kept as they are written."""
    recipe = load(
        tmp_path,
        'head = "logistic"\nprevalence = 0.5\n[[attack]]\nkind = "pgd"\neps = "4/255"\nname = "weak"\n'
        '[[intervention]]\nkind = "Flip"\nscale = 0.75\n',
    )
    (attack,) = recipe.attacks
    assert (attack.kind, attack.name, dict(attack.settings)["eps"]) == ("pgd", "weak", "4/255")
    assert [dict(table) for table in recipe.interventions] == [{"kind": "Flip", "scale": 0.75}]
    assert (recipe.head, recipe.prevalence) == ("logistic", 0.5)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('colour = "red"\n' + ATTACK, "recipe 'mine' has an unknown key 'colour'; known: attack, corrupted, "),
        (
            'head = "forest"\n' + ATTACK,
            "head = 'forest' in recipe 'mine' is none of 'mlp', 'logistic', 'distance'",
        ),
        ('head = "distance"\n' + ATTACK, "head = 'distance' takes no attack"),
        ('head = "mlp"\n', "head = 'mlp' needs at least one attack"),
        ("prevalence = 0\n" + ATTACK, "prevalence = 0 in recipe 'mine' is not a share between 0 and 1"),
        ('prevalence = "rare"\n' + ATTACK, "prevalence = 'rare'"),
        ("prevalence = nan\n" + ATTACK, "prevalence = nan"),
        ("[splits]\nfit = 0.9\n" + ATTACK, "splits of recipe 'mine' must be shares that sum to 1, got .*'fit': 0.9"),
        ("[splits]\nfit = 0.7\ntest = -0.15\n" + ATTACK, "must be shares that sum to 1"),
        ('[splits]\nfit = "most"\n' + ATTACK, "must be shares that sum to 1"),
        ("[splits]\ntrain = 0.0\n" + ATTACK, "has a split 'train'; there are: fit, select, calibrate, test"),
        ("splits = 3\n" + ATTACK, r"'splits' .*expected a table: \[splits\]"),
        ('[[attack]]\nkind = "pdg"\n', "no attack 'pdg'; there are: fgsm, .*pgd"),
        ('[[attack]]\neps = "8/255"\n', r"an \[\[attack\]\] in recipe 'mine' has no kind"),
        ('[[attack]]\nkind = "fgsm"\nstrength = 3\n', "attack 'fgsm' has no setting 'strength'; it has: eps"),
        ('[[attack]]\nkind = "fgsm"\neps = "strong"\n', "eps = 'strong' of attack 'fgsm' is not a positive number"),
        ('[attack]\nkind = "fgsm"\n', r"'attack' .*expected tables: \[\[attack\]\]"),
        ('attack = ["fgsm"]\n', r"expected tables: \[\[attack\]\]"),
        (ATTACK + '[intervention]\nkind = "Flip"\n', r"'intervention' .*expected tables: \[\[intervention\]\]"),
        (ATTACK + '[[corruption]]\nkind = "fog"\n', "no corruption 'fog'; there are: gaussian-noise"),
        (ATTACK + '[[corruption]]\nkind = "jpeg"\nseverity = 5\n', "severity = 5 of corruption 'jpeg' is not 1 or 2"),
        (ATTACK + "[[corruption]]\nseverity = 1\n", r"a \[\[corruption\]\] in recipe 'mine' has no kind"),
        (ATTACK + '[[corruption]]\nkind = "jpeg"\nquality = 9\n', "has a key 'quality'; it has: kind, severity"),
        (ATTACK + 2 * '[[corruption]]\nkind = "jpeg"\n', "lists the corruption 'jpeg' twice"),
        (
            ATTACK + 2 * '[[corruption]]\nkind = "jpeg"\nseverity = 1\n',
            "recipe 'mine' lists the corruption 'jpeg 1' twice",
        ),
        (ATTACK + "[[corruption]]\nkind = 3\n", "no corruption 3"),
        (ATTACK + '[[corruption]]\nkind = "absent.py:f"\n', "'absent.py:f' cannot be found: there is no Python file"),
        (f"corrupted = 0.5\n{ATTACK}", r"gives a share of corrupted images, but no \[\[corruption\]\]"),
        (f'corrupted = 1\n{ATTACK}[[corruption]]\nkind = "jpeg"\n', "corrupted = 1 .*not a share between 0 and 1"),
        ("head = \n", "is not valid TOML: .*line 1"),
        ("head = 'mlp'\nhead = 'mlp'\n", "is not valid TOML"),
    ],
)
def test_mistakes_are_named(tmp_path: Path, text: str, message: str) -> None:
    """Whatever is wrong, the error says where and what would be right."""
    with pytest.raises(CalibrationError, match=message):
        load(tmp_path, text)


def test_absent_recipe_lists_what_there_is() -> None:
    """A name that is none of ours lists the names; a path that is none says so."""
    with pytest.raises(CalibrationError, match=r"no recipe 'defualt'; there are: .*default.*the path of a \.toml"):
        Recipe.load("defualt")
    with pytest.raises(CalibrationError, match=r"recipe .*absent\.toml cannot be read: No such file"):
        Recipe.load("absent.toml")


def test_file_that_is_no_text_is_refused(tmp_path: Path) -> None:
    """Bytes that are not UTF-8, and a folder, give our error too."""
    (tmp_path / "bytes.toml").write_bytes(b"\xff\xfe\x00")
    (tmp_path / "folder.toml").mkdir()
    with pytest.raises(CalibrationError, match="is not valid TOML"):
        Recipe.load(tmp_path / "bytes.toml")
    with pytest.raises(CalibrationError, match="cannot be read"):
        Recipe.load(tmp_path / "folder.toml")
