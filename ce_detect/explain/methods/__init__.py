"""Methods of explanation behind one interface: ours, Robust Perturbation, and those that they are compared with.

Those of Captum are Captum's; the others are written from their papers, as no package that is kept up has them without
torchvision or OpenCV.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from ce_detect.core.errors import UsageError
from ce_detect.explain.methods.base import Method
from ce_detect.explain.methods.class_activation import GradCAM, GradCAMPlusPlus
from ce_detect.explain.methods.extremal_perturbation import ExtremalPerturbation
from ce_detect.explain.methods.gradients import InputXGradient, IntegratedGradients
from ce_detect.explain.methods.guided_backpropagation import GuidedBackpropagation
from ce_detect.explain.methods.meaningful_perturbation import MeaningfulPerturbation
from ce_detect.explain.methods.effect_map import EffectMap
from ce_detect.explain.methods.rise import RISE
from ce_detect.explain.methods.robust_perturbation import RobustPerturbation

_ALL: tuple[type[Method], ...] = (
    EffectMap, RobustPerturbation, MeaningfulPerturbation, ExtremalPerturbation, RISE, GradCAM, GradCAMPlusPlus,
    GuidedBackpropagation, InputXGradient, IntegratedGradients,
)  # fmt: skip

METHODS: Mapping[str, type[Method]] = MappingProxyType({method.name: method for method in _ALL})
"""Every method by name."""


def method(name: str) -> Method:
    """The method of a name, with its usual settings.

    Raises:
        UsageError: there is no such method.
    """
    if name not in METHODS:
        raise UsageError(f"method = {name!r}, expected one of {', '.join(METHODS)}")
    return METHODS[name]()
