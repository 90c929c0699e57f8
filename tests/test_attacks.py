"""The registry of attacks, and the estimator that shows a classifier to them."""

from __future__ import annotations

import dataclasses
import importlib
from typing import Any

import numpy as np
import pytest
import torch
from art.estimators.classification import PyTorchClassifier
from conftest import Subject, as_array, subject
from numpy.typing import NDArray
from torch import Tensor, nn

from ce_detect.calibrate._estimator import Estimator
from ce_detect.calibrate.attacks import ATTACKS, Attack
from ce_detect.classifiers.base import Trace
from ce_detect.errors import CalibrationError

FAST: dict[str, dict[str, Any]] = {
    "fgsm": {},
    "pgd": {"max_iter": 4},
    "pgd-l2": {"max_iter": 4, "eps": 1.0, "eps_step": 0.5},
    "cw-l2": {"max_iter": 3, "binary_search_steps": 2, "initial_const": 1.0},
    "deepfool": {"max_iter": 5},
    "apgd-dlr": {"max_iter": 4},
    "square": {"max_iter": 5},
    "hopskipjump": {"max_iter": 1, "max_eval": 20, "init_eval": 5, "init_size": 20},
}
"""Settings that make each attack quick."""

every_attack = pytest.mark.parametrize("kind", ATTACKS)


def run(part: Subject, kind: str, x: NDArray[np.float32], **changes: Any) -> NDArray[np.float32]:
    """Attack images from fixed random starts."""
    low, high = part.classifier.bounds
    attack = Attack.of(kind, **{**FAST[kind], **changes})
    built = attack.build(Estimator(part.classifier), width=high - low, batch_size=4)
    with torch.random.fork_rng():  # ART draws from the global generators
        torch.manual_seed(0)
        np.random.seed(0)
        return np.asarray(built.generate(x=x))


# --- the registry


@every_attack
def test_metadata_is_complete(kind: str) -> None:
    """Every entry states its name, norm, access, paper and cost, and ART has its class and takes its settings."""
    info = ATTACKS[kind]
    assert info.name == kind
    assert info.norm in ("Linf", "L2")
    assert info.access in ("white-box", "scores", "decisions")
    assert "arXiv" in info.paper
    art = getattr(importlib.import_module("art.attacks.evasion"), info.art)
    assert set(info.defaults) | set(info.fixed) <= set(art.attack_params)
    assert Attack.of(kind).passes > 0
    norm = {"Linf": np.inf, "L2": 2}[info.norm]
    assert info.fixed.get("norm", norm) == norm
    assert kind in FAST, "give it quick settings, or it is not tested"


def test_metadata_cannot_be_changed() -> None:
    """The registry and its entries are read-only."""
    with pytest.raises(TypeError):
        ATTACKS["mine"] = ATTACKS["fgsm"]  # type: ignore[index]
    with pytest.raises(TypeError):
        ATTACKS["fgsm"].defaults["eps"] = 1  # type: ignore[index]
    with pytest.raises(dataclasses.FrozenInstanceError):
        Attack.of("fgsm").kind = "pgd"  # type: ignore[misc]


@every_attack
def test_more_iterations_cost_more(kind: str) -> None:
    """The estimate of passes grows with the number of iterations, where there are any."""
    if "max_iter" not in ATTACKS[kind].defaults:
        assert Attack.of(kind).passes < 10
        return
    assert Attack.of(kind, max_iter=20).passes == pytest.approx(2 * Attack.of(kind, max_iter=10).passes)


@every_attack
def test_specification_makes_it_again(kind: str) -> None:
    """An attack is plain data and equal to what is made from it."""
    attack = Attack.of(kind, **FAST[kind])
    assert Attack.of(**attack.spec()) == attack
    assert hash(Attack.of(**attack.spec())) == hash(attack)
    assert attack != Attack.of(kind, **{**FAST[kind], "max_iter" if FAST[kind] else "eps": 7})


def test_names_tell_the_strength() -> None:
    """Attacks of one kind and different strength get different names; a name of one's own is kept."""
    assert Attack.of("pgd", eps="2/255").name == "pgd 2/255"
    assert Attack.of("cw-l2").name == "cw-l2"
    assert Attack.of("pgd", name="strong").name == "strong"


@pytest.mark.parametrize(
    ("kind", "changes", "message"),
    [
        ("bim", {}, "no attack 'bim'; there are: fgsm, pgd, pgd-l2, cw-l2, deepfool, apgd-dlr, square, hopskipjump"),
        ("fgsm", {"epsilon": 1}, "attack 'fgsm' has no setting 'epsilon'; it has: eps"),
        ("pgd", {"eps": 0}, "eps = 0 of attack 'pgd' is not a positive number or fraction such as '8/255'"),
        ("pgd", {"eps_step": "2/0"}, "eps_step = '2/0'"),
        ("pgd", {"eps": "-1/255"}, "eps = '-1/255'"),
        ("pgd", {"eps": float("nan")}, "eps = nan"),
        ("pgd", {"eps": "much"}, "eps = 'much'"),
        ("pgd", {"max_iter": "many"}, "max_iter = 'many' of attack 'pgd' is not a whole number of at least 0"),
        ("pgd", {"max_iter": 2.5}, "max_iter = 2.5"),
        ("pgd", {"max_iter": True}, "max_iter = True"),
        ("square", {"p_init": -0.1}, "p_init = -0.1 of attack 'square' is not a number of at least 0"),
    ],
)
def test_mistakes_are_named(kind: str, changes: dict[str, Any], message: str) -> None:
    """The error names the attack, what was wrong and what would do."""
    with pytest.raises(CalibrationError, match=message):
        Attack.of(kind, **changes)


# --- running


@every_attack
def test_attack_runs_and_keeps_its_bounds(kind: str, plain: Subject) -> None:
    """Attacked images are finite, of the right shape, within the bounds and the radius, and not all unchanged."""
    x = as_array(plain.x[:4])
    attacked = run(plain, kind, x)
    assert attacked.shape == x.shape
    assert np.isfinite(attacked).all()
    assert attacked.min() >= -1e-6
    assert attacked.max() <= 1 + 1e-6
    assert not np.allclose(attacked, x)
    if ATTACKS[kind].norm == "Linf":
        assert np.abs(attacked - x).max() <= 8 / 255 + 1e-6
    if kind == "pgd-l2":
        assert np.linalg.norm((attacked - x).reshape(4, -1), axis=1).max() <= 1.0 + 1e-5


@pytest.mark.parametrize("kind", ["fgsm", "pgd", "pgd-l2", "apgd-dlr", "square"])
def test_strength_follows_the_pixel_range(kind: str) -> None:
    """With pixels from 0 to 255, a strength of 8/255 is eight grey levels, and an attack uses it in full."""
    part = subject("residual")
    built = Attack.of(kind, **FAST[kind]).build(Estimator(part.classifier), width=255.0, batch_size=4)
    expected = {"pgd-l2": 255.0}.get(kind, 8.0)
    assert built.eps == pytest.approx(expected)
    x = as_array(part.x[:4])
    change = run(part, kind, x) - x
    size = np.abs(change).max() if kind != "pgd-l2" else np.linalg.norm(change.reshape(4, -1), axis=1).max()
    assert expected / 4 < size <= expected + 1e-3


@pytest.mark.parametrize("name", ["one-logit", "branching", "transformer", "in-place"])
@pytest.mark.parametrize("kind", ["pgd", "deepfool", "square"])
def test_attacks_run_on_other_classifiers(name: str, kind: str) -> None:
    """Two classes, hooked models, transformers and negative pixels are no obstacle."""
    part = subject(name)
    x = as_array(part.x[:4])
    attacked = run(part, kind, x)
    low, high = part.tiny.bounds
    assert np.isfinite(attacked).all()
    assert low - 1e-6 <= attacked.min() <= attacked.max() <= high + 1e-6
    assert not np.allclose(attacked, x)


def test_attack_that_cannot_do_with_two_classes_says_so() -> None:
    """The difference of logits ratio compares with the third class: refused by name before it fails inside."""
    with pytest.raises(CalibrationError, match="attack 'apgd-dlr' needs at least 3 classes, the classifier has 2"):
        run(subject("one-logit"), "apgd-dlr", as_array(subject("one-logit").x[:4]))


def test_what_art_refuses_is_a_calibration_error(plain: Subject) -> None:
    """Settings that only ART can judge are reported with the attack and with ART's reason."""
    with pytest.raises(CalibrationError, match=r"'square 8/255' cannot be made with .*'p_init': 1\.5.*: .*p_init"):
        run(plain, "square", as_array(plain.x[:4]), p_init=1.5)


def test_stronger_attacks_succeed_more(plain: Subject) -> None:
    """Projected gradient descent changes no decision when it is faint and most when it is strong."""
    x, estimator = as_array(plain.x), Estimator(plain.classifier)
    labels = estimator.predict(x).argmax(1)
    attacked = [run(plain, "pgd", x, eps=eps, eps_step=eps / 3) for eps in (1e-5, 0.3)]
    success = [np.mean(estimator.predict(images).argmax(1) != labels) for images in attacked]
    assert success[0] == 0
    assert success[1] > 0.7


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
    head_weight = None
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
    attacked = Attack.of("fgsm", eps=0.1).build(estimator, width=1.0, batch_size=4).generate(x=x)
    assert np.abs(attacked - x).max() == pytest.approx(0.1, abs=1e-6)
    before, after = (estimator.predict(images) for images in (x, attacked))
    labels = before.argmax(1)
    rows = np.arange(4)
    assert (after[rows, labels] - after.mean(1) <= before[rows, labels] - before.mean(1) + 1e-5).all()
