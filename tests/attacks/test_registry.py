"""The registry of attacks, what its entries claim, and the estimator that shows a classifier to them."""

from __future__ import annotations

import dataclasses
import inspect
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import art.attacks.evasion
import numpy as np
import pytest
import torch
from art.attacks.attack import EvasionAttack
from art.estimators.classification import PyTorchClassifier
from numpy.typing import NDArray
from support.models import Subject, as_array, subject
from torch import Tensor, nn

from ce_detect.attacks import ATTACKS, REFUSED, Attack, art_adapter, art_patches
from ce_detect.attacks.art_estimator import Estimator
from ce_detect.calibrate.recipe import Recipe
from ce_detect.classifiers.base import Trace
from ce_detect.classifiers.segmented import TorchClassifier
from ce_detect.classifiers.wrapping import wrap
from ce_detect.core.errors import CalibrationError
from ce_detect.data import Images

FAST: dict[str, dict[str, Any]] = {
    "fgsm": {},
    "bim": {"max_iter": 5, "eps_step": "2/255"},
    "mim": {"max_iter": 5, "eps_step": "2/255"},
    "pgd": {"max_iter": 4},
    "pgd-l2": {"max_iter": 4, "eps": 1.0, "eps_step": 0.5},
    "apgd-ce": {"max_iter": 4},
    "apgd-dlr": {"max_iter": 4},
    "autoattack": {"max_iter": 4, "square_iter": 5},
    "cw-l2": {"max_iter": 3, "binary_search_steps": 2, "initial_const": 1.0},
    "elastic-net": {"max_iter": 10, "binary_search_steps": 1, "initial_const": 10.0, "learning_rate": 0.05},
    "deepfool": {"max_iter": 5},
    "newtonfool": {"max_iter": 20},
    "jsma": {"theta": 1.0, "gamma": 0.1},
    "universal": {"max_iter": 1, "eps": "48/255"},
    "patch": {"max_iter": 5, "scale_min": 0.7, "scale_max": 0.8},
    "square": {"max_iter": 5, "eps": "32/255"},
    "zoo": {"max_iter": 6, "nb_parallel": 48, "learning_rate": 0.5, "initial_const": 100.0},
    "hopskipjump": {"max_iter": 1, "max_eval": 20, "init_eval": 5, "init_size": 20},
    "boundary": {"max_iter": 3, "num_trial": 5, "sample_size": 5, "init_size": 20},
    "geoda": {"max_iter": 251, "sub_dim": 4, "init_size": 20},
    "sign-opt": {"max_iter": 1, "k": 10, "num_trial": 3},
    "spatial": {"num_translations": 3, "num_rotations": 3},
}
"""Settings that make each attack quick, and strong enough for one success on a few images."""

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
}  # fmt: skip
"""Settings under which users keep attacked images: a change of these throws hours of work away."""

COUNT = 4
"""Images that each attack gets."""

every_attack = pytest.mark.parametrize("kind", ATTACKS)
with_target = pytest.mark.parametrize("kind", [kind for kind, info in ATTACKS.items() if info.targeted])


def run(classifier: Any, kind: str, x: NDArray[np.float32], **changes: Any) -> NDArray[np.float32]:
    """Attack images from fixed random starts."""
    before = random.getstate(), np.random.get_state()
    with torch.random.fork_rng(), np.errstate(all="ignore"):  # ART draws from the global generators
        random.seed(0)
        np.random.seed(0)
        torch.manual_seed(0)
        attacked = Attack.of(kind, **{**FAST[kind], **changes}).run(classifier, x, batch_size=4)
    random.setstate(before[0])
    np.random.set_state(before[1])
    return attacked


def labels(classifier: Any, x: NDArray[np.float32]) -> NDArray[np.int64]:
    """The classifier's decisions."""
    with torch.no_grad():
        return np.asarray(classifier.logits(torch.from_numpy(x)).argmax(1))


def parameters(kind: str) -> set[str]:
    """Names of the arguments that an attack's class takes, here and in ART."""
    art_class = getattr(art.attacks.evasion, ATTACKS[kind].art)
    classes = (getattr(art_patches, ATTACKS[kind].art, art_class), *art_class.__mro__)
    return {name for each in classes for name in inspect.signature(each.__init__).parameters}


class Watched:
    """A classifier that notes how often it is asked and whether somebody could take its gradient.

    It can hide all but its decisions.
    """

    def __init__(self, classifier: TorchClassifier, *, one_hot: bool = False) -> None:
        self.classifier, self.one_hot = classifier, one_hot
        self.differentiated, self.asked = False, 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self.classifier, name)

    def logits(self, x: Tensor) -> Tensor:
        """Logits, or 1 for the label and 0 elsewhere."""
        logits = self.classifier.logits(x)
        self.asked += len(x)
        self.differentiated |= logits.requires_grad
        return nn.functional.one_hot(logits.argmax(1), logits.shape[1]).float() if self.one_hot else logits


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What an attack did to real images.

    Attributes:
        clean: ``(n, 1, 28, 28)``.
        attacked: the same after the attack.
        again: the same after the attack on a classifier that shows no more than the attack claims to need.
        differentiated: whether a gradient could be taken.
        asked: images that the classifier was asked about.
    """

    clean: NDArray[np.float32]
    attacked: NDArray[np.float32]
    again: NDArray[np.float32]
    differentiated: bool
    asked: int


_outcomes: dict[str, Outcome] = {}


@pytest.fixture
def outcome(kind: str, fashion: TorchClassifier, demo_images: Images) -> Outcome:
    """The attack on the demo model, run once a session."""
    if kind not in _outcomes:
        x, watched = demo_images.x[:COUNT], Watched(fashion)
        attacked = run(watched, kind, x)
        again = run(Watched(fashion, one_hot=ATTACKS[kind].access == "decisions"), kind, x)
        _outcomes[kind] = Outcome(x, attacked, again, watched.differentiated, watched.asked)
    return _outcomes[kind]


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Attacks leave nothing in the current folder; ART's GeoDA does."""
    monkeypatch.chdir(tmp_path)
    yield
    assert not list(tmp_path.glob("*.npy"))


# --- the registry


@every_attack
def test_metadata_is_complete(kind: str) -> None:
    """Every entry states its name, norm, access, paper and cost, and ART has its class and takes its settings."""
    info = ATTACKS[kind]
    assert info.name == kind
    assert info.norm in ("Linf", "L2", "L1", "L0", "patch", "spatial")
    assert info.access in ("white-box", "scores", "decisions")
    assert "arXiv" in info.paper or "doi" in info.paper
    assert (set(info.defaults) - {"target"}) | set(info.fixed) <= parameters(kind)
    assert Attack.of(kind).passes > 0
    assert info.cost == {0: "low", 1: "medium", 2: "high"}[int(np.searchsorted((100, 3000), Attack.of(kind).passes))]
    assert ("gradients" in info.needs) == (info.access == "white-box")
    norm = {"Linf": np.inf, "L2": 2}.get(info.norm)
    assert info.fixed.get("norm", norm) == norm
    assert kind in FAST, "give it quick settings, or it is not tested"


@every_attack
def test_an_attack_takes_about_as_many_passes_as_it_says(kind: str, outcome: Outcome) -> None:
    """Rough as it is, and although attacks stop early: within a factor of twenty below and ten above."""
    said = COUNT * Attack.of(kind, **FAST[kind]).passes
    assert said / 20 < outcome.asked < said * 10


def test_metadata_cannot_be_changed() -> None:
    """The registry and its entries are read-only."""
    with pytest.raises(TypeError):
        ATTACKS["mine"] = ATTACKS["fgsm"]  # type: ignore[index]
    with pytest.raises(TypeError):
        ATTACKS["fgsm"].defaults["eps"] = 1  # type: ignore[index]
    with pytest.raises(dataclasses.FrozenInstanceError):
        Attack.of("fgsm").kind = "pgd"  # type: ignore[misc]


def test_every_attack_of_art_is_adapted_or_left_out_with_a_reason() -> None:
    """An attack that a new version of ART brings must be decided on."""
    classes = {
        name
        for name, value in vars(art.attacks.evasion).items()
        if isinstance(value, type) and issubclass(value, EvasionAttack)
    }
    adapted = {info.art for info in ATTACKS.values()}
    assert not adapted & set(REFUSED)
    assert classes - adapted == set(REFUSED) & classes
    assert set(REFUSED) - classes <= {"BrendelBethgeAttack"}, "which is there where numba is"


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


# --- what the registry claims, on real images


@every_attack
def test_attacked_images_are_images(kind: str, outcome: Outcome) -> None:
    """They are finite, of the right shape and type, within the bounds, and not all unchanged."""
    assert outcome.attacked.shape == outcome.clean.shape
    assert outcome.attacked.dtype == np.float32
    assert np.isfinite(outcome.attacked).all()
    assert outcome.attacked.min() >= 0
    assert outcome.attacked.max() <= 1
    assert (outcome.attacked != outcome.clean).any()


@every_attack
def test_attack_succeeds(kind: str, outcome: Outcome, fashion: TorchClassifier) -> None:
    """With suitable settings some decisions change."""
    assert (labels(fashion, outcome.attacked) != labels(fashion, outcome.clean)).any()


@every_attack
def test_attack_keeps_its_norm(kind: str, outcome: Outcome) -> None:
    """The change stays within the ball, or is of the kind that the norm says."""
    change = (outcome.attacked - outcome.clean).reshape(COUNT, -1)
    attack = Attack.of(kind, **FAST[kind])
    settings: Any = dict(attack.settings)
    touched = (change != 0).mean(1)
    if "eps" in settings:
        order = {"Linf": np.inf, "L2": 2}[attack.info.norm]
        assert (
            np.linalg.norm(change, ord=order, axis=1).max() <= art_adapter.length(kind, "eps", settings["eps"]) + 1e-5
        )
    elif attack.info.norm == "L0":
        assert 0 < touched.max() <= settings["gamma"] + 2 / change.shape[1]
    elif attack.info.norm == "patch":
        assert 0 < touched.max() <= settings["scale_max"] ** 2
    else:
        assert attack.info.norm in ("L1", "L2", "spatial")


@every_attack
def test_attack_needs_no_more_than_it_claims(kind: str, outcome: Outcome) -> None:
    """Only white-box attacks take gradients, and decisions alone give a decision-based attack the same images.

    The same seed gives the same bytes: the second run is the one on what the attack claims to need.
    """
    assert outcome.differentiated == (ATTACKS[kind].access == "white-box")
    np.testing.assert_array_equal(outcome.again, outcome.attacked)


class Oblong(nn.Module):
    """Two classes, grey images that are not square, pixels from -2 to 3."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.fc = nn.Conv2d(1, 6, 3, stride=2), nn.Linear(6, 2)

    def forward(self, x: Tensor) -> Tensor:
        """Return logits ``(batch, 2)``."""
        return 5 * self.fc(torch.relu(self.conv(x)).amax((2, 3)))


@pytest.fixture(scope="module")
def oblong() -> TorchClassifier:
    """The awkward model, with weights from a fixed seed."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        wrapped = wrap(Oblong().eval(), input_shape=(1, 10, 17), bounds=(-2.0, 3.0))
    assert isinstance(wrapped, TorchClassifier)
    return wrapped


@pytest.mark.parametrize("kind", [kind for kind, info in ATTACKS.items() if info.least_classes == 2])
def test_attacks_run_on_an_awkward_classifier(kind: str, oblong: TorchClassifier) -> None:
    """Two classes, images that are not square and bounds around another middle are no obstacle."""
    x = np.random.default_rng(0).uniform(-2, 3, (4, 1, 10, 17)).astype(np.float32)
    changes = {"sub_dim": 3} if kind == "geoda" else {"nb_parallel": 16} if kind == "zoo" else {}
    attacked = run(oblong, kind, x, **changes)
    assert np.isfinite(attacked).all()
    assert -2 <= attacked.min() < -0.5
    assert 1 < attacked.max() <= 3
    assert not np.allclose(attacked, x)


@pytest.mark.parametrize("kind", ["fgsm", "bim", "mim", "pgd", "pgd-l2", "apgd-dlr", "autoattack", "square"])
def test_strength_follows_the_pixel_range(kind: str) -> None:
    """With pixels from 0 to 255, a strength of 8/255 is eight grey levels, and an attack uses it in full."""
    part = subject("residual")
    attack = Attack.of(kind, **{**FAST[kind], "eps": 1.0 if kind == "pgd-l2" else "8/255"})
    built = art_adapter.build(attack, Estimator(part.classifier), width=255.0, batch_size=4)
    expected = {"pgd-l2": 255.0}.get(kind, 8.0)
    assert built.eps == pytest.approx(expected)
    x = as_array(part.x[:4])
    change = run(part.classifier, kind, x, eps=dict(attack.settings)["eps"]) - x
    size = np.abs(change).max() if kind != "pgd-l2" else np.linalg.norm(change.reshape(4, -1), axis=1).max()
    assert expected / 4 < size <= expected + 1e-3


@pytest.mark.parametrize("name", ["one-logit", "branching", "transformer", "in-place"])
@pytest.mark.parametrize("kind", ["pgd", "deepfool", "square"])
def test_attacks_run_on_other_classifiers(name: str, kind: str) -> None:
    """Two classes, hooked models, transformers and negative pixels are no obstacle."""
    part = subject(name)
    x = as_array(part.x[:4])
    attacked = run(part.classifier, kind, x)
    low, high = part.tiny.bounds
    assert np.isfinite(attacked).all()
    assert low <= attacked.min() <= attacked.max() <= high
    assert not np.allclose(attacked, x)


def test_attack_that_cannot_do_with_two_classes_says_so() -> None:
    """The difference of logits ratio compares with the third class: refused by name before it fails inside."""
    part = subject("one-logit")
    with pytest.raises(CalibrationError, match="attack 'apgd-dlr' needs at least 3 classes, the classifier has 2"):
        run(part.classifier, "apgd-dlr", as_array(part.x[:4]))


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
        run(plain.classifier, kind, as_array(plain.x[:4]), **changes)


def test_stronger_attacks_succeed_more(plain: Subject) -> None:
    """Projected gradient descent changes no decision when it is faint and most when it is strong."""
    x, before = as_array(plain.x), labels(plain.classifier, as_array(plain.x))
    attacked = [run(plain.classifier, "pgd", x, eps=eps, eps_step=eps / 3) for eps in (1e-5, 0.3)]
    success = [np.mean(labels(plain.classifier, images) != before) for images in attacked]
    assert success[0] == 0
    assert success[1] > 0.7


@pytest.mark.parametrize("kind", ["fgsm", "pgd", "cw-l2", "deepfool", "square"])
def test_untargeted_attacks_are_those_of_art(kind: str, plain: Subject) -> None:
    """Where ART needs no mending, its own class on its own makes the same images, to the bit."""
    x, info = as_array(plain.x[:4]), ATTACKS[kind]
    settings: dict[str, Any] = {**info.defaults, **FAST[kind]}
    settings |= {key: art_adapter.length(kind, key, settings[key]) for key in ("eps", "eps_step") if key in settings}
    if kind == "deepfool":
        settings["nb_grads"] = 4
    quiet = {} if kind == "fgsm" else {"verbose": False}
    with torch.random.fork_rng():
        np.random.seed(0)
        torch.manual_seed(0)
        art_class = getattr(art.attacks.evasion, info.art)
        expected = art_class(Estimator(plain.classifier), batch_size=4, **settings, **quiet).generate(x=x)
    np.testing.assert_array_equal(run(plain.classifier, kind, x), expected)


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
    attacked = run(classifier, kind, x, target=target, **stronger)
    reached = labels(classifier, attacked) == target
    np.testing.assert_array_equal(attacked[before == target], x[before == target])
    assert reached[before == target].all()
    assert reached[before != target].any()


def test_rules_choose_targets(plain: Subject) -> None:
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
    attacked = run(plain.classifier, "pgd", x, eps=0.3, eps_step=0.05, max_iter=10, target="second")
    assert (labels(plain.classifier, attacked) == second).mean() > 0.7


def test_target_beyond_the_classes_is_refused(plain: Subject) -> None:
    """The error says how many there are."""
    with pytest.raises(CalibrationError, match=r"target = 4 of 'pgd 8/255 to 4' needs at least 5 classes, .* has 4"):
        run(plain.classifier, "pgd", as_array(plain.x), target=4)


# --- what is mended


def test_zoo_changes_every_image_in_both_directions(fashion: TorchClassifier, demo_images: Images) -> None:
    """ART works on the first image of a batch alone, and only adds."""
    x = demo_images.x[:3]
    change = run(fashion, "zoo", x, max_iter=1, nb_parallel=400) - x
    assert (change.min((1, 2, 3)) < -1e-3).all()
    assert (change.max((1, 2, 3)) > 1e-3).all()


def test_elastic_net_keeps_changes_sparse(fashion: TorchClassifier, demo_images: Images) -> None:
    """The more the sum of changes counts, the fewer pixels change."""
    x = demo_images.x[:3]
    sums, pixels = zip(
        *((np.abs(change).sum(), (change != 0).sum())
          for change in (run(fashion, "elastic-net", x, beta=beta) - x for beta in (0.001, 0.05))), strict=True,
    )  # fmt: skip
    assert sums[1] < sums[0]
    assert pixels[1] < 0.7 * pixels[0]


def test_spatial_moves_each_image_by_itself(fashion: TorchClassifier, demo_images: Images) -> None:
    """What a movement does not fool stays as it is; what is fooled is what a mild movement of the image gives."""
    x = demo_images.x[:COUNT]
    attack = Attack.of("spatial", **FAST["spatial"])
    built = art_adapter.build(attack, Estimator(fashion, access="decisions", unit=True), width=1.0, batch_size=4)
    movements = built._movements(28, 28)
    assert movements[0] == (0, 0, 0)
    assert len(movements) == 27
    assert {abs(down) for down, _, _ in movements} == {0, 3}, "10 % of 28 pixels, not of the one channel"
    attacked, before = built.generate(x), labels(fashion, x)
    for image, result, label in zip(x, attacked, before, strict=True):
        moved = np.concatenate([built._perturb(image[None], *movement) for movement in movements])
        fooling = np.flatnonzero(labels(fashion, moved) != label)
        expected = moved[fooling[0]] if len(fooling) else image
        np.testing.assert_allclose(result, expected, atol=1e-6)


def test_newtonfool_moves_confident_images(fashion: TorchClassifier, demo_images: Images) -> None:
    """ART's floor under the gradient leaves images alone whose softmax is saturated."""
    with torch.no_grad():
        probabilities = fashion.logits(torch.from_numpy(demo_images.x[:64])).double().softmax(1).amax(1).numpy()
    sure = demo_images.x[:64][np.argsort(probabilities)[-3:]]
    assert (labels(fashion, run(fashion, "newtonfool", sure, max_iter=60)) != labels(fashion, sure)).all()


class Fogged:
    """An estimator that takes everything but darkness, and so all noise, for class 0."""

    clip_values = (0.0, 1.0)

    def predict(self, x: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return outputs ``(batch, 2)``."""
        return np.eye(2, dtype=np.float32)[(x.mean((1, 2, 3)) < 0.1).astype(int)]


def test_decision_based_attacks_start_from_other_images_where_noise_fails() -> None:
    """Noise where it fools the classifier, the nearest image of another class where it does not and may be used."""
    x = np.stack([np.full((1, 4, 4), value, np.float32) for value in (0.6, 0.0, 0.05)])
    before = Fogged().predict(x).argmax(1)
    assert before.tolist() == [0, 1, 1]
    starts, found = art_patches._starts(Fogged(), x, before, None, trials=3, others=True)
    assert found.all()
    np.testing.assert_array_equal(starts[0], x[2])
    assert Fogged().predict(starts).argmax(1).tolist() == [1, 0, 0]
    _, found = art_patches._starts(Fogged(), x, before, None, trials=3, others=False)
    assert found.tolist() == [False, True, True]
    aimed, found = art_patches._starts(Fogged(), x, before, np.array([1, 1, 0]), trials=3, others=False)
    assert found.all()
    np.testing.assert_array_equal(aimed[:2], x[[2, 1]])


@pytest.mark.parametrize("kind", ["universal"])
def test_shared_perturbation_is_one_for_all(kind: str, outcome: Outcome) -> None:
    """A universal perturbation changes pixels that nothing clips by the same amount in every image."""
    inside = (outcome.clean > 0.2) & (outcome.clean < 0.8)
    change = np.where(inside, outcome.attacked - outcome.clean, np.nan)
    shared = inside.sum(0) >= 2
    assert shared.sum() > 20
    spread = np.nanmax(change[:, shared], axis=0) - np.nanmin(change[:, shared], axis=0)
    np.testing.assert_allclose(spread, 0, atol=1e-6)


def test_cosines_are_orthonormal() -> None:
    """The basis of GeoDA's noise, for images that are not square; constant first."""
    basis = art_patches._cosines(4, 10, 17)
    assert basis.shape == (170, 16)
    np.testing.assert_allclose(basis.T @ basis, np.eye(16), atol=1e-5)
    np.testing.assert_allclose(basis[:, 0], 1 / np.sqrt(170), atol=1e-6)


# --- the estimator


def art_estimator(part: Subject) -> PyTorchClassifier:
    """ART's own wrapper of the same classifier."""
    return PyTorchClassifier(
        model=part.classifier, loss=nn.CrossEntropyLoss(), input_shape=part.tiny.shape, nb_classes=part.tiny.classes,
        clip_values=part.tiny.bounds, device_type="cpu",
    )  # fmt: skip


@pytest.mark.parametrize("label", [None, 2, np.int64(1), np.array([0, 3, 1, 1, 2, 0, 3, 2])], ids=repr)
def test_class_gradient_equals_that_of_art(plain: Subject, label: Any) -> None:
    """The shortcut of one backward pass for one label an image gives what ART computes class by class."""
    x = as_array(plain.x)
    expected = art_estimator(plain).class_gradient(x, label=label)
    got = Estimator(plain.classifier).class_gradient(x, label=label)
    assert got.shape == expected.shape == (8, 4 if label is None else 1, 3, 16, 16)
    assert np.abs(expected).max() > 1e-3
    np.testing.assert_allclose(got, expected, atol=1e-5)


def test_predictions_and_losses_equal_those_of_art(plain: Subject) -> None:
    """Logits come in batches of any size, and loss gradients are ART's."""
    x, ours, theirs = as_array(plain.x), Estimator(plain.classifier), art_estimator(plain)
    np.testing.assert_allclose(ours.predict(x, batch_size=3), theirs.predict(x), atol=1e-5)
    y = np.eye(4)[theirs.predict(x).argmax(1)]
    np.testing.assert_allclose(ours.loss_gradient(x, y), theirs.loss_gradient(x, y), atol=1e-6)


def test_double_precision_is_cast_at_the_door(plain: Subject) -> None:
    """Under NumPy 2 some attacks pass float64, which the model's float32 weights would refuse."""
    x, estimator = as_array(plain.x).astype(np.float64), Estimator(plain.classifier)
    logits = estimator.predict(x)
    assert logits.dtype == np.float32
    np.testing.assert_allclose(logits, estimator.predict(x.astype(np.float32)), atol=1e-6)
    y = np.eye(4)[logits.argmax(1)]
    assert np.isfinite(estimator.loss_gradient(x, y)).all()
    assert estimator.class_gradient(x, label=0).dtype == np.float32


class Foreign:
    """A classifier that is no torch module: the protocol and nothing else."""

    num_classes, input_shape, bounds, sites, elastic = 3, (1, 4, 4), (0.0, 1.0), (), False
    multi_label, label, head_weight, tolerance = False, None, None, 1e-3
    device = torch.device("cpu")

    def probe(self) -> Tensor:
        """A grey image."""
        return torch.full((1, *self.input_shape), 0.5)

    def logits(self, x: Tensor) -> Tensor:
        """Means of three parts of the image."""
        return torch.stack([part.mean((1, 2, 3)) * 10 for part in (x[..., :2], x[..., 2:], x[:, :, 2:])], dim=1)

    def trace(self, x: Tensor, sites: tuple[str, ...] | None = None) -> Trace:
        """Logits alone."""
        return Trace(self.logits(x), {})

    def resume(self, site: str, latent: Tensor, x: Tensor) -> Tensor:
        """Only from the input."""
        return self.logits(latent)

    def fingerprint(self) -> str:
        """There are no weights."""
        return "none"


def test_any_classifier_that_fits_the_protocol_can_be_attacked() -> None:
    """The estimator asks for no more than the seam promises."""
    x = np.random.default_rng(0).uniform(0.3, 0.6, size=(4, 1, 4, 4)).astype(np.float32)
    estimator = Estimator(Foreign())
    attacked = Attack.of("fgsm", eps=0.1).run(Foreign(), x, batch_size=4)
    assert np.abs(attacked - x).max() == pytest.approx(0.1, abs=1e-6)
    before, after = (estimator.predict(images) for images in (x, attacked))
    labels = before.argmax(1)
    rows = np.arange(4)
    assert (after[rows, labels] - after.mean(1) <= before[rows, labels] - before.mean(1) + 1e-5).all()


def test_attacker_is_shown_no_more_than_he_may_see(plain: Subject) -> None:
    """Without white-box access gradients raise; with decisions alone outputs are 1 for the label and 0 elsewhere."""
    x = as_array(plain.x)
    white, scores, decisions = (
        Estimator(plain.classifier, access=access) for access in ("white-box", "scores", "decisions")
    )
    np.testing.assert_array_equal(scores.predict(x), white.predict(x))
    np.testing.assert_array_equal(decisions.predict(x), np.eye(4, dtype=np.float32)[white.predict(x).argmax(1)])
    y = np.eye(4)[white.predict(x).argmax(1)]
    for blind in (scores, decisions):
        with pytest.raises(RuntimeError, match="does not require grad"):
            blind.loss_gradient(x, y)
        with pytest.raises(RuntimeError, match="does not require grad"):
            blind.class_gradient(x, label=0)


def test_unit_range_and_probabilities() -> None:
    """Pixels are mapped from [0, 1] to the bounds, and outputs sum to 1."""
    part = subject("in-place")
    x = as_array(part.x)
    mapped = Estimator(part.classifier, unit=True)
    assert tuple(mapped.clip_values) == (0, 1)
    np.testing.assert_allclose(mapped.predict((x + 1) / 2), Estimator(part.classifier).predict(x), atol=1e-5)
    np.testing.assert_allclose(Estimator(part.classifier, outputs="probabilities").predict(x).sum(1), 1, atol=1e-6)
