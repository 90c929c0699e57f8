"""The Square attack, on images of any shape."""

from __future__ import annotations

from art.attacks import evasion


class SquareAttack(evasion.SquareAttack):  # type: ignore[misc]
    """Takes images that are not square: the first squares that ART draws do not fit into them."""

    def _get_percentage_of_elements(self, i_iter: int) -> float:
        height, width = self.estimator.input_shape[1:]
        largest = (min(height, width) - 1) ** 2 / (height * width)
        return float(min(super()._get_percentage_of_elements(i_iter), largest))
