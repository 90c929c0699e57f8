"""Scores of one method on one subject, in memory and on disk."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load, save

from benchmarks.face import atomic
from benchmarks.peers.protocol import Floats

_GROUPS = ("attacked", "success", "index", "corrupted")


@dataclass(frozen=True)
class Judged:
    """Scores of one method on one subject.

    Attributes:
        calibrate: ``(n,)`` of the clean images that set the threshold.
        clean: ``(n,)`` of the judged clean images.
        attacked: ``(m,)`` of all attempts, by attack; the first judged images are attacked.
        success: ``(m,)`` whether the attempt changed the decision.
        index: ``(m,)`` positions of the clean twins in ``clean``.
        correct: ``(n,)`` whether a judged clean image is classified correctly.
        corrupted: ``(k,)`` of the first judged images, by corruption.
    """

    calibrate: Floats
    clean: Floats
    attacked: dict[str, Floats]
    success: dict[str, NDArray[np.bool_]]
    index: dict[str, NDArray[np.int64]]
    correct: NDArray[np.bool_]
    corrupted: dict[str, Floats]

    def write(self, path: Path) -> None:
        """Keep the scores."""
        arrays = {"calibrate": self.calibrate, "clean": self.clean, "correct": self.correct}
        for group in _GROUPS:
            arrays |= {f"{group}:{name}": values for name, values in getattr(self, group).items()}
        path.parent.mkdir(parents=True, exist_ok=True)
        atomic.write(path, save({key: np.ascontiguousarray(value) for key, value in arrays.items()}))

    @classmethod
    def read(cls, path: Path) -> Judged:
        """What `write` kept."""
        arrays = load(path.read_bytes())
        groups: dict[str, dict[str, Any]] = {group: {} for group in _GROUPS}
        for key in [key for key in arrays if ":" in key]:
            group, name = key.split(":", 1)
            groups[group][name] = arrays.pop(key)
        return cls(**arrays, **groups)

    def first(self, counts: Mapping[str, int]) -> Judged:
        """These scores on the first judged images, so many ``clean`` ones and so many attempts of each attack."""
        clean = counts["clean"]
        sizes = {name: counts[name] for name in self.attacked if name in counts}
        return Judged(
            self.calibrate,
            self.clean[:clean],
            {name: self.attacked[name][:size] for name, size in sizes.items()},
            {name: self.success[name][:size] for name, size in sizes.items()},
            {name: self.index[name][:size] for name, size in sizes.items()},
            self.correct[:clean],
            self.corrupted,
        )

    def successes(self) -> dict[str, Floats]:
        """Scores of successful attempts, of attacks that have some."""
        return {name: values[self.success[name]] for name, values in self.attacked.items() if self.success[name].any()}
