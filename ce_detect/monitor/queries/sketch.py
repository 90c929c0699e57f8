"""Sketches and fingerprints: what is kept of an input, from which nobody gets it back without the salt.

A sketch is a sparse random projection of some pixels, drawn with the salt: inputs that differ little have sketches that
differ little (Achlioptas 2003). A fingerprint is a set of keyed hashes of parts of the sketch that are quantised first,
as Blacklight quantises segments of pixels (Li et al., USENIX Security 2022) and Datar et al. (2004) hash for
neighbours: near-copies share most of them, other images share none. Segments of neighbouring pixels, as Blacklight has
them, cost a hash a pixel; a projection costs one of 4,096 pixels, whatever the size of the image.
"""

from __future__ import annotations

import hashlib
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
        flat = x.reshape(len(x), -1)
        if flat.shape[1] != self.values:
            raise InputError(f"inputs of {flat.shape[1]} values, expected {self.values} as in the first")
        places, weights, shift = self._drawn
        taken = flat[:, places].astype(np.float32, copy=False)
        taken *= weights
        return np.asarray(taken.reshape(len(x), _PIXELS // NUMBERS, NUMBERS).sum(1) - shift)

    def fingerprints(self, sketches: Floats) -> Iterator[list[bytes]]:
        """Hashes of each sketch, `KEYS` of them, and one of the whole sketch, which exact copies alone share.

        Args:
            sketches: ``(batch, NUMBERS)``.
        """
        cells = np.floor((sketches[:, : KEYS * _TOGETHER] + self._shifts) / self._width).astype(np.int16).tobytes()
        wholes = np.round(sketches * 64).astype(np.int32).tobytes()
        keyed = hashlib.blake2b(digest_size=8, key=self.salt)  # one has taken the salt, which is half of the work
        begun = [_with(keyed, bytes([part])) for part in range(KEYS)]
        part, whole = 2 * _TOGETHER, 4 * NUMBERS
        for row in range(len(sketches)):
            places = range(row * KEYS * part, (row + 1) * KEYS * part, part)
            keys = [_with(one, cells[at : at + part]).digest() for one, at in zip(begun, places, strict=True)]
            yield [*keys, _with(keyed, wholes[row * whole : (row + 1) * whole]).digest()]

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
