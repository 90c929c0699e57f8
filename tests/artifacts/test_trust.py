"""Which file is the right one."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from ce_detect.artifacts import trust
from ce_detect.core.errors import ArtifactError, UsageError

PATH = Path("guard.onnx")


def test_a_pin() -> None:
    """The bytes must be those of the pin; without one any will do, and nobody vouches for them."""
    pin = hashlib.sha256(b"content").hexdigest()
    assert trust.check(b"content", PATH, sha256=pin)
    assert trust.check(b"content", PATH, sha256=f" sha256:{pin.upper()}\n")
    assert not trust.check(b"content", PATH)
    with pytest.raises(ArtifactError, match=rf"guard\.onnx has SHA-256 .*, expected {pin}: it is another file"):
        trust.check(b"other", PATH, sha256=pin)


@pytest.mark.parametrize("pin", ["", "abc", "g" * 64, "0" * 63])
def test_a_pin_that_is_none(pin: str) -> None:
    """It is no reason to take any file."""
    with pytest.raises(UsageError, match="expected the 64 hexadecimal digits"):
        trust.check(b"content", PATH, sha256=pin)
