"""Which images are the same, and splits that keep equal images on one side."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.strategies import images_with_twins

from ce_detect.core.types import Floats
from ce_detect.data import Mapped, splits
from ce_detect.data.splits import distinct, fingerprint, identities, near_copies, sizes, split_by_identity

FLOATS = np.random.default_rng(0).uniform(size=(23, 3, 4, 5)).astype(np.float32)

FRACTIONS = {"fit": 0.4, "select": 0.15, "calibrate": 0.3, "test": 0.15}


@given(images_with_twins(), st.integers(0, 5), st.sampled_from([FRACTIONS, {"a": 0.5, "b": 0.5}, {"all": 1.0}]))
def test_splits_keep_equal_images_together(x: Floats, seed: int, fractions: dict[str, float]) -> None:
    """Every image is in exactly one split, equal images are in the same one, and the seed decides which."""
    parts = split_by_identity(x, fractions, seed)
    assert list(parts) == list(fractions)
    everyone = np.concatenate(list(parts.values()))
    assert sorted(everyone) == list(range(len(x)))
    where = np.empty(len(x), dtype=object)
    for name, index in parts.items():
        assert (np.diff(index) > 0).all()
        where[index] = name
    for i in range(len(x)):
        for j in range(i):
            if (x[i] == x[j]).all():
                assert where[i] == where[j]
    again = split_by_identity(x.copy(), fractions, seed)
    assert all(np.array_equal(parts[name], again[name]) for name in parts)


def test_splits_have_the_shares_they_should() -> None:
    """Shares are of distinct images, in no order, and another seed gives others."""
    x = np.random.default_rng(0).uniform(size=(200, 1, 2, 2)).astype(np.float32)
    parts = split_by_identity(x, FRACTIONS, 0)
    assert [len(part) for part in parts.values()] == [80, 30, 60, 30]
    assert sizes(200, FRACTIONS) == {"fit": 80, "select": 30, "calibrate": 60, "test": 30}
    assert parts["fit"].max() > 150
    assert not np.array_equal(parts["fit"], split_by_identity(x, FRACTIONS, 1)["fit"])


def test_identity_does_not_depend_on_where_images_are() -> None:
    """Identities, splits, copies and the fingerprint are those of the array, and plain zero equals minus zero."""
    x = np.concatenate([FLOATS, FLOATS[5:9], np.zeros((1, 3, 4, 5), np.float32), -np.zeros((1, 3, 4, 5), np.float32)])
    lazy = Mapped(x, lambda part: part)
    assert np.array_equal(identities(x), identities(lazy))
    assert distinct(lazy).tolist() == [*range(23), 27]
    assert fingerprint(lazy) == fingerprint(x)
    parts, again = (split_by_identity(y, {"a": 0.5, "b": 0.5}, 3) for y in (x, lazy))
    assert all(np.array_equal(parts[name], again[name]) for name in parts)


@given(st.integers(3, 40), st.sampled_from([(0.0, 1.0), (-2.0, 3.0), (0.0, 255.0)]))
def test_near_copies_are_images_with_small_changes(side: int, bounds: tuple[float, float]) -> None:
    """A change of 8/255 of the range joins an image to its group; other images are groups of their own."""
    low, high = bounds
    draw = np.random.default_rng(side)
    flat = draw.permutation(np.linspace(0.1, 0.9, 12))[:, None, None, None]
    some = (flat * np.ones((1, 3, side, side))).astype(np.float32)
    both = np.concatenate([some, some + draw.choice([-8 / 255, 8 / 255], some.shape)]).astype(np.float32)
    found = near_copies(low + (high - low) * both, bounds)
    assert len(set(found[:12])) == 12
    if side >= 24:  # then a part has several pixels, whose changes have a small mean
        assert (found[:12] == found[12:]).all()


def test_near_copies_compared_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """A chain of images, each like the next one only, is one group, however many are compared at a time."""
    steps = np.random.default_rng(0).permutation(40)
    chain = (0.02 * steps[:, None, None, None] * np.ones((1, 1, 8, 8))).astype(np.float32)
    both = np.concatenate([chain, chain + 5])
    for at_a_time in (1, 7, 200):
        monkeypatch.setattr(splits, "_ROWS", at_a_time)
        found = near_copies(both, (0.0, 1.0))
        assert set(found[:40]) == {found[0]} != set(found[40:]) == {found[40]}
