"""What counts as clean beside plain images, and as attacked beside fresh attacks."""

from __future__ import annotations

import functools
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pytest
from support.attacks import attack_plain, labels
from support.calibrated import QUICK
from support.models import as_array, subject, tiny_images

from ce_detect.attacks import Attack
from ce_detect.attacks.generation import AttackedSet
from ce_detect.calibrate import dataset, variants
from ce_detect.calibrate.decisions import decisions, successes
from ce_detect.calibrate.recipe import Recipe, corruptions_of
from ce_detect.calibrate.settings import CalibrationSettings
from ce_detect.classifiers.base import Classifier
from ce_detect.core.errors import CalibrationError, InputError, TooFewSamplesError
from ce_detect.core.types import Floats
from ce_detect.data import Images
from ce_detect.data.corruptions import TAUGHT, Corruption
from ce_detect.fitting.feature_tables import Sets

COUNT = 40
NATURAL = (Corruption("brightness"), Corruption("uniform-noise", 2), Corruption("flip"))
ATTACKS = (Attack.of("fgsm", eps="24/255"), Attack.of("pgd", eps="8/255", max_iter=4))
UNIT = (0.0, 1.0)
ALL_FIT = replace(QUICK, splits={"fit": 1.0, "select": 0.0, "calibrate": 0.0, "test": 0.0})


@functools.cache
def clean() -> Floats:
    """Images on 8-bit levels, all different."""
    return (np.round(255 * as_array(tiny_images("plain", COUNT))) / 255).astype(np.float32)


def classifier() -> Classifier:
    """The plain CNN."""
    return subject("plain").classifier


@functools.cache
def fooling() -> dict[str, AttackedSet]:
    """Attacks on some of these images that fool it, the last image first."""
    with TemporaryDirectory() as folder:
        made = attack_plain(clean(), Path(folder), *ATTACKS)
        kept = {name: AttackedSet(twins.attack, twins.x, twins.index) for name, twins in made.items()}
    won = successes(classifier(), kept, decisions(classifier(), clean()))
    return {name: twins.subset(np.flatnonzero(np.arange(len(twins)) % 4)[::-1]) for name, twins in won.items()}


def asked(*corruptions: Corruption, **changes: Any) -> CalibrationSettings:
    """Settings of a recipe with these corruptions."""
    return CalibrationSettings.of(recipe=QUICK.with_corruptions(corruptions), fpr=0.1, **changes)


def learned(
    settings: CalibrationSettings, attacked: dict[str, AttackedSet] | None = None, beside: Floats | None = None
) -> Sets:
    """What the images teach."""
    attacked = fooling() if attacked is None else attacked
    return variants.teaching(classifier(), clean(), decisions(classifier(), clean()), attacked, settings, beside)


def divided(also_clean: Any, count: int = 400, **changes: Any) -> dataset.Divided:
    """Images of a calibration in splits, with images of the user's own."""
    images = Images(as_array(tiny_images("plain", count)), bounds=UNIT)
    return dataset.divided(images, asked(also_clean=also_clean, guarantee="marginal", **changes))


# --- attacked images


def test_treated_attacks_still_fool() -> None:
    """Fresh ones come first as they are; treated ones are changed, and the decision is still not that of the twin."""
    sets = learned(asked(*NATURAL))
    before = labels(classifier(), clean())
    for name, fresh in fooling().items():
        found = sets.attacked[name]
        assert len(fresh) > 10
        assert len(fresh) < len(found) <= (1 + variants.TREATED) * len(fresh)
        np.testing.assert_array_equal(found.x[: len(fresh)], fresh.x)
        np.testing.assert_array_equal(found.index[: len(fresh)], fresh.index)
        assert (labels(classifier(), found.x) != before[found.index]).all()


def test_a_treated_attack_is_of_the_image_that_its_index_names() -> None:
    """Each is a fresh one after natural change; none that still fools is left out."""
    fresh, settings = fooling()["fgsm 24/255"], asked(*NATURAL)
    found = variants.with_treated(classifier(), decisions(classifier(), clean()), fresh, settings)
    expected, index = [], []
    before = labels(classifier(), clean())[fresh.index]
    for turn in range(variants.TREATED):
        treated = np.asarray(variants.corrupted(classifier(), fresh.x, settings, share=1.0, turn=turn))
        still = labels(classifier(), treated) != before
        expected.append(treated[still])
        index.append(fresh.index[still])
        assert 0 < still.sum() < len(still)  # or nothing would have been left out
    np.testing.assert_array_equal(found.x[len(fresh) :], np.concatenate(expected))
    np.testing.assert_array_equal(found.index[len(fresh) :], np.concatenate(index))
    assert (expected[0][:3] != expected[1][:3]).any()
    assert found.attack == fresh.attack


def test_an_attack_that_never_fooled_stays_empty() -> None:
    """There is nothing to treat."""
    nothing = fooling()["fgsm 24/255"].subset([])
    assert len(variants.with_treated(classifier(), decisions(classifier(), clean()), nothing, asked(*NATURAL))) == 0


# --- clean images


def test_clean_variants_have_the_order_of_the_images() -> None:
    """Row i of them is of image i % n: first natural change, as often as is said, then one control of each."""
    beside = learned(asked(*NATURAL)).corrupted
    assert beside is not None
    assert len(beside) == (variants.NATURAL + 1) * COUNT
    parts = np.asarray(beside).reshape(variants.NATURAL + 1, COUNT, *clean().shape[1:])
    for turn, natural in enumerate(parts[:-1]):
        for position, image in enumerate(natural):
            ways = [
                corruption(clean()[position : position + 1], bounds=UNIT, seed=1000 * turn)[0] for corruption in NATURAL
            ]
            assert any(np.array_equal(image, way) for way in ways)
    assert (parts[0] != parts[1]).any((1, 2, 3)).mean() > 0.5
    distance = np.abs(parts[-1][:, None] - clean()[None]).mean((2, 3, 4))
    np.testing.assert_array_equal(distance.argmin(1), np.arange(COUNT))


def test_controls_are_shuffled_perturbations_of_the_attacks() -> None:
    """As large as one of them, without what fools: they are drawn from all attacks, for each image by itself."""
    made = variants.shuffled(classifier(), clean(), fooling(), seed=0)
    moved = np.asarray(made) - clean()
    assert (np.abs(moved).max((1, 2, 3)) <= 24.5 / 255).all()
    large = np.abs(moved).max((1, 2, 3)) > 8.5 / 255
    assert 0.2 < large.mean() < 0.8
    before = labels(classifier(), clean())
    kept = labels(classifier(), np.asarray(made)) == before
    assert kept.mean() > 0.7
    np.testing.assert_array_equal(made[[7, 3]], np.asarray(made)[[7, 3]])
    assert (np.asarray(variants.shuffled(classifier(), clean(), fooling(), seed=1)) != np.asarray(made)).mean() > 0.3


def test_without_corruptions_there_are_controls_alone() -> None:
    """Attacks stay as they are, too; and without attacks nothing is beside the plain images."""
    sets = learned(asked())
    assert len(sets.corrupted or ()) == COUNT
    np.testing.assert_array_equal(sets.clean, clean())
    for name, fresh in fooling().items():
        assert sets.attacked[name] is fresh
    assert learned(asked(), attacked={}).corrupted is None
    assert len(learned(asked(*NATURAL), attacked={}).corrupted or ()) == variants.NATURAL * COUNT


def test_an_empty_split_teaches_nothing() -> None:
    """A recipe may leave *select* without images."""
    nothing = variants.teaching(classifier(), clean()[:0], np.zeros(0, np.int64), {}, asked(*NATURAL))
    assert (len(nothing.clean), nothing.attacked, nothing.corrupted) == (0, {}, None)


# --- images and changes of the user's own


def own_images(count: int) -> Floats:
    """Other images of the same shape."""
    return as_array(tiny_images("plain", count, seed=9))


def test_also_clean_joins_every_split_once() -> None:
    """Each image teaches in *fit* or *select*, or sets the threshold; copies, and images that are known, count once."""
    own = own_images(100)
    known = as_array(tiny_images("plain", 400))[:7]
    found = divided(np.concatenate([own, own[:9], known]))
    sizes = {split: len(part) for split, part in found.beside.items()}
    assert sizes == {"fit": 50, "select": 20, "calibrate": 30, "test": 0}
    every = np.concatenate([np.asarray(part) for part in found.beside.values()])
    assert len(np.unique(every, axis=0)) == 100 == len(found.beside_identities)
    assert not np.isin(found.beside_identities, found.identities).any()
    sets = learned(asked(*NATURAL), beside=np.asarray(found.beside["fit"]))
    assert sets.corrupted is not None
    assert len(sets.corrupted) == sets.variants * COUNT + 50
    np.testing.assert_array_equal(np.asarray(sets.corrupted)[-50:], np.asarray(found.beside["fit"]))
    assert divided(None).beside == {}


def test_also_clean_alone_is_beside() -> None:
    """Also where there is no attack and no corruption."""
    sets = learned(asked(), attacked={}, beside=own_images(25))
    assert (len(sets.corrupted or ()), sets.variants) == (25, 0)


def test_too_few_of_the_users_own_are_refused_by_name() -> None:
    """The promise is to hold for them; the error says which images are too few, and how many would do."""
    with pytest.raises(TooFewSamplesError, match=r"60 also_clean") as caught:
        divided(own_images(60))
    enough = own_images(int(caught.value.needed or 0))
    assert len(divided(enough).images) == 400
    with pytest.raises(TooFewSamplesError, match="also_clean"):
        divided(np.concatenate([enough[:-1], enough[:1]]))


def test_the_users_own_are_scaled_to_the_bounds_of_the_others() -> None:
    """As those of the calibration are; what cannot be judged is refused by name."""
    own = own_images(100)
    scaled = divided(Images(255 * own, bounds=(0.0, 255.0)))
    plain = divided(own)
    every = [np.concatenate([np.asarray(part) for part in found.beside.values()]) for found in (scaled, plain)]
    in_order = [x[np.argsort(x.reshape(100, -1)[:, 0])] for x in every]  # rounding gives other identities, so splits
    np.testing.assert_allclose(*in_order, atol=1e-6)
    for wrong in (255 * own, own[:, :, :-1]):
        with pytest.raises(InputError, match="also_clean: "):
            divided(wrong)


def test_changes_of_the_users_own_join_the_recipe(tmp_path: Path) -> None:
    """They are read from a file, and count beside the recipe's, each once."""
    (tmp_path / "own.py").write_text("def negative(image, generator):\n    return 255 - image\n")
    kind = f"{tmp_path / 'own.py'}:negative"
    (tmp_path / "mine.toml").write_text(f'[[corruption]]\nkind = "{kind}"\n[[corruption]]\nkind = "jpeg"\n')
    settings = CalibrationSettings.of(recipe="quick", natural=tmp_path / "mine.toml")
    assert corruptions_of(tmp_path / "mine.toml") == (Corruption(kind), Corruption("jpeg"))
    assert [one.kind for one in settings.recipe.corruptions] == [*TAUGHT, kind]
    alone = asked(natural=(Corruption(kind),))
    made = np.asarray(variants.corrupted(classifier(), clean(), alone, share=1.0))
    np.testing.assert_allclose(made, 1 - clean(), atol=1e-6)
    assert CalibrationSettings.of(settings, fpr=0.1).recipe == settings.recipe
    assert CalibrationSettings.of(settings, natural=(), recipe="quick").recipe == Recipe.load("quick")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, r"natural changes .*mine\.toml cannot be read: No such file"),
        ("kind = \n", r"natural changes .*mine\.toml is not valid TOML"),
        ("", r"mine\.toml has nothing; expected \[\[corruption\]\] tables alone"),
        ('head = "mlp"\n[[corruption]]\nkind = "jpeg"\n', r"mine\.toml has head, corruption; expected"),
        ('[corruption]\nkind = "jpeg"\n', r"expected tables: \[\[corruption\]\]"),
        ('[[corruption]]\nkind = "fog"\n', "no corruption 'fog'"),
        ("[[corruption]]\nkind = 3\n", "no corruption 3"),
        ("[[corruption]]\nseverity = 1\n", r"a \[\[corruption\]\] in .*mine\.toml.* has no kind"),
        ('[[corruption]]\nkind = "absent.py:f"\n', "'absent.py:f' cannot be found: there is no Python file"),
        (2 * '[[corruption]]\nkind = "jpeg"\n', "lists the corruption 'jpeg' twice"),
    ],
)
def test_mistakes_in_a_file_of_changes_are_named(tmp_path: Path, text: str | None, message: str) -> None:
    """The file is named, and what is wrong in it."""
    if text is not None:
        (tmp_path / "mine.toml").write_text(text)
    with pytest.raises(CalibrationError, match=message):
        CalibrationSettings.of(recipe=QUICK, natural=tmp_path / "mine.toml")
