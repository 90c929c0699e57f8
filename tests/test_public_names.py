"""What ``import ce_detect`` offers, and what it costs."""

from __future__ import annotations

import subprocess
import sys

import pytest

import ce_detect
from ce_detect.core.errors import CeDetectError

HEAVY = ("torch", "numpy", "sklearn", "scipy", "art")


def python(source: str) -> subprocess.CompletedProcess[str]:
    """Run source in a process of its own, where nothing is imported yet."""
    return subprocess.run([sys.executable, "-c", source], capture_output=True, text=True, check=False)


def test_public_names() -> None:
    """These names are the interface, and no others."""
    # fmt: off
    assert set(ce_detect.__all__) == {
        "__version__", "DetectedModel", "GateResult", "Flag", "Abstain", "FallBack",
        "CalibrationSettings", "Recipe", "Resizing", "Attack", "Normalized", "load_model", "load_data",
        "CeDetectError", "InputError", "ModelError", "ModelMismatchError", "CalibrationError", "TooFewSamplesError",
        "NotCalibratedError", "ArtifactError", "ExportError", "UsageError", "AbstainedError", "MissingExtraError",
    }
    # fmt: on
    assert len(ce_detect.__all__) <= 25


@pytest.mark.parametrize("name", ce_detect.__all__)
def test_every_public_name_is_there(name: str) -> None:
    """A name that is promised can be had, and is listed before it is used."""
    assert getattr(ce_detect, name) is not None
    assert name in dir(ce_detect)


def test_import_is_light() -> None:
    """Importing the package and its errors imports none of the heavy packages."""
    loaded = python(f"import sys, ce_detect; print([name for name in {HEAVY} if name in sys.modules])")
    assert loaded.stdout.strip() == "[]", loaded.stderr


def test_unknown_name_is_an_attribute_error() -> None:
    """A misspelt name fails as in any module."""
    with pytest.raises(AttributeError, match="'DetectModel'"):
        ce_detect.DetectModel  # noqa: B018


@pytest.mark.parametrize(
    ("module", "name", "package"),
    [
        ("torch", "load_model", "torch"),
        ("torch", "DetectedModel", "torch"),
        ("sklearn", "DetectedModel", "scikit-learn"),
    ],
)
def test_absent_package_names_its_extra(module: str, name: str, package: str) -> None:
    """A name whose package is not installed says which package, and which extra brings it."""
    source = (
        f"import sys; sys.modules[{module!r}] = None\n"
        "import ce_detect\n"
        f"try: ce_detect.{name}\n"
        "except ce_detect.MissingExtraError as error: print(error.package, error.extra, error)"
    )
    told = python(source)
    assert told.stdout.startswith(f"{package} calibrate"), told.stderr
    assert "pip install 'ce-detect[calibrate]'" in told.stdout


def test_data_and_recipes_load_without_the_extra() -> None:
    """Images, recipes and attacks can be read where only the light core is installed."""
    source = (
        "import sys; sys.modules.update(dict.fromkeys(('torch', 'sklearn', 'scipy', 'art')))\n"
        "import ce_detect\n"
        "images, recipe = ce_detect.load_data('demo', limit=3), ce_detect.Recipe.load('quick')\n"
        "print(len(images), recipe.name, ce_detect.Attack.of('pgd').kind == 'pgd')"
    )
    told = python(source)
    assert told.stdout.split() == ["3", "quick", "True"], told.stderr


def test_errors_are_one_tree() -> None:
    """Whoever catches the root catches every error of the package."""
    errors = [getattr(ce_detect, name) for name in ce_detect.__all__ if name.endswith("Error")]
    assert all(issubclass(error, CeDetectError) for error in errors)
