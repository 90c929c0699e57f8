"""What attacks there are and what is known of each before it runs; importing this imports nothing heavy."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Literal

from ce_detect.core.types import Setting

Norm = Literal["Linf", "L2", "L1", "L0", "patch", "spatial", "none"]
Access = Literal["white-box", "scores", "decisions"]

_MEDIUM, _HIGH = 100, 3_000
"""Forward passes an image above which an attack costs more than ``low``, and more than ``medium``."""


@dataclass(frozen=True, slots=True)
class AttackInfo:
    """What is known of an attack before it runs.

    Attributes:
        name: key in the registry.
        art: class in ``art.attacks.evasion``.
        norm: what the attack keeps small: a norm of the change, or the size of a ``patch`` or a ``spatial`` movement.
        access: what the attacker sees: gradients (``white-box``), logits (``scores``) or labels (``decisions``). It is
            all that the attack is shown when it runs.
        defaults: settings that a recipe may change, with their default values.
        passes: rough number of forward passes an image takes, from the settings; for time estimates only.
        paper: where it was published.
        fixed: arguments that ART always gets.
        least_classes: fewest classes that the attack can do with.
        targeted: whether it takes the setting ``target``.
        shared: whether all images of a chunk get one and the same perturbation.
        unit: whether images are mapped to [0, 1] and back, because ART's code takes that range for granted.
        version: counts what changed the images that it makes with the same settings; the cache tells versions apart.
    """

    name: str
    art: str
    norm: Norm
    access: Access
    defaults: Mapping[str, Setting]
    passes: Callable[[Mapping[str, Setting]], float] = field(repr=False)
    paper: str
    fixed: Mapping[str, Any] = field(default_factory=dict)
    least_classes: int = 2
    targeted: bool = False
    shared: bool = False
    unit: bool = False
    version: int = 1

    @property
    def cost(self) -> Literal["low", "medium", "high"]:
        """Class of cost with the default settings: up to 100, up to 3,000, or more forward passes an image."""
        passes = self.passes(self.defaults)
        return "low" if passes <= _MEDIUM else "medium" if passes <= _HIGH else "high"

    @property
    def needs(self) -> tuple[str, ...]:
        """What it asks for beyond a classifier of two classes and one image."""
        asked = {
            "gradients": self.access == "white-box",
            f"{self.least_classes} classes": self.least_classes > 2,
            "many images": self.shared,
        }
        return tuple(need for need, needed in asked.items() if needed)


def _frozen(**settings: Any) -> Mapping[str, Any]:
    return MappingProxyType(settings)


def _number(settings: Mapping[str, Setting], *keys: str) -> float:
    product = 1.0
    for key in keys:
        product *= float(settings[key])
    return product


# fmt: off
_REGISTERED = (
    AttackInfo(
        "fgsm", "FastGradientMethod", "Linf", "white-box", _frozen(eps="8/255"), lambda s: 4,
        "Goodfellow et al. 2015, arXiv 1412.6572", targeted=True,
    ),
    AttackInfo(
        "bim", "BasicIterativeMethod", "Linf", "white-box", _frozen(eps="8/255", eps_step="1/255", max_iter=10),
        lambda s: 3.5 * _number(s, "max_iter"), "Kurakin et al. 2017, arXiv 1607.02533", targeted=True,
    ),
    AttackInfo(
        "mim", "MomentumIterativeMethod", "Linf", "white-box",
        _frozen(eps="8/255", eps_step="1/255", decay=1.0, max_iter=10), lambda s: 3.5 * _number(s, "max_iter"),
        "Dong et al. 2018, arXiv 1710.06081", targeted=True,
    ),
    AttackInfo(
        "pgd", "ProjectedGradientDescent", "Linf", "white-box",
        _frozen(eps="8/255", eps_step="2/255", max_iter=20, num_random_init=1), lambda s: 3.5 * _number(s, "max_iter"),
        "Madry et al. 2018, arXiv 1706.06083", targeted=True,
    ),
    AttackInfo(
        "pgd-l2", "ProjectedGradientDescent", "L2", "white-box",
        _frozen(eps=0.5, eps_step=0.1, max_iter=20, num_random_init=1), lambda s: 3.5 * _number(s, "max_iter"),
        "Madry et al. 2018, arXiv 1706.06083", _frozen(norm=2), targeted=True,
    ),
    AttackInfo(
        "apgd-ce", "AutoProjectedGradientDescent", "Linf", "white-box",
        _frozen(eps="8/255", eps_step="4/255", max_iter=50, nb_random_init=1), lambda s: 5 * _number(s, "max_iter"),
        "Croce and Hein 2020, arXiv 2003.01690", _frozen(loss_type="cross_entropy"), targeted=True,
    ),
    AttackInfo(
        "apgd-dlr", "AutoProjectedGradientDescent", "Linf", "white-box",
        _frozen(eps="8/255", eps_step="4/255", max_iter=50, nb_random_init=1), lambda s: 5 * _number(s, "max_iter"),
        "Croce and Hein 2020, arXiv 2003.01690", _frozen(loss_type="difference_logits_ratio"), least_classes=3,
        targeted=True,
    ),
    AttackInfo(
        "autoattack", "AutoAttack", "Linf", "white-box",
        _frozen(eps="8/255", eps_step="4/255", max_iter=50, square_iter=300),
        lambda s: 10 * _number(s, "max_iter") + 2 * _number(s, "square_iter"),
        "Croce and Hein 2020, arXiv 2003.01690", targeted=True,
    ),
    AttackInfo(
        "cw-l2", "CarliniL2Method", "L2", "white-box",
        _frozen(confidence=0.0, learning_rate=0.01, binary_search_steps=10, max_iter=10, initial_const=0.01),
        lambda s: 2 * _number(s, "max_iter", "binary_search_steps"),
        "Carlini and Wagner 2017, arXiv 1608.04644", targeted=True, version=2,
    ),
    AttackInfo(
        "elastic-net", "ElasticNet", "L1", "white-box",
        _frozen(confidence=0.0, learning_rate=0.01, binary_search_steps=4, max_iter=50, beta=0.001, initial_const=0.1),
        lambda s: 8 * _number(s, "max_iter", "binary_search_steps"),
        "Chen et al. 2018, arXiv 1709.04114", targeted=True, unit=True,
    ),
    AttackInfo(
        "deepfool", "DeepFool", "L2", "white-box", _frozen(max_iter=50, epsilon=0.02, nb_grads=10),
        lambda s: 33 * _number(s, "max_iter"), "Moosavi-Dezfooli et al. 2016, arXiv 1511.04599",
    ),
    AttackInfo(
        "jsma", "SaliencyMapMethod", "L0", "white-box", _frozen(theta=0.25, gamma=0.2, target="second"),
        lambda s: 1_000 * _number(s, "gamma"), "Papernot et al. 2016, arXiv 1511.07528", targeted=True, unit=True,
    ),
    AttackInfo(
        "patch", "AdversarialPatchNumpy", "patch", "white-box",
        _frozen(scale_min=0.4, scale_max=0.5, rotation_max=22.5, learning_rate=20.0, max_iter=50),
        lambda s: 3 * _number(s, "max_iter"), "Brown et al. 2017, arXiv 1712.09665",
        targeted=True, shared=True, unit=True,
    ),
    AttackInfo(
        "square", "SquareAttack", "Linf", "scores", _frozen(eps="8/255", max_iter=300, p_init=0.8),
        lambda s: 2 * _number(s, "max_iter"), "Andriushchenko et al. 2020, arXiv 1912.00049",
    ),
    AttackInfo(
        "hopskipjump", "HopSkipJump", "L2", "decisions",
        _frozen(max_iter=10, max_eval=1000, init_eval=20, init_size=100),
        lambda s: _number(s, "max_iter", "max_eval") / 5, "Chen et al. 2020, arXiv 1904.02144", targeted=True,
    ),
    AttackInfo(
        "boundary", "BoundaryAttack", "L2", "decisions",
        _frozen(delta=0.01, epsilon=0.01, step_adapt=0.667, max_iter=200, num_trial=25, sample_size=20, init_size=100),
        lambda s: 1.5 * _number(s, "max_iter", "sample_size"), "Brendel et al. 2018, arXiv 1712.04248", targeted=True,
    ),
    AttackInfo(
        "geoda", "GeoDA", "L2", "decisions",
        _frozen(sub_dim=10, max_iter=2000, bin_search_tol=0.001, lambda_param=0.6, sigma=0.01, init_size=100),
        lambda s: 1.2 * _number(s, "max_iter"), "Rahmati et al. 2020, arXiv 2003.06468", unit=True,
    ),
    AttackInfo(
        "spatial", "SpatialTransformation", "spatial", "decisions",
        _frozen(max_translation=10.0, num_translations=5, max_rotation=30.0, num_rotations=7),
        lambda s: _number(s, "num_translations", "num_translations", "num_rotations"),
        "Engstrom et al. 2019, arXiv 1712.02779", unit=True,
    ),
)
# fmt: on

ATTACKS: Mapping[str, AttackInfo] = MappingProxyType({info.name: info for info in _REGISTERED})
"""Every attack by name."""

CUSTOM = AttackInfo("custom", "", "none", "white-box", _frozen(), lambda _: 100, "")
"""Stands for what is not known of an attack that is a function of the user's."""

_REASONS = {
    "made for videos": ("AdversarialTexturePyTorch", "FrameSaliencyAttack", "OverTheAirFlickeringPyTorch"),
    "made for speech": ("CarliniWagnerASR", "ImperceptibleASR", "ImperceptibleASRPyTorch"),
    "made for object detectors": ("DPatch", "OverloadPyTorch", "RobustDPatch", "SNAL"),
    "made for tables": ("LowProFool",),
    "made for other models than networks": ("DecisionTreeAttack", "HighConfidenceLowUncertainty"),
    "needs TensorFlow": (
        "AdversarialPatchTensorFlowV2", "FeatureAdversariesTensorFlowV2", "MalwareGDTensorFlow",
        "ProjectedGradientDescentTensorFlowV2",
    ),
    "needs torchvision; patch does the same without": ("AdversarialPatch", "AdversarialPatchPyTorch"),
    "needs kornia": ("CompositeAdversarialAttackPyTorch",),
    "needs numba": ("BrendelBethgeAttack",),
    "needs cma": ("PixelAttack", "ThresholdAttack"),
    "needs a guide image for each image": ("FeatureAdversariesNumpy", "FeatureAdversariesPyTorch"),
    "takes one image at a time": ("ShadowAttack", "SimBA"),
    "the part of pgd that does the work": ("ProjectedGradientDescentNumpy", "ProjectedGradientDescentPyTorch"),
    "patched until version 0.1; no recipe used it": (
        "NewtonFool", "SignOPTAttack", "TargetedUniversalPerturbation", "UniversalPerturbation", "ZooAttack",
    ),
    "variants of apgd; not adapted yet": ("AutoConjugateGradient", "RescalingAutoConjugateGradient"),
    "repeats cw-l2 for every pixel it drops; jsma covers its norm": ("CarliniL0Method",),
    "hours for 1,000 images; apgd-ce and autoattack cover its norm": ("CarliniLInfMethod",),
    "expects probabilities; not adapted yet": ("VirtualAdversarialMethod",),
    "adds stickers or beams of light; not adapted yet": ("GRAPHITEBlackbox", "GRAPHITEWhiteboxPyTorch", "LaserAttack"),
    "bounds a transport distance; not adapted yet": ("Wasserstein",),
}  # fmt: skip

REFUSED: Mapping[str, str] = MappingProxyType(
    {art: why for why, classes in _REASONS.items() for art in sorted(classes)}
)
"""Attacks of ``art.attacks.evasion`` that are not in the registry, and why."""
