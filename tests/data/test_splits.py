"""Which images are the same."""

from __future__ import annotations

import numpy as np

from ce_detect.data import Mapped
from ce_detect.data.splits import distinct, fingerprint, identities, split_by_identity

FLOATS = np.random.default_rng(0).uniform(size=(23, 3, 4, 5)).astype(np.float32)


def test_identity_does_not_depend_on_where_images_are() -> None:
    """Identities, splits, copies and the fingerprint are those of the array, and plain zero equals minus zero."""
    x = np.concatenate([FLOATS, FLOATS[5:9], np.zeros((1, 3, 4, 5), np.float32), -np.zeros((1, 3, 4, 5), np.float32)])
    lazy = Mapped(x, lambda part: part)
    assert np.array_equal(identities(x), identities(lazy))
    assert distinct(lazy).tolist() == [*range(23), 27]
    assert fingerprint(lazy) == fingerprint(x)
    parts, again = (split_by_identity(y, {"a": 0.5, "b": 0.5}, 3) for y in (x, lazy))
    assert all(np.array_equal(parts[name], again[name]) for name in parts)
