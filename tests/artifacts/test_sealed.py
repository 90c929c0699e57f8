"""Sealed files of any kind."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save

from ce_detect.artifacts import sealed
from ce_detect.core.errors import ArtifactError

KIND = sealed.Kind("ce_detect", 4, (3,), "calibrate again")


def test_what_was_written_is_read() -> None:
    """In the order of names, whatever the layout in memory; equal content gives equal bytes."""
    tensors = {"b": np.arange(6, dtype=np.float32).reshape(2, 3).T, "a": np.zeros((), np.int64)}
    content = KIND.content({"one": [1, "x"]}, tensors)
    assert content == KIND.content({"one": [1, "x"]}, dict(reversed(tensors.items())))
    version, manifest, read = KIND.read(content, "file")
    assert (version, manifest, list(read)) == (4, {"one": [1, "x"]}, ["a", "b"])
    np.testing.assert_array_equal(read["b"], tensors["b"])


def test_every_byte_counts() -> None:
    """Of the manifest and of the tensors."""
    content = KIND.content({"one": 1}, {"a": np.arange(4, dtype=np.float32)})
    for place in range(8, len(content)):
        with pytest.raises(ArtifactError):
            KIND.read(content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :], "file")


def test_kinds_are_told_apart() -> None:
    """A file of the other kind, and one of nobody's."""
    other = sealed.Kind("ce_detect.counterfactual", 1, (), "train it again")
    with pytest.raises(ArtifactError, match="x is no counterfactual that ce-detect wrote, but a detector"):
        other.read(KIND.content({}, {}), "x")
    with pytest.raises(ArtifactError, match=r"x is no detector that ce-detect wrote \(no 'ce_detect'"):
        KIND.read(save({}), "x")


def test_formats_that_are_read() -> None:
    """The present one and those before it; an error says which."""
    old = sealed.Kind("ce_detect", 3, (), "calibrate again").content({}, {})
    assert KIND.read(old, "x")[0] == 3
    new = sealed.Kind("ce_detect", 5, (), "calibrate again").content({}, {})
    with pytest.raises(
        ArtifactError, match=r"format 5, .* reads format 4, and 3 of the versions before; .*calibrate again"
    ):
        KIND.read(new, "x")


def test_what_cannot_be_written_is_told(tmp_path: Path) -> None:
    """And what was there stays."""
    with pytest.raises(ArtifactError, match=r"cannot write .*The file that was there is untouched"):
        sealed.write(tmp_path / "nowhere" / "x", b"")
