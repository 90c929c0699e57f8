"""What every method of `compare.py` is taught and judged on: the splits and the cached attacks of ``detection.py``."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.face import AttackedSet, Concatenated, Images, Pixels, attack_all, rows, split_by_identity
from benchmarks.peers.protocol import SMALL, Limits, Peer, forward
from benchmarks.subjects.settings import SEED
from benchmarks.subjects.subjects import Subject
from ce_detect import DetectedModel, Recipe


@dataclass(frozen=True)
class Arena:
    """One subject with everything that methods are taught and judged on.

    Attributes:
        subject: see `Subject`.
        guard: the classifier, wrapped.
        taught: clean images of *fit* and *select*.
        teachers: successful attacks on these, by name; ``index`` are positions in ``taught``.
        calibrate: clean images that set thresholds.
        judged: clean images that nothing was learned from.
        attempts: attacks on the first of these, successful or not.
        seen: names of the attacks that also taught.
    """

    subject: Subject
    guard: DetectedModel
    taught: Images
    teachers: dict[str, AttackedSet]
    calibrate: Pixels
    judged: Images
    attempts: dict[str, AttackedSet]
    seen: tuple[str, ...]

    @property
    def classifier(self) -> Any:
        """The wrapped classifier."""
        return self.guard.classifier

    def limits(self, peer: Peer) -> Limits | None:
        """What a peer gets here; None where it is too slow."""
        return peer.limits if max(self.classifier.input_shape[1:]) <= SMALL else peer.large_limits

    def limited(self, limits: Limits) -> Arena:
        """The first images of everything."""
        taught = self.taught.subset(slice(limits.taught))
        teachers = {name: _first(twins, len(taught), limits.taught_attacked) for name, twins in self.teachers.items()}
        return replace(
            self,
            taught=taught,
            teachers={name: twins for name, twins in teachers.items() if len(twins)},
            calibrate=rows(self.calibrate, slice(limits.calibrate)),
            judged=self.judged.subset(slice(limits.clean)),
            attempts={name: twins.subset(slice(limits.attacked)) for name, twins in self.attempts.items()},
        )

    def successes(self, pixels: dict[str, AttackedSet], decisions: NDArray[np.int64]) -> dict[str, NDArray[np.bool_]]:
        """Which attempts changed the decision, ``(m,)`` by name; ``decisions`` are those on the clean images."""
        return {
            name: forward(self.classifier, twins.pixels).argmax(1) != decisions[twins.index]
            for name, twins in pixels.items()
        }


def arena(subject: Subject, progress: Callable[..., None]) -> Arena:
    """Read, or make where the cache lacks them, the attacked images of a subject.

    Args:
        subject: see `Subject`.
        progress: see `attack_all`.
    """
    first, judged = subject.split()
    guard = subject.guard(first.pixels.shape[1:])
    recipe = Recipe.load(subject.recipe)
    parts = split_by_identity(first.pixels, recipe.splits, SEED)

    def attacked(x: Pixels, attacks: tuple[Any, ...]) -> dict[str, AttackedSet]:
        return attack_all(guard.classifier, x, attacks, seed=SEED, progress=progress)

    fit, select = (rows(first.pixels, parts[name]) for name in ("fit", "select"))
    twins = [attacked(part, recipe.attacks) for part in (fit, select)]
    attempts = attacked(judged.x[: subject.attacked], recipe.attacks)
    for attack, count in subject.unseen:
        attempts |= attacked(judged.x[:count], (attack,))
    known = None if first.y is None else np.concatenate([first.y[parts[name]] for name in ("fit", "select")])
    taught = Images(np.asarray(Concatenated([fit, select])), known)
    teachers = {name: _joined(*(part[name] for part in twins), len(fit)) for name in twins[0]}
    made = Arena(
        subject, guard, taught, {}, rows(first.pixels, parts["calibrate"]), judged, attempts,
        tuple(attack.name for attack in recipe.attacks),
    )  # fmt: skip
    success = made.successes(teachers, forward(guard.classifier, taught.pixels).argmax(1))
    return replace(made, teachers={name: twins.subset(success[name]) for name, twins in teachers.items()})


def _joined(fit: AttackedSet, select: AttackedSet, offset: int) -> AttackedSet:
    pixels = Concatenated([fit.pixels, select.pixels])
    return AttackedSet(fit.attack, pixels, np.concatenate([fit.index, select.index + offset]))


def _first(twins: AttackedSet, images: int, count: int | None) -> AttackedSet:
    return twins.subset(np.flatnonzero(twins.index < images)[:count])
