"""What attacks of the registry do to images, as they claim, and what is asked of functions."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from support.attacks import FAST, attacked, labels
from support.models import Subject, as_array, subject, tiny_model
from torch import Tensor, nn

from ce_detect.attacks import ATTACKS, Attack
from ce_detect.attacks.attack import length
from ce_detect.attacks.run import run
from ce_detect.classifiers.segmented import TorchClassifier
from ce_detect.classifiers.wrapping import wrap
from ce_detect.core.errors import CalibrationError
from ce_detect.core.types import Floats
from ce_detect.data import Images

COUNT = 4
"""Images that each attack gets."""

every_attack = pytest.mark.parametrize("kind", ATTACKS)


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
        first = attacked(watched, kind, x)
        again = attacked(Watched(fashion, one_hot=ATTACKS[kind].access == "decisions"), kind, x)
        _outcomes[kind] = Outcome(x, first, again, watched.differentiated, watched.asked)
    return _outcomes[kind]


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Attacks leave nothing in the current folder; ART's GeoDA does."""
    monkeypatch.chdir(tmp_path)
    yield
    assert not list(tmp_path.glob("*.npy"))


# --- attacks of the registry, on real images


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
        assert np.linalg.norm(change, ord=order, axis=1).max() <= length(kind, "eps", settings["eps"]) + 1e-5
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


@every_attack
def test_an_attack_takes_about_as_many_passes_as_it_says(kind: str, outcome: Outcome) -> None:
    """Rough as it is, and although attacks stop early: within a factor of twenty below and ten above."""
    said = COUNT * Attack.of(kind, **FAST[kind]).passes
    assert said / 20 < outcome.asked < said * 10


# --- on other classifiers


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
    result = attacked(oblong, kind, x, **({"sub_dim": 3} if kind == "geoda" else {}))
    assert np.isfinite(result).all()
    assert -2 <= result.min() < -0.5
    assert 1 < result.max() <= 3
    assert not np.allclose(result, x)


@pytest.mark.parametrize("name", ["one-logit", "branching", "transformer", "in-place"])
@pytest.mark.parametrize("kind", ["pgd", "deepfool", "square"])
def test_attacks_run_on_other_classifiers(name: str, kind: str) -> None:
    """Two classes, hooked models, transformers and negative pixels are no obstacle."""
    part = subject(name)
    x = as_array(part.x[:4])
    result = attacked(part.classifier, kind, x)
    low, high = part.tiny.bounds
    assert np.isfinite(result).all()
    assert low <= result.min() <= result.max() <= high
    assert not np.allclose(result, x)


def test_stronger_attacks_succeed_more(plain: Subject) -> None:
    """Projected gradient descent changes no decision when it is faint and most when it is strong."""
    x, before = as_array(plain.x), labels(plain.classifier, as_array(plain.x))
    results = [attacked(plain.classifier, "pgd", x, eps=eps, eps_step=eps / 3) for eps in (1e-5, 0.3)]
    success = [np.mean(labels(plain.classifier, images) != before) for images in results]
    assert success[0] == 0
    assert success[1] > 0.7


def test_elastic_net_keeps_changes_sparse(fashion: TorchClassifier, demo_images: Images) -> None:
    """The more the sum of changes counts, the fewer pixels change."""
    x = demo_images.x[:3]
    sums, pixels = zip(
        *((np.abs(change).sum(), (change != 0).sum())
          for change in (attacked(fashion, "elastic-net", x, beta=beta) - x for beta in (0.001, 0.05))), strict=True,
    )  # fmt: skip
    assert sums[1] < sums[0]
    assert pixels[1] < 0.7 * pixels[0]


# --- functions of the user's


def noise(classifier: Any, x: Tensor, labels: Tensor) -> Any:
    """An attack that returns an array, in double precision."""
    return np.clip(x.numpy() + np.random.normal(0, 0.1, x.shape), *classifier.bounds)


def called(part: Subject, attack: Attack) -> Floats:
    """Attack the images of a tiny model."""
    return run(attack, part.classifier, as_array(part.x), batch_size=4)


def test_function_gets_the_classifier_images_labels_and_settings(plain: Subject) -> None:
    """It sees the wrapped classifier and its decisions, and cannot change the caller's images."""
    seen: list[Any] = []

    def spy(classifier: Any, x: Tensor, labels: Tensor, **settings: Any) -> Tensor:
        seen.extend((classifier, x.clone(), labels, settings, torch.is_grad_enabled()))
        return x.zero_()

    x = as_array(plain.x)
    with torch.no_grad():
        result = run(Attack.custom(spy, version="1", strength=2, mode="fast"), plain.classifier, x, batch_size=4)
        decisions = plain.classifier.logits(plain.x).argmax(1)
    assert seen[0] is plain.classifier
    torch.testing.assert_close(seen[1], plain.x)
    assert torch.equal(seen[2], decisions)
    assert seen[3:] == [{"strength": 2, "mode": "fast"}, True]
    assert not result.any()
    assert x.any()


def test_arrays_are_as_good_as_tensors(plain: Subject) -> None:
    """What is returned comes back as float32."""
    result = called(plain, Attack.custom(noise))
    assert result.dtype == np.float32
    assert result.shape == plain.x.shape
    assert 0.05 < np.abs(result - as_array(plain.x)).mean() < 0.15


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (lambda c, x, y: x[:, :, 1:], r"'wrong' returned shape \(8, 3, 15, 16\), expected \(8, 3, 16, 16\)"),
        (lambda c, x, y: x / 0, "'wrong' returned NaN or infinity in 8 of 8 images"),
        (lambda c, x, y: x + 1, r"'wrong' returned pixels from 1\.\d+ to .*, expected 0 to 1; clip them"),
        (lambda c, x, y: None, "'wrong' returned NoneType, expected a tensor or an array of numbers"),
        (lambda c, x, y: np.array(["a"]), "'wrong' returned an array of <U1, expected"),
        (lambda c, x, y: x.nope, "'wrong' raised AttributeError: .*nope"),
    ],
)
def test_result_is_checked(wrong: Callable[..., Any], message: str, plain: Subject) -> None:
    """The error names the attack, what came and what was expected."""
    with pytest.raises(CalibrationError, match=message):
        called(plain, Attack.custom(wrong, name="wrong", version="1"))


def test_rounding_is_clipped(plain: Subject) -> None:
    """A millionth beyond the bounds is no mistake."""
    result = called(plain, Attack.custom(lambda c, x, y: torch.ones_like(x) + 1e-6, version="1"))
    assert result.max() == 1


def test_users_model_stays_trainable() -> None:
    """The weights that the wrapper shares with the user's model have their gradients on afterwards, and none stored."""
    model = tiny_model("plain")
    model.stage1[0].weight.requires_grad_(False)
    classifier = wrap(model, input_shape=(3, 16, 16), bounds=(0.0, 1.0))
    for kind in ("pgd", "deepfool"):
        attacked(classifier, kind, as_array(subject("plain").x[:2]))
    frozen = [name for name, parameter in model.named_parameters() if not parameter.requires_grad]
    assert frozen == ["stage1.0.weight"]
    assert all(parameter.grad is None for parameter in model.parameters())
    assert not model.training
