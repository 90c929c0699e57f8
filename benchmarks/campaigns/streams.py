"""Streams of scores with attacks, bursts or drift in them, drawn from real scores.

The real scores are all inputs that there are: calibrations and streams are drawn from them alike, with replacement, so
that clean inputs are like those of the calibration, which is what every test assumes.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.face import Reference, conformal

FPR = 0.01
KINDS = ("clean", "natural", "darker", "attacked")
BURST = 100
"""Inputs of a burst, of which half are attacked."""


@dataclass(frozen=True)
class Pools:
    """Real scores of one gate.

    Attributes:
        clean: of images that nobody changed.
        natural: of the same under natural change.
        darker: of the same under an ageing lamp.
        attacked: of successful attacks.
        threshold: the gate's own.
    """

    clean: NDArray[np.float32]
    natural: NDArray[np.float32]
    darker: NDArray[np.float32]
    attacked: NDArray[np.float32]
    threshold: float

    @classmethod
    def read(cls, path: Path) -> Pools:
        """From the file that `scores` wrote."""
        with np.load(path) as kept:
            scores = (kept[name] for name in KINDS)
            return cls(*scores, float(kept["threshold"]))

    def counts(self) -> list[dict[str, Any]]:
        """How many scores there are of each kind, and which share of them the gate itself flags."""
        of_kind = {name: getattr(self, name) for name in KINDS}
        return [
            {"scores of": name, "number": len(scores), "flagged": round(float((scores > self.threshold).mean()), 4)}
            for name, scores in of_kind.items()
        ]


class Traffic:
    """What one calibration makes of inputs to come; all is drawn from the pools, with replacement.

    Args:
        pools: real scores.
        n: clean scores of the calibration.
        seed: of all that is drawn.

    Attributes:
        clean: the calibration's scores, ascending.
        threshold: as calibration sets it, from plain images and from a mixture with natural change.
        flagged: clean scores above the rank that was asked for.
        rate: of flags that the calibration's own clean scores let one expect.
    """

    def __init__(self, pools: Pools, n: int, seed: int) -> None:
        self._pools, self.random = pools, np.random.default_rng(seed)
        self.clean = np.sort(self.random.choice(pools.clean, n))
        mixed = np.where(self.random.random(n) < 0.5, self.random.choice(pools.natural, n), self.clean)
        self.threshold = max(conformal.threshold(scores, FPR) for scores in (self.clean, mixed))
        self.flagged = n - conformal.rank(n, FPR)
        self.rate = (np.count_nonzero(self.clean > self.threshold) + 1) / (n + 1)
        self.reference = Reference.of_scores(n, self.flagged, promise=FPR)

    def scores(
        self, count: int, *, attacked: float = 0.0, bursts: bool = False, pool: str = "clean", share: float = 1.0
    ) -> NDArray[np.float32]:
        """Scores of a stream.

        Args:
            count: inputs.
            attacked: share that is attacked.
            bursts: whether these come together.
            pool: what the others are.
            share: of that pool; the rest is clean.
        """
        scores = self.random.choice(self._pools.clean, count)
        other = self.random.random(count) < share
        scores[other] = self.random.choice(getattr(self._pools, pool), int(other.sum()))
        where = self._bursts(count, attacked) if bursts else self.random.random(count) < attacked
        scores[where] = self.random.choice(self._pools.attacked, int(where.sum()))
        return scores

    def judged(self, scores: NDArray[np.float32]) -> tuple[NDArray[np.bool_], NDArray[np.float64]]:
        """Verdicts and p-values."""
        return scores > self.threshold, conformal.p_values(self.clean, scores)

    def _bursts(self, count: int, attacked: float) -> NDArray[np.bool_]:
        every = max(BURST, round(BURST / 2 / max(attacked, 1e-9)))
        within = (np.arange(count) + int(self.random.integers(every))) % every < BURST
        return np.asarray(within & (self.random.random(count) < 0.5))


def parts(count: int, size: int = 100_000) -> Iterator[int]:
    """Sizes of the parts of a long stream."""
    while count > 0:
        yield min(size, count)
        count -= size
