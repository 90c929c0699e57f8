"""Tells whether an input of an image classifier is an adversarial example, from the causal effects of interventions.

Names load when they are first used: importing ``ce_detect`` imports neither torch nor NumPy.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from ce_detect.errors import (
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

if TYPE_CHECKING:
    from ce_detect.calibrate.attacks import ATTACKS, Attack
    from ce_detect.calibrate.recipe import Recipe
    from ce_detect.data import load_data
    from ce_detect.detected_model import DetectedModel
    from ce_detect.detector.result import Abstain, FallBack, Flag, GateResult
    from ce_detect.models import load_model

    __version__: str

__all__ = [
    "ATTACKS",
    "Abstain",
    "AbstainedError",
    "ArtifactError",
    "Attack",
    "CalibrationError",
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
    "NotCalibratedError",
    "Recipe",
    "TooFewSamplesError",
    "UsageError",
    "__version__",
    "load_data",
    "load_model",
]

_HOMES = {
    "ATTACKS": "calibrate.attacks",
    "Abstain": "detector.result",
    "Attack": "calibrate.attacks",
    "DetectedModel": "detected_model",
    "FallBack": "detector.result",
    "Flag": "detector.result",
    "GateResult": "detector.result",
    "Recipe": "calibrate.recipe",
    "load_data": "data",
    "load_model": "models",
}

_BROUGHT = {
    "PIL": ("pillow", "calibrate"),
    "art": ("adversarial-robustness-toolbox", "calibrate"),
    "h11": ("h11", "serve"),
    "joblib": ("joblib", "calibrate"),
    "msgspec": ("msgspec", "serve"),
    "onnx": ("onnx", "onnx"),
    "onnxruntime": ("onnxruntime", "runtime"),
    "onnxscript": ("onnxscript", "onnx"),
    "packaging": ("packaging", "calibrate"),
    "prometheus_client": ("prometheus-client", "serve"),
    "scipy": ("scipy", "calibrate"),
    "sklearn": ("scikit-learn", "calibrate"),
    "starlette": ("starlette", "serve"),
    "torch": ("torch", "calibrate"),
    "uvicorn": ("uvicorn", "serve"),
}
"""Import name to distribution, and to the extra that brings it."""


def __getattr__(name: str) -> Any:
    if name == "__version__":
        value: Any = _version()
    elif name in _HOMES:
        value = _loaded(name)
    else:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


def _loaded(name: str) -> Any:
    try:
        return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
    except ModuleNotFoundError as error:
        absent = _missing_extra(error, f"ce_detect.{name}")
        if absent is None:
            raise
        raise absent from error


def _missing_extra(error: ModuleNotFoundError, purpose: str) -> MissingExtraError | None:
    """What to tell the user, where the module that was not found is one that an extra brings."""
    package, extra = _BROUGHT.get((error.name or "").partition(".")[0], (None, ""))
    return None if package is None else MissingExtraError(package, extra, purpose)


def _version() -> str:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("ce-detect")
    except PackageNotFoundError:  # a source checkout that is on the path but not installed
        return "0+unknown"
