"""What is said where a package is absent, or too old."""

from __future__ import annotations

from importlib.metadata import version

import pytest

from ce_detect.core import extras
from ce_detect.core.errors import MissingExtraError


def test_an_absent_package_names_the_extra_that_brings_it() -> None:
    """And how to install it."""
    told = extras.missing(ModuleNotFoundError(name="redis"), "Sharing")
    assert str(told).startswith("Sharing needs the package 'redis', which is not installed.")
    assert "pip install 'ce-detect[redis]'" in str(told)


def test_a_package_that_lacks_a_part_is_too_old() -> None:
    """It is installed, so installing the extra would change nothing: seen with an old onnxscript behind a new torch."""
    pytest.importorskip("onnxscript")
    with pytest.raises(MissingExtraError) as told, extras.needed_for("Export"):
        raise ModuleNotFoundError(name="onnxscript._framework_apis.torch_99")
    assert f"needs a newer package 'onnxscript'; version {version('onnxscript')} is installed" in str(told.value)
    assert "pip install --upgrade onnxscript" in str(told.value)


def test_what_is_no_dependency_is_none_of_ours() -> None:
    """The error stays as it was."""
    assert extras.missing(ModuleNotFoundError(name="their_own"), "This") is None
