"""The attacks that make a calibration set: a registry of adapters to the Adversarial Robustness Toolbox.

Strengths are fractions of the pixel range: ``eps = "8/255"`` is 8 grey levels whatever the bounds of the model are, and
an L2 radius of 0.5 is half the pixel range.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from types import MappingProxyType
from typing import Any, Literal

import numpy as np

from ce_detect.errors import CalibrationError

Setting = float | int | str | bool


@dataclass(frozen=True, slots=True)
class AttackInfo:
    """What is known of an attack before it runs.

    Attributes:
        name: key in the registry.
        art: class in ``art.attacks.evasion``.
        norm: what the attack keeps small.
        access: what the attacker sees: gradients (``white-box``), logits (``scores``) or labels (``decisions``).
        defaults: settings that a recipe may change, with their default values.
        passes: rough number of forward passes an image takes, from the settings; for time estimates only.
        paper: where it was published.
        fixed: arguments that ART always gets.
        least_classes: fewest classes that the attack can do with.
    """

    name: str
    art: str
    norm: Literal["Linf", "L2"]
    access: Literal["white-box", "scores", "decisions"]
    defaults: Mapping[str, Setting]
    passes: Callable[[Mapping[str, Setting]], float] = field(repr=False)
    paper: str
    fixed: Mapping[str, Any] = field(default_factory=dict)
    least_classes: int = 2


def _frozen(**settings: Any) -> Mapping[str, Any]:
    return MappingProxyType(settings)


# fmt: off
_REGISTERED = (
    AttackInfo(
        "fgsm", "FastGradientMethod", "Linf", "white-box", _frozen(eps="8/255"), lambda s: 4,
        "Goodfellow et al. 2015, arXiv 1412.6572", _frozen(norm=np.inf),
    ),
    AttackInfo(
        "pgd", "ProjectedGradientDescent", "Linf", "white-box",
        _frozen(eps="8/255", eps_step="2/255", max_iter=20, num_random_init=1),
        lambda s: 3.5 * float(s["max_iter"]), "Madry et al. 2018, arXiv 1706.06083",
        _frozen(norm=np.inf, verbose=False),
    ),
    AttackInfo(
        "pgd-l2", "ProjectedGradientDescent", "L2", "white-box",
        _frozen(eps=0.5, eps_step=0.1, max_iter=20, num_random_init=1),
        lambda s: 3.5 * float(s["max_iter"]), "Madry et al. 2018, arXiv 1706.06083", _frozen(norm=2, verbose=False),
    ),
    AttackInfo(
        "cw-l2", "CarliniL2Method", "L2", "white-box",
        _frozen(confidence=0.0, learning_rate=0.01, binary_search_steps=10, max_iter=10, initial_const=0.01),
        lambda s: 14 * float(s["max_iter"]) * float(s["binary_search_steps"]),
        "Carlini and Wagner 2017, arXiv 1608.04644", _frozen(verbose=False),
    ),
    AttackInfo(
        "deepfool", "DeepFool", "L2", "white-box", _frozen(max_iter=50, epsilon=0.02, nb_grads=10),
        lambda s: 33 * float(s["max_iter"]), "Moosavi-Dezfooli et al. 2016, arXiv 1511.04599", _frozen(verbose=False),
    ),
    AttackInfo(
        "apgd-dlr", "AutoProjectedGradientDescent", "Linf", "white-box",
        _frozen(eps="8/255", eps_step="4/255", max_iter=50, nb_random_init=1),
        lambda s: 5 * float(s["max_iter"]), "Croce and Hein 2020, arXiv 2003.01690",
        _frozen(norm=np.inf, loss_type="difference_logits_ratio", verbose=False), least_classes=3,
    ),
    AttackInfo(
        "square", "SquareAttack", "Linf", "scores", _frozen(eps="8/255", max_iter=300, p_init=0.8),
        lambda s: 2 * float(s["max_iter"]), "Andriushchenko et al. 2020, arXiv 1912.00049",
        _frozen(norm=np.inf, verbose=False),
    ),
    AttackInfo(
        "hopskipjump", "HopSkipJump", "L2", "decisions",
        _frozen(max_iter=10, max_eval=1000, init_eval=20, init_size=100),
        lambda s: float(s["max_iter"]) * float(s["max_eval"]) / 5, "Chen et al. 2020, arXiv 1904.02144",
        _frozen(norm=2, verbose=False),
    ),
)
# fmt: on

ATTACKS: Mapping[str, AttackInfo] = MappingProxyType({info.name: info for info in _REGISTERED})
"""Every attack by name."""

_LENGTHS = frozenset({"eps", "eps_step"})


@dataclass(frozen=True, slots=True)
class Attack:
    """An attack with its settings; two attacks with equal settings are equal.

    Attributes:
        kind: key in `ATTACKS`.
        settings: every setting by name, in a fixed order.
        name: what tables call it, for example ``"pgd 8/255"``.
    """

    kind: str
    settings: tuple[tuple[str, Setting], ...]
    name: str

    @classmethod
    def of(cls, kind: str, *, name: str | None = None, **changes: Setting) -> Attack:
        """Make an attack from the registry, with some settings changed.

        Raises:
            CalibrationError: no such attack or setting, or a value that makes no sense.
        """
        info = ATTACKS.get(kind)
        if info is None:
            raise CalibrationError(f"no attack {kind!r}; there are: {', '.join(ATTACKS)}")
        unknown = sorted(set(changes) - set(info.defaults))
        if unknown:
            raise CalibrationError(f"attack {kind!r} has no setting {unknown[0]!r}; it has: {', '.join(info.defaults)}")
        settings = {**info.defaults, **changes}
        for key, value in changes.items():
            _check(kind, key, value, info.defaults[key])
        if name is None:
            name = f"{kind} {settings['eps']}" if "eps" in settings else kind
        return cls(kind, tuple(sorted(settings.items())), name)

    @property
    def info(self) -> AttackInfo:
        """Metadata of the attack."""
        return ATTACKS[self.kind]

    @property
    def passes(self) -> float:
        """Rough number of forward passes an image takes."""
        return self.info.passes(dict(self.settings))

    def spec(self) -> dict[str, Setting]:
        """Everything needed to make it again with `Attack.of`, as plain data."""
        return {"kind": self.kind, "name": self.name, **dict(self.settings)}

    def build(self, estimator: Any, *, width: float, batch_size: int) -> Any:
        """Make the ART attack.

        Args:
            estimator: an ART classifier.
            width: pixel range, largest minus smallest valid value.
            batch_size: images attacked at a time.

        Raises:
            CalibrationError: too few classes, or settings that ART refuses.
        """
        if estimator.nb_classes < self.info.least_classes:
            raise CalibrationError(
                f"attack {self.kind!r} needs at least {self.info.least_classes} classes, the classifier has "
                f"{estimator.nb_classes}; take it out of the recipe"
            )
        settings: dict[str, Any] = dict(self.settings)
        for key in _LENGTHS & set(settings):
            settings[key] = _length(self.kind, key, settings[key]) * width
        if "nb_grads" in settings:
            settings["nb_grads"] = min(int(settings["nb_grads"]), estimator.nb_classes)
        art = getattr(importlib.import_module("art.attacks.evasion"), self.info.art)
        try:
            return art(estimator, batch_size=batch_size, **settings, **self.info.fixed)
        except (TypeError, ValueError) as error:
            given = dict(self.settings)
            raise CalibrationError(f"attack {self.name!r} cannot be made with {given}: {error}") from error


def _check(kind: str, key: str, value: Setting, default: Setting) -> None:
    if key in _LENGTHS:
        _length(kind, key, value)
        return
    wanted = (int,) if isinstance(default, int) else (int, float)
    if isinstance(value, bool) or not isinstance(value, wanted) or not value >= 0:
        number = "whole number" if wanted == (int,) else "number"
        raise CalibrationError(f"{key} = {value!r} of attack {kind!r} is not a {number} of at least 0")


def _length(kind: str, key: str, value: Setting) -> float:
    try:
        length = float(Fraction(str(value)))
    except (ValueError, ZeroDivisionError):
        length = -1.0
    if not length > 0:
        raise CalibrationError(
            f"{key} = {value!r} of attack {kind!r} is not a positive number or fraction such as '8/255'"
        )
    return length
