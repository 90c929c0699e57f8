"""The Boundary attack, from starting points that the seed decides."""

from __future__ import annotations

from art.attacks import evasion

from ce_detect.attacks.art_patches import starting_points
from ce_detect.core.types import Floats


class BoundaryAttack(evasion.BoundaryAttack):  # type: ignore[misc]
    """Starts as for `HopSkipJump`, and from other images where noise always gets the label of the image."""

    def generate(self, x: Floats, y: Floats | None = None) -> Floats:
        """Return attacked images; ``y`` are target classes, one-hot."""
        return starting_points.attacked_from(self, super().generate, x, y, others=True)
