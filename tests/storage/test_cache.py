"""One cache for all that is costly to make: named after what it depends on, whole or not there, told when damaged."""

from __future__ import annotations

import errno
import logging
import os
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save

from ce_detect.core.errors import CalibrationError
from ce_detect.storage import atomic
from ce_detect.storage.cache import Arrays, Cache, Shapes, digest

ARRAYS = {"x": np.arange(6, dtype=np.float32).reshape(2, 3), "cost": np.array(1.5)}
SHAPES: Shapes = {"x": (None, 3), "cost": ()}


@pytest.fixture
def cache(tmp_path: Path) -> Cache:
    """An empty cache."""
    return Cache(tmp_path / "cache", "numbers", content="numbers")


def fill_the_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make every write fail."""

    def full(path: Path, content: bytes) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(atomic, "write", full)


# --- keys


def test_equal_descriptions_have_one_key() -> None:
    """The order of names and the layout of arrays in memory do not count."""
    x = np.arange(6, dtype=np.float32).reshape(2, 3)
    key = digest(seed=1, parts={"a": x, "b": [x, None]})
    assert key == digest(parts={"b": (np.asfortranarray(x), None), "a": x.copy()}, seed=1)
    assert len(key) == 64


def test_whatever_differs_changes_the_key() -> None:
    """Values, names, shapes and types of arrays, and where one part ends and the next begins."""
    x = np.zeros(4, np.float32)
    keys = [
        digest(x=x), digest(y=x), digest(x=x + 1), digest(x=x.reshape(2, 2)), digest(x=x.view(np.int32)),
        digest(x=[x]), digest(x=x.tolist()), digest(x="ab", y="c"), digest(x="a", y="bc"), digest(x=None), digest(),
    ]  # fmt: skip
    assert len(set(keys)) == len(keys)


def test_key_of_an_object_is_refused() -> None:
    """What an object prints may change while it means the same, or stay while it does not."""
    with pytest.raises(TypeError, match="plain data and arrays, not of a PosixPath"):
        digest(where=Path())


# --- files


@pytest.mark.parametrize("place", [-1, -20, 0])
def test_a_damaged_byte_of_the_numbers_is_noticed(cache: Cache, place: int, caplog: pytest.LogCaptureFixture) -> None:
    """Names and shapes are as they should be, and yet not one number of such a file is used."""
    cache.write("a", ARRAYS)
    content = bytearray(cache.path("a").read_bytes())
    start = 8 + int.from_bytes(content[:8], "little")
    content[start if place == 0 else place] ^= 1
    cache.path("a").write_bytes(content)
    assert not cache.holds("a", SHAPES)
    assert "checksum does not match" in caplog.text
    made = cache.get("a", SHAPES, lambda: {**ARRAYS, "cost": np.array(2.5)})
    assert made["cost"] == 2.5
    again = cache.read("a", SHAPES)
    assert again is not None
    assert again["cost"] == 2.5


def test_files_of_before_have_no_checksum(cache: Cache) -> None:
    """They are read as they were."""
    cache.folder.mkdir(parents=True)
    cache.path("a").write_bytes(save(dict(ARRAYS)))
    assert cache.holds("a", SHAPES)


def test_arrays_come_back(cache: Cache) -> None:
    """Values, shapes and types are kept, in one file for each key."""
    assert cache.read("a", SHAPES) is None
    assert not cache.holds("a", SHAPES)
    cache.write("a", ARRAYS)
    found = cache.read("a", SHAPES)
    assert found is not None
    assert found.keys() == ARRAYS.keys()
    for name, value in ARRAYS.items():
        np.testing.assert_array_equal(found[name], value)
        assert found[name].dtype == value.dtype
    assert list(cache.folder.iterdir()) == [cache.path("a")]
    assert cache.read("b", SHAPES) is None


def test_views_are_kept_as_they_look(cache: Cache) -> None:
    """An array that is not one piece of memory is stored by its values."""
    x = np.arange(24, dtype=np.float32).reshape(4, 6)
    cache.write("a", {"x": x[::2, ::3].T})
    found = cache.read("a", {"x": (2, 2)})
    assert found is not None
    np.testing.assert_array_equal(found["x"], x[::2, ::3].T)


def test_what_is_there_is_not_made_again(cache: Cache) -> None:
    """The second call returns what the first one made."""
    made: list[str] = []

    def make() -> Arrays:
        made.append("made")
        return ARRAYS

    for _ in range(2):
        found = cache.get("a", SHAPES, make)
        np.testing.assert_array_equal(found["x"], ARRAYS["x"])
    assert made == ["made"]


@pytest.mark.parametrize("damage", ["truncated", "emptied", "foreign", "another name", "one more", "another shape"])
def test_damaged_file_is_told_and_made_again(cache: Cache, caplog: pytest.LogCaptureFixture, damage: str) -> None:
    """A file that is not what it should be counts as missing; the log names it, and what it was to hold."""
    cache.write("a", ARRAYS)
    path = cache.path("a")
    whole = path.read_bytes()
    path.write_bytes({
        "truncated": whole[:-4],
        "emptied": b"",
        "foreign": b"something else entirely",
        "another name": save({"y": ARRAYS["x"], "cost": ARRAYS["cost"]}),
        "one more": save({**ARRAYS, "y": np.zeros(1)}),
        "another shape": save({**ARRAYS, "x": np.zeros((2, 4))}),
    }[damage])  # fmt: skip
    with caplog.at_level(logging.WARNING):
        assert not cache.holds("a", SHAPES)
    assert f"numbers in {path} cannot be read" in caplog.text
    assert cache.read("a", SHAPES) is None
    np.testing.assert_array_equal(cache.get("a", SHAPES, lambda: ARRAYS)["x"], ARRAYS["x"])
    assert path.read_bytes() == whole


def test_failed_write_is_the_callers(cache: Cache, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only the caller knows whether the work is lost for it."""
    fill_the_disk(monkeypatch)
    with pytest.raises(OSError, match="No space left"):
        cache.write("a", ARRAYS)


def test_what_cannot_be_kept_names_the_folder(cache: Cache, monkeypatch: pytest.MonkeyPatch) -> None:
    """The error says what, where and what to do; what failed while it was made passes through."""

    def failing() -> Arrays:
        raise FileNotFoundError("no data")

    with pytest.raises(FileNotFoundError, match="no data"):
        cache.get("a", SHAPES, failing)
    fill_the_disk(monkeypatch)
    with pytest.raises(CalibrationError, match=rf"cannot keep numbers in {cache.folder}: .*No space.*CE_DETECT_CACHE"):
        cache.get("a", SHAPES, lambda: ARRAYS)


def test_file_in_the_way_of_the_folder(tmp_path: Path) -> None:
    """Nothing is found there, and nothing can be kept."""
    (tmp_path / "file").write_text("in the way")
    cache = Cache(tmp_path / "file", "numbers", content="numbers")
    assert cache.read("a", SHAPES) is None
    with pytest.raises(CalibrationError, match="cannot keep numbers"):
        cache.get("a", SHAPES, lambda: ARRAYS)
