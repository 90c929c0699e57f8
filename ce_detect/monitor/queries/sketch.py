"""Sketches and fingerprints: what is kept of an input, from which nobody gets it back without the salt.

A sketch is a sparse random projection of some pixels, drawn with the salt: inputs that differ little have sketches that
differ little (Achlioptas 2003). A fingerprint is a set of keyed hashes of parts of the sketch that are quantised first,
as Blacklight quantises segments of pixels (Li et al., USENIX Security 2022) and Datar et al. (2004) hash for
neighbours: near-copies share most of them, other images share none. Segments of neighbouring pixels, as Blacklight has
them, cost a hash a pixel; a projection costs one of 4,096 pixels, whatever the size of the image. What tells exact
copies from near ones looks at all pixels: whoever changes one of those that are not drawn sends no copy.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ce_detect.core.errors import InputError
from ce_detect.core.types import Bounds, Floats

NUMBERS = 256
"""Of a sketch."""

KEYS = 16
"""Hashes of a fingerprint."""

_PIXELS, _TOGETHER = 4096, 8

_PRIMES = [number for number in range(400, 1000) if all(number % factor for factor in range(2, 32))]


@dataclass(frozen=True)
class Sketcher:
    """Makes sketches and fingerprints with one salt.

    Attributes:
        salt: secret; whoever knows it can make inputs that collide or do not.
        values: of one input, channels times height times width.
        bounds: smallest and largest value of a pixel.
        radius: root mean square difference of pixels, as a share of the bounds, at which near-copies begin to be told
            from others.
    """

    salt: bytes
    values: int
    bounds: Bounds
    radius: float

    def sketches(self, x: NDArray[Any]) -> Floats:
        """Project inputs.

        Args:
            x: ``(batch, ...)``, as the gate takes them.

        Returns:
            ``(batch, NUMBERS)``.

        Raises:
            InputError: inputs of another size.
        """
        values = math.prod(x.shape[1:])
        if values != self.values:
            raise InputError(f"inputs of {values} values, expected {self.values} as in the first")
        flat = x.reshape(len(x), values)
        places, weights, shift = self._drawn
        taken = flat[:, places].astype(np.float32, copy=False)
        taken *= weights
        return np.asarray(taken.reshape(len(x), _PIXELS // NUMBERS, NUMBERS).sum(1) - shift)

    def sums(self, x: NDArray[Any]) -> NDArray[np.uint64]:
        """Sums of all bytes of each input, eight at a time, by odd weights: what differs in one place has another sum.

        As many weights would take twice as long. So words that lie apart by multiples of a secret prime are added,
        and two changes that make up for each other are not known without it.

        Args:
            x: ``(batch, ...)``, as the gate takes them; of one type, or copies are none.

        Returns:
            ``(batch,)``, modulo 2⁶⁴.
        """
        rows = np.ascontiguousarray(x).reshape(len(x), self.values).view(np.uint8)
        rows = np.pad(rows, ((0, 0), (0, -rows.shape[1] % 8))) if rows.shape[1] % 8 else rows
        words = rows.view(np.uint64)
        width, weights = self._weights
        times = words.shape[1] // width
        folded, rest = words[:, : times * width].reshape(len(x), times, width).sum(1), words[:, times * width :]
        return np.asarray(folded @ weights[:width] + rest @ weights[width : width + rest.shape[1]], np.uint64)

    def fingerprints(self, sketches: Floats, sums: NDArray[np.uint64]) -> Iterator[list[bytes]]:
        """Hashes of each sketch, `KEYS` of them, and one of the sum of all pixels, which exact copies alone share.

        Args:
            sketches: ``(batch, NUMBERS)``.
            sums: ``(batch,)``, see `sums`.
        """
        cells = np.floor((sketches[:, : KEYS * _TOGETHER] + self._shifts) / self._width).astype(np.int16).tobytes()
        keyed = hashlib.blake2b(digest_size=8, key=self.salt)  # one has taken the salt, which is half of the work
        begun = [_with(keyed, bytes([part])) for part in range(KEYS)]
        part = 2 * _TOGETHER
        for row, whole in enumerate(sums):
            places = range(row * KEYS * part, (row + 1) * KEYS * part, part)
            keys = [_with(one, cells[at : at + part]).digest() for one, at in zip(begun, places, strict=True)]
            yield [*keys, _with(keyed, whole.tobytes()).digest()]

    @property
    def _width(self) -> float:
        return self.radius * 16.0

    @cached_property
    def _drawn(self) -> tuple[NDArray[np.int64], Floats, Floats]:
        """Places of pixels, what each is multiplied by, and what the lowest value of all would sum up to."""
        random = self._random(b"places")
        most = -(-_PIXELS // self.values)
        places = np.concatenate([random.permutation(self.values) for _ in range(most)])[:_PIXELS]
        low, high = self.bounds
        weights = np.asarray(random.choice([-1, 1], _PIXELS) / (high - low), np.float32)
        return places, weights, np.asarray((weights * low).reshape(-1, NUMBERS).sum(0), np.float32)

    @cached_property
    def _weights(self) -> tuple[int, NDArray[np.uint64]]:
        """A prime, and twice as many weights."""
        random = self._random(b"weights")
        width = int(random.choice(_PRIMES))
        return width, random.integers(0, 1 << 64, 2 * width, np.uint64) | np.uint64(1)

    @cached_property
    def _shifts(self) -> Floats:
        shifts = self._random(b"shifts").random(KEYS * _TOGETHER) * self._width
        return shifts.astype(np.float32)

    def _random(self, purpose: bytes) -> np.random.Generator:
        return np.random.default_rng(int.from_bytes(hashlib.blake2b(purpose, key=self.salt).digest(), "big"))


def _with(begun: Any, content: bytes) -> Any:
    """A hash that goes on from another one."""
    hashed = begun.copy()
    hashed.update(content)
    return hashed
