"""Query attacks as they arrive at a server: every input in the order in which it was sent, with its label."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.face import Floats, fashion_cnn

Stream = tuple[Floats, NDArray[np.int64]]
"""Inputs ``(queries, ...)`` and labels ``(queries,)``."""


class EnoughError(Exception):
    """The attacker has sent as many queries as are looked at."""


class Recorder:
    """The classifier behind a server, that writes down what it is asked.

    Args:
        most: queries after which the attack is stopped.
    """

    def __init__(self, most: int) -> None:
        self._model, self._most = fashion_cnn().eval(), most
        self.asked: list[Floats] = []
        self.answered: list[int] = []

    def probabilities(self, x: Any) -> Floats:
        """Answer, one input at a time as a server sees them."""
        x = np.asarray(x, np.float32)
        if len(self.asked) + len(x) > self._most:
            raise EnoughError
        with torch.inference_mode():
            found = np.asarray(self._model(torch.from_numpy(x)).softmax(1).numpy())
        self.asked.extend(x)
        self.answered.extend(found.argmax(1).tolist())
        return found

    @property
    def stream(self) -> Stream:
        """All that was asked."""
        return np.stack(self.asked), np.array(self.answered)


def recorded(name: str, image: Floats, label: int, most: int) -> Stream:
    """One attack on one image ``(1, channels, height, width)``."""
    from art.estimators.classification import BlackBoxClassifierNeuralNetwork

    recorder = Recorder(most)
    art = BlackBoxClassifierNeuralNetwork(
        recorder.probabilities, input_shape=image.shape[1:], nb_classes=10, clip_values=(0.0, 1.0), channels_first=True
    )
    try:
        ATTACKS[name](art).generate(image, y=np.eye(10, dtype=np.float32)[[label]])
    except EnoughError:
        return recorder.stream
    return recorder.stream


def _square(art: Any) -> Any:
    from art.attacks.evasion import SquareAttack

    return SquareAttack(art, eps=8 / 255, max_iter=2000, nb_restarts=1, verbose=False)


def _hopskipjump(art: Any) -> Any:
    from art.attacks.evasion import HopSkipJump

    return HopSkipJump(art, max_iter=20, max_eval=1000, init_eval=100, verbose=False)


def _boundary(art: Any) -> Any:
    from art.attacks.evasion import BoundaryAttack

    return BoundaryAttack(art, targeted=False, max_iter=500, verbose=False)


def _simba(art: Any) -> Any:
    from art.attacks.evasion import SimBA

    return SimBA(art, max_iter=2000, epsilon=0.2, attack="px", verbose=False)


ATTACKS: dict[str, Callable[[Any], Any]] = {
    "square": _square, "hopskipjump": _hopskipjump, "boundary": _boundary, "simba": _simba,
}  # fmt: skip
"""Attacks by name; each takes a classifier of ART's and has ``generate``."""
