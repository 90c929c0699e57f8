"""Splits by image identity, and attacked sets that are made once, in parallel, and kept on disk."""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import os
import pickle
import random
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.numpy import load, save

from ce_detect import atomic
from ce_detect.cache import cache_folder
from ce_detect.calibrate.attacks import Attack
from ce_detect.classifiers.base import Classifier
from ce_detect.classifiers.torch import TorchClassifier
from ce_detect.errors import CalibrationError

logger = logging.getLogger("ce_detect")

Floats = NDArray[np.float32]
Index = NDArray[np.int64]
Progress = Callable[[str, float, float], None]
"""Called with what is being done, the work done so far and the work in all (in forward passes)."""

CHUNK = 64
"""Images attacked together and stored together; part of what makes an attacked set reproducible."""

_WORTH_A_POOL = 60_000.0
"""Forward passes below which starting worker processes costs more time than it saves."""

_FORMAT = "1"


def distinct(x: Floats) -> Index:
    """Positions of the first of each group of equal images, ascending; copies carry no new evidence."""
    _, first = np.unique(_identities(x), return_index=True)
    return np.sort(first).astype(np.int64)


def split_by_identity(x: Floats, fractions: Mapping[str, float], seed: int) -> dict[str, Index]:
    """Split images so that equal images, and so also their attacked twins, stay on one side.

    Args:
        x: ``(n, channels, height, width)``.
        fractions: share of the distinct images for each split; they must sum to 1.
        seed: seed of the shuffle.

    Returns:
        Indices into ``x`` for each split, ascending.
    """
    _, identity = np.unique(_identities(x), return_inverse=True)
    count = int(identity.max()) + 1
    order = np.random.default_rng(seed).permutation(count)
    ends = np.round(np.cumsum(list(fractions.values())) * count).astype(int)[:-1]
    parts = np.split(order, ends)
    return {
        name: np.flatnonzero(np.isin(identity, part)).astype(np.int64)
        for name, part in zip(fractions, parts, strict=True)
    }


def _identities(x: Floats) -> list[bytes]:
    return [hashlib.sha256((image + 0.0).tobytes()).digest() for image in x]  # -0.0 equals 0.0, in other bits


@dataclass(frozen=True, slots=True)
class AttackedSet:
    """Images after an attack.

    Attributes:
        attack: what was done.
        x: ``(m, channels, height, width)``, attacked, within the bounds.
        index: ``(m,)`` positions of the clean twins in the images that were given.
    """

    attack: Attack
    x: Floats
    index: Index


def attack_all(
    classifier: Classifier,
    x: Floats,
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
    seed; what is there already is not done again, so an interrupted call goes on where it stopped.

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
        CalibrationError: two attacks have one name, or the cache folder cannot be written.
    """
    names = [attack.name for attack in attacks]
    if len(set(names)) < len(names):
        twice = max(names, key=names.count)
        raise CalibrationError(f"two attacks are both called {twice!r}; give them different names")
    folder = (cache or cache_folder()) / "attacks"
    chunks = [np.arange(start, min(start + CHUNK, len(x))) for start in range(0, len(x), CHUNK)]
    with torch.no_grad():  # equal weights behind another preprocessing are another model
        probe = classifier.logits(classifier.probe()).cpu().numpy()
    tasks = [
        _Task(attack, x[chunk], _key(classifier, probe, x[chunk], attack, seed), folder, first=position == 0)
        for position, chunk in enumerate(chunks)
        for attack in attacks
    ]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _finish(classifier, tasks, jobs, seconds, progress)
    except OSError as error:
        raise CalibrationError(
            f"cannot keep attacked images in {folder}: {error}. Free some space, or name another folder in "
            "CE_DETECT_CACHE. What is done so far is kept"
        ) from error
    return _collected(attacks, chunks, tasks)


@dataclass(frozen=True, slots=True)
class _Task:
    attack: Attack
    x: Floats
    key: str
    folder: Path
    first: bool

    @property
    def path(self) -> Path:
        return self.folder / f"{self.key}.safetensors"

    @property
    def seed(self) -> int:
        return int(self.key[:8], 16)

    @property
    def work(self) -> float:
        return self.attack.passes * len(self.x)


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
    missing = [task for task in tasks if _stored(task) is None]
    done = total - sum(task.work for task in missing)
    deadline = None if seconds is None else time.time() + seconds
    for task in _executed(classifier, missing, _workers(classifier, missing, jobs), deadline):
        done += task.work
        if progress is not None:
            progress(f"attack {task.attack.name}", done, total)


def _workers(classifier: Classifier, missing: list[_Task], jobs: int | None) -> int:
    if jobs is not None:
        return max(1, jobs)
    on_cpu = getattr(classifier, "device", torch.device("cpu")).type == "cpu"
    worth = len(missing) > 1 and sum(task.work for task in missing) > _WORTH_A_POOL
    return (os.cpu_count() or 1) if on_cpu and worth else 1


def _executed(classifier: Classifier, tasks: list[_Task], workers: int, deadline: float | None) -> Iterator[_Task]:
    """Run the tasks, yielding each as it ends. The attacks run in processes: ART draws from global generators."""
    if workers > 1 and (shipped := _shippable(classifier)) is not None:
        from joblib import Parallel, delayed

        pool = Parallel(n_jobs=workers, return_as="generator_unordered", pre_dispatch="2 * n_jobs", batch_size=1)
        yield from pool(delayed(_run_shipped)(shipped, task, deadline) for task in tasks)
        return
    for task in tasks:
        yield _run(classifier, task, deadline)


def _shippable(classifier: Classifier) -> bytes | None:
    """The classifier for our own worker processes; None for a hooked one, whose code they may not be able to import."""
    return pickle.dumps(classifier) if isinstance(classifier, TorchClassifier) else None


_received: tuple[bytes, Classifier] | None = None


def _run_shipped(shipped: bytes, task: _Task, deadline: float | None) -> _Task:
    """Run a task in a worker process, unpacking the classifier once."""
    global _received
    if _received is None or _received[0] != shipped:
        _received = (shipped, pickle.loads(shipped))
    return _run(_received[1], task, deadline)


def _run(classifier: Classifier, task: _Task, deadline: float | None) -> _Task:
    if deadline is not None and time.time() > deadline and not task.first:
        return task
    from ce_detect.calibrate._estimator import Estimator

    low, high = classifier.bounds
    with _seeded(task.seed), _kept_trainable(classifier), np.errstate(all="ignore"):
        attack = task.attack.build(Estimator(classifier), width=high - low, batch_size=CHUNK)
        attacked = np.clip(np.asarray(attack.generate(x=task.x), dtype=np.float32), low, high)
    atomic.write(task.path, save({"x": np.ascontiguousarray(attacked)}))
    return task


@contextlib.contextmanager
def _seeded(seed: int) -> Iterator[None]:
    """Seed the generators that ART draws from, and put them back as they were."""
    before = (random.getstate(), np.random.get_state(), torch.random.get_rng_state())
    random.seed(seed)
    np.random.seed(seed)
    torch.default_generator.manual_seed(seed)
    try:
        yield
    finally:
        random.setstate(before[0])
        np.random.set_state(before[1])
        torch.random.set_rng_state(before[2])


@contextlib.contextmanager
def _kept_trainable(classifier: Classifier) -> Iterator[None]:
    """Undo what the estimator does to the weights, which the user's model shares: it stops their gradients."""
    parameters = list(classifier.parameters()) if isinstance(classifier, torch.nn.Module) else []
    before = [parameter.requires_grad for parameter in parameters]
    try:
        yield
    finally:
        for parameter, trainable in zip(parameters, before, strict=True):
            parameter.requires_grad_(trainable)


def _stored(task: _Task) -> Floats | None:
    """The finished chunk, or None where there is none or it is not what it should be."""
    if not task.path.exists():
        return None
    try:
        x: Any = load(task.path.read_bytes())["x"]
    except Exception as error:  # noqa: BLE001  safetensors raises a bare Exception subclass
        problem = repr(error)
    else:
        if x.shape == task.x.shape and x.dtype == np.float32:
            return np.asarray(x)
        problem = f"{x.dtype} of shape {x.shape}"
    logger.warning("attacked images in %s cannot be read (%s); making them again", task.path, problem)
    return None


def _collected(attacks: tuple[Attack, ...], chunks: list[Index], tasks: list[_Task]) -> dict[str, AttackedSet]:
    sets = {}
    for position, attack in enumerate(attacks):
        pairs = [(chunk, _stored(task)) for chunk, task in zip(chunks, tasks[position :: len(attacks)], strict=True)]
        done = [(chunk, x) for chunk, x in pairs if x is not None]
        sets[attack.name] = AttackedSet(
            attack, np.concatenate([x for _, x in done]), np.concatenate([chunk for chunk, _ in done]).astype(np.int64)
        )
    return sets


__all__ = ["AttackedSet", "Progress", "attack_all", "distinct", "split_by_identity"]
