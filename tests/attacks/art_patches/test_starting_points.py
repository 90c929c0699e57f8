"""Where decision-based attacks start."""

from __future__ import annotations

import numpy as np

from ce_detect.attacks.art_patches import starting_points
from ce_detect.core.types import Floats, Index


class Fogged:
    """An estimator that takes everything but darkness, and so all noise, for class 0."""

    clip_values = (0.0, 1.0)

    def labels(self, x: Floats) -> Index:
        """Return decisions ``(batch,)``."""
        return (x.mean((1, 2, 3)) < 0.1).astype(np.int64)


def test_decision_based_attacks_start_from_other_images_where_noise_fails() -> None:
    """Noise where it fools the classifier, the nearest image of another class where it does not and may be used."""
    x = np.stack([np.full((1, 4, 4), value, np.float32) for value in (0.6, 0.0, 0.05)])
    before = Fogged().labels(x)
    assert before.tolist() == [0, 1, 1]
    starts, found = starting_points.find(Fogged(), x, before, None, trials=3, others=True)
    assert found.all()
    np.testing.assert_array_equal(starts[0], x[2])
    assert Fogged().labels(starts).tolist() == [1, 0, 0]
    _, found = starting_points.find(Fogged(), x, before, None, trials=3, others=False)
    assert found.tolist() == [False, True, True]
    aimed, found = starting_points.find(Fogged(), x, before, np.array([1, 1, 0]), trials=3, others=False)
    assert found.all()
    np.testing.assert_array_equal(aimed[:2], x[[2, 1]])
