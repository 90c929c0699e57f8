"""Tells whether an input of an image classifier is an adversarial example, from the causal effects of interventions.

Names load when they are first used: importing ``ce_detect`` imports neither torch nor NumPy.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from ce_detect.core.deprecation import Moved, warn
from ce_detect.core.errors import (
    AbstainedError,
    ArtifactError,
    CalibrationError,
    CeDetectError,
    ExportError,
    InputError,
    MissingExtraError,
    ModelError,
    ModelMismatchError,
    NotCalibratedError,
    TooFewSamplesError,
    UsageError,
)
from ce_detect.core.extras import needed_for

if TYPE_CHECKING:  # for type checkers alone: importing the package imports none of these
    from ce_detect.attacks import Attack
    from ce_detect.calibrate.recipe import Recipe
    from ce_detect.calibrate.settings import CalibrationSettings
    from ce_detect.classifiers.loading import load_model
    from ce_detect.classifiers.normalization import Normalized
    from ce_detect.core.resizing import Resizing
    from ce_detect.data import load_data
    from ce_detect.guard.detected_model import DetectedModel
    from ce_detect.verdict.policies import Abstain, FallBack, Flag
    from ce_detect.verdict.result import GateResult

    __version__: str

__all__ = [
    "Abstain",
    "AbstainedError",
    "ArtifactError",
    "Attack",
    "CalibrationError",
    "CalibrationSettings",
    "CeDetectError",
    "DetectedModel",
    "ExportError",
    "FallBack",
    "Flag",
    "GateResult",
    "InputError",
    "MissingExtraError",
    "ModelError",
    "ModelMismatchError",
    "Normalized",
    "NotCalibratedError",
    "Recipe",
    "Resizing",
    "TooFewSamplesError",
    "UsageError",
    "__version__",
    "load_data",
    "load_model",
]

_HOMES = {
    "Abstain": "verdict.policies",
    "Attack": "attacks",
    "CalibrationSettings": "calibrate.settings",
    "DetectedModel": "guard.detected_model",
    "FallBack": "verdict.policies",
    "Flag": "verdict.policies",
    "GateResult": "verdict.result",
    "Normalized": "classifiers.normalization",
    "Recipe": "calibrate.recipe",
    "Resizing": "core.resizing",
    "load_data": "data",
    "load_model": "classifiers.loading",
}
"""Where each public name is defined."""

_MOVED = {"ATTACKS": Moved("attacks", gone_in="0.2")}
"""Names that were public, and where they are."""


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from ce_detect.core.version import VERSION

        value: Any = VERSION
    elif name in _HOMES:
        with needed_for(f"ce_detect.{name}"):
            value = getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
    elif name in _MOVED:  # not kept, so that it warns each time
        module, gone_in = _MOVED[name]
        warn(f"ce_detect.{name}", f"ce_detect.{module}.{name}", gone_in=gone_in)
        return getattr(importlib.import_module(f"{__name__}.{module}"), name)
    else:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
