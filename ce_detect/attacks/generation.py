"""Attacked sets: made once, in parallel, kept on disk and read from there a chunk at a time."""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import random
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import load, save

from ce_detect.attacks import Attack, parallel
from ce_detect.classifiers.base import Classifier
from ce_detect.core.errors import CalibrationError
from ce_detect.core.types import Floats, Index, Progress
from ce_detect.data.lazy import Concatenated, Lazy, Pixels, rows
from ce_detect.data.splits import distinct, split_by_identity
from ce_detect.storage import atomic
from ce_detect.storage.folders import cache_folder

logger = logging.getLogger("ce_detect")

CHUNK = 64
"""Images attacked together and stored together; part of what makes an attacked set reproducible."""

_FORMAT = "1"

_VALUES_TOGETHER = 2_000_000
"""Pixel values attacked in one batch; larger batches of large images are slower, for want of cache."""


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
    folder = (cache or cache_folder()) / "attacks"
    tasks = _tasks(classifier, x, attacks, seed, folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _finish(classifier, tasks, jobs, seconds, progress)
    except OSError as error:
        raise CalibrationError(
            f"cannot keep attacked images in {folder}: {error}. Free some space, or name another folder in "
            "CE_DETECT_CACHE. What is done so far is kept"
        ) from error
    return _collected(attacks, tasks)


def _check_access(classifier: Classifier, attacks: tuple[Attack, ...]) -> None:
    """Refuse attacks of the registry that take gradients, where there are none."""
    white = [a.name for a in attacks if a.function is None and a.info.access == "white-box"]
    if white and not classifier.differentiable:
        raise CalibrationError(
            f"attack {white[0]!r} takes gradients, which this classifier does not have: it is an ONNX graph that could "
            "not be converted to PyTorch. Take the recipe 'black-box', or 'clean-only', which needs no attacks"
        )


@dataclass(frozen=True, slots=True)
class _Task:
    """One chunk of images and one attack.

    Attributes:
        attack: what is done.
        pixels: images of the chunk.
        start: position of the first of them in the images that were given.
        key: digest of everything that the outcome depends on.
        folder: of the cache.
    """

    attack: Attack
    pixels: Pixels
    start: int
    key: str
    folder: Path

    @property
    def path(self) -> Path:
        return self.folder / f"{self.key}.safetensors"

    @property
    def seed(self) -> int:
        return int(self.key[:8], 16)

    @property
    def work(self) -> float:
        return self.attack.passes * len(self.pixels)


def _tasks(classifier: Classifier, x: Pixels, attacks: tuple[Attack, ...], seed: int, folder: Path) -> list[_Task]:
    with torch.no_grad():  # equal weights behind another preprocessing are another model
        probe = classifier.logits(classifier.probe()).cpu().numpy()
    tasks = []
    for start in range(0, len(x), CHUNK):
        pixels = rows(x, slice(start, start + CHUNK))
        read = np.asarray(pixels)
        tasks += [
            _Task(attack, pixels, start, _key(classifier, probe, read, attack, seed), folder) for attack in attacks
        ]
    return tasks


def _key(classifier: Classifier, probe: Floats, x: Floats, attack: Attack, seed: int) -> str:
    described = {
        "format": _FORMAT,
        "model": [classifier.fingerprint(), np.round(probe, 2).tolist()],
        "bounds": classifier.bounds,
        "attack": [attack.kind, attack.settings],
        "seed": seed,
    }
    digest = hashlib.sha256(json.dumps(described, sort_keys=True).encode())
    digest.update(str(x.shape).encode() + x.tobytes())
    return digest.hexdigest()


def _finish(
    classifier: Classifier, tasks: list[_Task], jobs: int | None, seconds: float | None, progress: Progress | None
) -> None:
    total = sum(task.work for task in tasks)
    missing = [task for task in tasks if not _is_done(task)]
    done = total - sum(task.work for task in missing)
    deadline = None if seconds is None else time.monotonic() + seconds
    workers = parallel.workers(classifier, sum(task.work for task in missing) if len(missing) > 1 else 0.0, jobs)
    for task, attacked in _executed(classifier, missing, workers, deadline):
        if attacked is not None:
            atomic.write(task.path, save({"x": attacked}))
        done += task.work
        if progress is not None:
            progress(f"attack {task.attack.name}", done, total)


def _executed(
    classifier: Classifier, tasks: list[_Task], workers: int, deadline: float | None
) -> Iterator[tuple[_Task, Floats | None]]:
    """Run the tasks, yielding each as it ends with its attacked images; None for one that time did not allow."""
    late: list[_Task] = []

    def in_time(away: bool) -> Iterator[tuple[int, _Task]]:
        for number, task in enumerate(tasks):
            if away != (spreading and task.attack.portable):
                continue
            if deadline is not None and time.monotonic() > deadline and task.start > 0:
                late.append(task)
            else:
                yield number, task

    shipped = parallel.shippable(classifier) if workers != 1 else None
    spreading = shipped is not None
    if shipped is not None:
        calls = ((number, (task.attack, np.asarray(task.pixels), task.seed)) for number, task in in_time(away=True))
        for number, attacked in parallel.spread(_run, shipped, calls, workers):
            yield tasks[number], attacked
    for _, task in in_time(away=False):
        yield task, _run(classifier, task.attack, np.asarray(task.pixels), task.seed)
    for task in late:
        yield task, None


def _run(classifier: Classifier, attack: Attack, x: Floats, seed: int) -> Floats:
    """Attack a chunk of images."""
    with _seeded(seed, classifier.device), np.errstate(all="ignore"):
        return np.ascontiguousarray(attack.run(classifier, x, batch_size=_together(x)))


def _together(x: Floats) -> int:
    return max(1, min(CHUNK, _VALUES_TOGETHER // int(np.prod(x.shape[1:]))))


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


def _is_done(task: _Task) -> bool:
    """Whether the chunk is in the cache, whole, by its header and its length."""
    if not task.path.exists():
        return False
    try:
        with safe_open(str(task.path), framework="numpy") as file:
            found = file.get_slice("x")
            shape, dtype = tuple(found.get_shape()), found.get_dtype()
    except (SafetensorError, OSError) as error:
        problem = repr(error)
    else:
        if shape == task.pixels.shape and dtype == "F32":
            return True
        problem = f"{dtype} of shape {shape}"
    logger.warning("attacked images in %s cannot be read (%s); making them again", task.path, problem)
    return False


class _Chunk(Lazy):
    """Attacked images in one file of the cache."""

    def __init__(self, path: Path, shape: tuple[int, ...]) -> None:
        super().__init__(shape)
        self._path = path

    def _read(self, positions: Index) -> Floats:
        try:
            x: Floats = load(self._path.read_bytes())["x"]
        except (SafetensorError, OSError, KeyError) as error:
            raise CalibrationError(
                f"attacked images in {self._path} can no longer be read: {error}. Start again: they will be made anew"
            ) from error
        return x[positions]


def _collected(attacks: tuple[Attack, ...], tasks: list[_Task]) -> dict[str, AttackedSet]:
    sets = {}
    for position, attack in enumerate(attacks):
        done = [task for task in tasks[position :: len(attacks)] if task.path.exists()]
        parts = [_Chunk(task.path, task.pixels.shape) for task in done]
        index = [np.arange(task.start, task.start + len(task.pixels)) for task in done]
        sets[attack.name] = AttackedSet(attack, Concatenated(parts), np.concatenate(index).astype(np.int64))
    return sets


__all__ = ["AttackedSet", "Progress", "attack_all", "distinct", "split_by_identity"]
