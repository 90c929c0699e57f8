"""Chunks of images under one attack each: what they depend on, how they are attacked, where they are kept."""

from __future__ import annotations

import contextlib
import hashlib
import json
import random
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch

from ce_detect.attacks.attack import Attack
from ce_detect.attacks.run import run
from ce_detect.classifiers.base import Classifier
from ce_detect.core.errors import CalibrationError
from ce_detect.core.types import Floats, Index
from ce_detect.data.lazy import Lazy, Pixels, rows
from ce_detect.storage.cache import Cache, Shapes

CHUNK = 64
"""Images attacked together and stored together; part of what makes an attacked set reproducible."""

_FORMAT = "1"

_VALUES_IN_A_BATCH = 2_000_000
"""Pixel values attacked in one batch; larger batches of large images are slower, for want of cache."""


@dataclass(frozen=True, slots=True)
class Chunk:
    """One chunk of images and one attack.

    Attributes:
        attack: what is done.
        pixels: images of the chunk.
        start: position of the first of them in the images that were given.
        key: digest of everything that the outcome depends on.
    """

    attack: Attack
    pixels: Pixels
    start: int
    key: str

    @property
    def seed(self) -> int:
        """Seed of the attack's random numbers."""
        return int(self.key[:8], 16)

    @property
    def work(self) -> float:
        """Rough number of forward passes."""
        return self.attack.passes * len(self.pixels)

    @property
    def shapes(self) -> Shapes:
        """What its file in the cache holds."""
        return {"x": self.pixels.shape}

    @property
    def index(self) -> Index:
        """Positions of its images in those that were given."""
        return np.arange(self.start, self.start + len(self.pixels), dtype=np.int64)


def planned(classifier: Classifier, x: Pixels, attacks: tuple[Attack, ...], seed: int) -> list[Chunk]:
    """Every attack on every chunk of images, all attacks on one chunk before the next."""
    with torch.no_grad():  # equal weights behind another preprocessing are another model
        probe = classifier.logits(classifier.probe()).cpu().numpy()
    made = []
    for start in range(0, len(x), CHUNK):
        pixels = rows(x, slice(start, start + CHUNK))
        read = np.asarray(pixels)
        made += [Chunk(attack, pixels, start, _key(classifier, probe, read, attack, seed)) for attack in attacks]
    return made


def _key(classifier: Classifier, probe: Floats, x: Floats, attack: Attack, seed: int) -> str:
    """Key of a chunk. Not `ce_detect.storage.cache.digest`: seeds come from it, so it may never change.

    Only an attack that makes other images than before has another key, by its version.
    """
    version = [attack.info.version] if attack.info.version > 1 else []
    described = {
        "format": _FORMAT,
        "model": [classifier.fingerprint(), np.round(probe, 2).tolist()],
        "bounds": classifier.bounds,
        "attack": [attack.kind, attack.settings, *version],
        "seed": seed,
    }
    digest = hashlib.sha256(json.dumps(described, sort_keys=True).encode())
    digest.update(str(x.shape).encode() + x.tobytes())
    return digest.hexdigest()


def attacked(classifier: Classifier, attack: Attack, x: Floats, seed: int) -> Floats:
    """Attack the images of a chunk, with gradients also where the caller turned them off."""
    batch_size = max(1, min(CHUNK, _VALUES_IN_A_BATCH // int(np.prod(x.shape[1:]))))
    with torch.inference_mode(False), torch.enable_grad(), _seeded(seed, classifier.device), np.errstate(all="ignore"):
        return np.ascontiguousarray(run(attack, classifier, x, batch_size=batch_size))


@contextlib.contextmanager
def _seeded(seed: int, device: torch.device) -> Iterator[None]:
    """Seed the generators that attacks draw from, and put them back as they were."""
    before = (random.getstate(), np.random.get_state())
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        random.seed(seed)
        np.random.seed(seed)
        torch.manual_seed(seed)
        try:
            yield
        finally:
            random.setstate(before[0])
            np.random.set_state(before[1])


class KeptChunk(Lazy):
    """Attacked images in one file of the cache, read when they are asked for."""

    def __init__(self, chunk: Chunk, cache: Cache) -> None:
        super().__init__(chunk.pixels.shape)
        self._chunk, self._cache = chunk, cache

    def _read(self, positions: Index) -> Floats:
        found = self._cache.read(self._chunk.key, self._chunk.shapes)
        if found is None:
            raise CalibrationError(
                f"attacked images in {self._cache.path(self._chunk.key)} can no longer be read. Start again: they will "
                "be made anew"
            )
        return found["x"][positions]
