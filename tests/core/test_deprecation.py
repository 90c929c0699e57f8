"""Names on their way out."""

from __future__ import annotations

import warnings

import pytest
from packaging.version import Version

import ce_detect
from ce_detect.core import deprecation
from ce_detect.core.version import VERSION


def old() -> int:
    """A function that was renamed."""
    deprecation.warn("old()", "new()", gone_in="9.9")
    return 1


def test_a_deprecated_name_works_and_says_what_takes_its_place() -> None:
    """The warning points at the user's line, not at ours."""
    with pytest.warns(DeprecationWarning, match=r"old\(\) will be gone in ce-detect 9.9; use new\(\)") as told:
        assert old() == 1
    assert told[0].filename == __file__


@pytest.mark.parametrize("name", ce_detect._MOVED)
def test_a_moved_public_name_is_the_same_thing(name: str) -> None:
    """It warns each time, is not in the list of public names, and is to go in a release that is not out."""
    moved = ce_detect._MOVED[name]
    for _ in range(2):
        with pytest.warns(DeprecationWarning, match=f"ce_detect.{name} will be gone in ce-detect") as told:
            found = getattr(ce_detect, name)
        assert told[0].filename == __file__
    module = __import__(f"ce_detect.{moved.module}", fromlist=[name])
    assert found is getattr(module, name)
    assert name not in ce_detect.__all__
    assert Version(moved.gone_in) > Version(VERSION)


def test_public_names_do_not_warn() -> None:
    """Those that stay."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert [getattr(ce_detect, name) for name in ce_detect.__all__]
