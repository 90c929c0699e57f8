"""HopSkipJump, from starting points that the seed decides."""

from __future__ import annotations

from art.attacks import evasion

from ce_detect.attacks.art_patches import starting_points
from ce_detect.core.types import Floats


class HopSkipJump(evasion.HopSkipJump):  # type: ignore[misc]
    """Starts are drawn from the seeded generator; ART takes them from the operating system, different every time."""

    def generate(self, x: Floats, y: Floats | None = None) -> Floats:
        """Return attacked images; ``y`` are target classes, one-hot."""
        return starting_points.attacked_from(self, super().generate, x, y, others=False)
