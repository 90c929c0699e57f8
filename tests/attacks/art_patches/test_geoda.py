"""The basis of GeoDA's noise."""

from __future__ import annotations

import numpy as np

from ce_detect.attacks.art_patches.geoda import cosines


def test_cosines_are_orthonormal() -> None:
    """The basis of GeoDA's noise, for images that are not square; constant first."""
    basis = cosines(4, 10, 17)
    assert basis.shape == (170, 16)
    np.testing.assert_allclose(basis.T @ basis, np.eye(16), atol=1e-5)
    np.testing.assert_allclose(basis[:, 0], 1 / np.sqrt(170), atol=1e-6)
