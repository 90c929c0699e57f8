"""Attacked sets: made once, in parallel, kept on disk and read from there a chunk at a time."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ce_detect.attacks import chunks, parallel
from ce_detect.attacks.attack import Attack
from ce_detect.attacks.chunks import Chunk, KeptChunk
from ce_detect.classifiers.base import Classifier
from ce_detect.core.errors import CalibrationError
from ce_detect.core.types import Floats, Index, Progress
from ce_detect.data.lazy import Concatenated, Pixels, rows
from ce_detect.storage.cache import Cache
from ce_detect.storage.folders import cache_folder

ROOM = "attacks"
"""Subfolder of the cache."""


@dataclass(frozen=True, slots=True)
class AttackedSet:
    """Images after an attack.

    Attributes:
        attack: what was done.
        pixels: ``(m, channels, height, width)``, attacked, within the bounds: an array, or what reads from the cache.
        index: ``(m,)`` positions of the clean twins in the images that were given.
    """

    attack: Attack
    pixels: Pixels
    index: Index

    def __len__(self) -> int:
        return len(self.pixels)

    @property
    def x(self) -> Floats:
        """All attacked images as one array; read anew each time where they are not in memory."""
        return np.asarray(self.pixels)

    def subset(self, index: slice | Sequence[int] | NDArray[Any]) -> AttackedSet:
        """Return some of the images, without reading them yet: a slice, positions, or a mask ``(m,)`` of bools."""
        return AttackedSet(self.attack, rows(self.pixels, index), self.index[index])


def attack_all(
    classifier: Classifier,
    x: Pixels,
    attacks: tuple[Attack, ...],
    *,
    seed: int,
    cache: Path | None = None,
    jobs: int | None = None,
    seconds: float | None = None,
    progress: Progress | None = None,
) -> dict[str, AttackedSet]:
    """Attack every image with every attack, away from the label that the classifier gives it.

    Chunks of images are stored as soon as they are done, under a digest of the model, the images, the attack and the
    seed; what is there already is not done again, so an interrupted call goes on where it stopped. No more than a few
    chunks are in memory at a time.

    Under ``joblib.parallel_config(backend="dask")`` or ``"ray"`` the chunks are attacked on that cluster, whose
    machines need ce-detect but no shared disk.

    Args:
        classifier: the classifier under attack.
        x: ``(n, channels, height, width)`` float32, clean.
        attacks: what to do; their names must differ.
        seed: seed of the attacks' random starts.
        cache: folder of finished chunks, by default `cache_folder`.
        jobs: worker processes; by default as many as there are cores, where the work is long enough to pay for them.
        seconds: stop starting new chunks after this time; every attack still gets its first chunk.
        progress: called whenever a chunk is done.

    Returns:
        One attacked set for each attack, by name. With a time limit a set may cover fewer images.

    Raises:
        CalibrationError: two attacks have one name, one takes gradients that the classifier does not have, or the cache
            folder cannot be written.
    """
    _check_access(classifier, attacks)
    names = [attack.name for attack in attacks]
    if len(set(names)) < len(names):
        twice = max(names, key=names.count)
        raise CalibrationError(f"two attacks are both called {twice!r}; give them different names")
    kept = Cache(cache or cache_folder(), ROOM, content="attacked images")
    parts = chunks.planned(classifier, x, attacks, seed)
    with kept.keeping():
        kept.folder.mkdir(parents=True, exist_ok=True)  # it is better known now than after the first chunk
        _finish(classifier, parts, kept, jobs, seconds, progress)
    return _collected(attacks, parts, kept)


def _check_access(classifier: Classifier, attacks: tuple[Attack, ...]) -> None:
    """Refuse attacks of the registry that take gradients, where there are none."""
    white = [a.name for a in attacks if a.function is None and a.info.access == "white-box"]
    if white and not classifier.differentiable:
        raise CalibrationError(
            f"attack {white[0]!r} takes gradients, which this classifier does not have: it is an ONNX graph that could "
            "not be converted to PyTorch. Take the recipe 'black-box', or 'clean-only', which needs no attacks"
        )


def _finish(
    classifier: Classifier, parts: list[Chunk], kept: Cache, jobs: int | None, seconds: float | None,
    progress: Progress | None,
) -> None:  # fmt: skip
    """Attack the chunks that are not in the cache, and keep each as soon as it is done."""
    total = sum(chunk.work for chunk in parts)
    missing = [chunk for chunk in parts if not kept.holds(chunk.key, chunk.shapes)]
    done = total - sum(chunk.work for chunk in missing)
    deadline = None if seconds is None else time.monotonic() + seconds
    workers = parallel.worker_count(classifier, sum(chunk.work for chunk in missing) if len(missing) > 1 else 0.0, jobs)
    for chunk, attacked in _executed(classifier, missing, workers, deadline):
        if attacked is not None:
            kept.write(chunk.key, {"x": attacked})
        done += chunk.work
        if progress is not None:
            progress(f"attack {chunk.attack.name}", done, total)


def _executed(
    classifier: Classifier, parts: list[Chunk], workers: int, deadline: float | None
) -> Iterator[tuple[Chunk, Floats | None]]:
    """Attack the chunks, yielding each as it ends with its attacked images; None for one that time did not allow."""
    packed = parallel.pack(classifier) if workers != 1 else None
    late: list[Chunk] = []

    def in_time(away: bool) -> Iterator[tuple[int, Chunk]]:
        """Chunks that go to workers, or those that stay here."""
        for number, chunk in enumerate(parts):
            if away != (packed is not None and chunk.attack.portable):
                continue
            if deadline is not None and time.monotonic() > deadline and chunk.start > 0:
                late.append(chunk)
            else:
                yield number, chunk

    if packed is not None:
        calls = ((number, (chunk.attack, np.asarray(chunk.pixels), chunk.seed)) for number, chunk in in_time(away=True))
        for number, attacked in parallel.run_in_workers(chunks.attacked, packed, calls, workers):
            yield parts[number], attacked
    for _, chunk in in_time(away=False):
        yield chunk, chunks.attacked(classifier, chunk.attack, np.asarray(chunk.pixels), chunk.seed)
    for chunk in late:
        yield chunk, None


def _collected(attacks: tuple[Attack, ...], parts: list[Chunk], kept: Cache) -> dict[str, AttackedSet]:
    sets = {}
    for position, attack in enumerate(attacks):
        done = [chunk for chunk in parts[position :: len(attacks)] if kept.path(chunk.key).exists()]
        pixels = Concatenated([KeptChunk(chunk, kept) for chunk in done])
        sets[attack.name] = AttackedSet(attack, pixels, np.concatenate([chunk.index for chunk in done]))
    return sets
