"""OARS: an attacker who sees which queries are taken for near-copies, and takes larger steps until none is.

After Feng, Hooda, Mangaokar, Fawaz, Jha, Prakash 2023 (Stateful defenses for machine learning models are not yet secure
against black-box attacks, CCS 2023): the estimation of gradients (NES) and the steps draw again from a wider
distribution wherever the defence refuses. He rehearses against a detector of his own, which has another salt, and
begins with the widths that he found there. Here the attacker is told at once and for free whether an input has a near
neighbour, which is more than a server tells.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from benchmarks.face import Floats, QueryDetector
from benchmarks.queries.attacks import EnoughError, Recorder, Stream

EPS = 16 / 255
PROBES = 10
"""Pairs of probes for one gradient."""

WIDER, WIDEST = 1.3, 0.5
NARROW = (0.01, 2 / 255)
"""Widths of who knows of no defence."""


class Adaptive:
    """One attack.

    Args:
        most: queries.
        defence: tells near-copies; None for an attacker whom nobody refuses.
        seed: of all that is drawn.
        widths: smallest ones of probes and of steps.
    """

    def __init__(
        self, most: int, defence: QueryDetector | None, seed: int, widths: tuple[float, float] = NARROW
    ) -> None:
        self._recorder, self._defence = Recorder(most), defence
        self._random = np.random.default_rng(seed)
        self._widths = widths
        self._width, self._step = widths

    @property
    def widths(self) -> tuple[float, float]:
        """Those of probes and of steps that the defence has taught."""
        return self._width, self._step

    def attack(self, image: Floats, label: int) -> tuple[Stream, bool]:
        """Attack an image ``(channels, height, width)``: all queries, and whether the label changed within `EPS`."""
        x, done = image, False
        try:
            while not done:
                gradient = self._gradient(x, label)
                moved, found = self._moved(x, image, gradient)
                x, done = moved, int(found.argmax()) != label
        except EnoughError:
            done = False
        return self._recorder.stream, done

    def _gradient(self, x: Floats, label: int) -> Floats:
        total = np.zeros_like(x)
        for _ in range(PROBES):
            direction = self._random.normal(size=x.shape).astype(np.float32)
            ahead = self._asked(lambda width, d=direction: np.clip(x + width * d, 0, 1))
            behind = self._asked(lambda width, d=direction: np.clip(x - width * d, 0, 1))
            total += direction * (np.log(ahead[label] + 1e-9) - np.log(behind[label] + 1e-9))
        return total

    def _asked(self, make: Callable[[float], Floats]) -> Floats:
        """An answer to a probe that is no near-copy, as narrow as may be."""
        while True:
            probe = make(self._width).astype(np.float32)
            refused = self._refused(probe)
            answer = self._recorder.probabilities(probe[None])[0]
            if not refused or self._width >= WIDEST:
                self._width = max(self._widths[0], self._width / 1.02)
                return np.asarray(answer)
            self._width *= WIDER

    def _moved(self, x: Floats, image: Floats, gradient: Floats) -> tuple[Floats, Floats]:
        """A step against the gradient that is no near-copy, as short as may be."""
        while True:
            moved = np.clip(x - self._step * np.sign(gradient), image - EPS, image + EPS).clip(0, 1).astype(np.float32)
            refused = self._refused(moved)
            answer = self._recorder.probabilities(moved[None])[0]
            if not refused or self._step >= EPS:
                return moved, np.asarray(answer)
            self._step *= WIDER

    def _refused(self, x: Floats) -> bool:
        if self._defence is None:
            return False
        return bool(self._defence.near(x[None], 0)[0])
