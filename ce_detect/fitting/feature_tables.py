"""Signatures of many images as tables; kept on disk, so that a calibration with another budget finds them there."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ce_detect.attacks.generation import AttackedSet
from ce_detect.core.types import Floats, Index
from ce_detect.core.version import VERSION
from ce_detect.data import tensors
from ce_detect.data.lazy import Concatenated, Pixels, rows
from ce_detect.data.splits import identities
from ce_detect.features.signature import Signature
from ce_detect.storage.cache import Arrays, Cache, digest

_FORMAT = 5
_CLEAN, _ROUNDING = "clean", "rounding"

ALONE = 16
"""Images whose signatures are also taken alone and under noise."""

NOISE = 1e-6
"""Pixel noise that no signature should notice, as a share of the range of pixels."""

FOLDS = 4
"""Parts of the images that set the level of a cascade, each scored by a head fitted on the others and their twins."""


@dataclass(frozen=True, slots=True)
class Sets:
    """Clean images of one split and their successfully attacked twins, by name of the attack.

    Attributes:
        clean: ``(n, channels, height, width)``.
        attacked: twins by name of the attack.
        corrupted: further images that count as clean, first variants of the clean ones in their order; None for none.
        variants: times that each clean image appears among these.
    """

    clean: Pixels
    attacked: dict[str, AttackedSet]
    corrupted: Pixels | None = None
    variants: int = 0


@dataclass(frozen=True, slots=True)
class Table:
    """Features of clean and attacked images.

    Attributes:
        clean: ``(n, features)``.
        attacked: ``(m, features)`` by name of the attack.
        images: number of clean images: row ``i`` of ``clean`` is of image ``i % images``; None for one a row.
        twins: images ``(m,)`` that the rows of ``attacked`` are made of, by name of the attack, where that is known.
        rounding: how far each feature ``(features,)`` moves without a reason, see `rounded`; None where not known.
    """

    clean: Floats
    attacked: dict[str, Floats]
    images: int | None = None
    twins: dict[str, Index] = field(default_factory=dict)
    rounding: Floats | None = None

    def plain(self) -> Table:
        """The same without what stands for clean images beside them."""
        return replace(self, clean=self.clean[: self.images])

    def fold(self, number: int, *, others: bool) -> Table:
        """The rows of one of `FOLDS` folds of the images, or all other rows."""
        own = np.arange(len(self.clean)) % (self.images or max(1, len(self.clean)))
        of = {name: self.twins.get(name, np.arange(len(rows))) for name, rows in self.attacked.items()}
        kept = {name: (image % FOLDS == number) != others for name, image in of.items()}
        return Table(
            self.clean[(own % FOLDS == number) != others],
            {name: rows[kept[name]] for name, rows in self.attacked.items()},
            rounding=self.rounding,
        )

    def columns(self, columns: slice) -> Table:
        """Some features of all rows."""
        return replace(
            self,
            clean=self.clean[:, columns],
            attacked={name: rows[:, columns] for name, rows in self.attacked.items()},
            rounding=None if self.rounding is None else self.rounding[columns],
        )


def stacked(*tables: Table) -> tuple[Floats, Index, NDArray[np.float64]]:
    """Features, classes, and weights: half for clean, half shared evenly by the attacks.

    Clean is class 0; the attacks are numbered from 1, without those that nothing is left of.
    """
    names = tables[0].attacked
    groups = [[table.clean for table in tables], *([table.attacked[name] for table in tables] for name in names)]
    sizes = [sum(map(len, group)) for group in groups]
    groups, sizes = [g for g, n in zip(groups, sizes, strict=True) if n], [n for n in sizes if n]
    shares = [1.0, *([1.0 / max(1, len(sizes) - 1)] * (len(sizes) - 1))]
    weights = np.concatenate([np.full(n, share / n) for n, share in zip(sizes, shares, strict=True)])
    target = np.concatenate([np.full(n, position) for position, n in enumerate(sizes)])
    return np.concatenate([part for group in groups for part in group]), target, weights / weights.mean()


def rounding(*tables: Table) -> Floats | None:
    """The larger rounding of several splits; None where it is known of none."""
    known = [table.rounding for table in tables if table.rounding is not None]
    return np.max(known, axis=0) if known else None


def features(signature: Signature, x: Pixels, told: Callable[[int], None] = lambda _: None) -> Floats:
    """Signatures ``(n, features)`` of many images, which are read and judged in batches.

    Args:
        signature: what makes them.
        x: images.
        told: called after each batch with the number of its images.
    """
    matrix = np.empty((len(x), len(signature.names)), np.float32)
    done = 0
    with torch.inference_mode():
        for batch in tensors.batches(x, signature.batch, signature.classifier.device):
            matrix[done : done + len(batch)] = signature(batch)[1].cpu().numpy()
            done += len(batch)
            told(len(batch))
    return matrix


def rounded(signature: Signature, x: Pixels) -> Floats:
    """How far each feature moves ``(features,)`` for reasons that are no evidence.

    The signature of an image changes by as much with the batch around it, and under pixel noise of `NOISE` of the
    range, as it may with another runtime or processor. The largest difference counts.

    Args:
        signature: what makes the features.
        x: clean images ``(n, channels, height, width)``; the first few are looked at. Zero where there are none.
    """
    if not len(x):
        return np.zeros(len(signature.names), np.float32)
    classifier = signature.classifier
    low, high = classifier.bounds
    images = torch.from_numpy(np.asarray(rows(x, slice(ALONE)))).to(classifier.device)
    noise = torch.rand(images.shape, generator=torch.Generator().manual_seed(0)).to(images.device) * 2 - 1
    with torch.inference_mode():
        together = signature(images)[1]
        alone = torch.cat([signature(image)[1] for image in images.split(1)])
        moved = signature((images + NOISE * (high - low) * noise).clamp(low, high))[1]
    differences = torch.maximum((together - alone).abs(), (together - moved).abs())
    found: Floats = differences.amax(0).cpu().numpy()
    return found


def table(
    signature: Signature, sets: Sets, folder: Path | None = None, told: Callable[[float], None] = lambda _: None
) -> Table:
    """Signatures of everything in a split, from the cache where they are known.

    Known are those of one classifier, one signature with all its learned parameters, and one set of images.

    Args:
        signature: what makes the features.
        sets: the split.
        folder: the cache; None for none.
        told: called with the share that is done.
    """
    if folder is None:
        return _computed(signature, sets, told)

    def computed() -> Arrays:
        made = _computed(signature, sets, told)
        assert made.rounding is not None
        return {_CLEAN: made.clean, _ROUNDING: made.rounding[None], **made.attacked}

    known = Cache(folder, "tables", content="signatures")
    shapes = dict.fromkeys((_CLEAN, _ROUNDING, *sets.attacked), (None, len(signature.names)))
    found = known.get(_key(signature, sets), shapes, computed)
    twins = {name: some.index for name, some in sets.attacked.items()}
    attacked = {name: found[name] for name in sets.attacked}
    return Table(found[_CLEAN], attacked, len(sets.clean), twins, found[_ROUNDING][0])


def _computed(signature: Signature, sets: Sets, told: Callable[[float], None]) -> Table:
    """Signatures of everything in a split."""
    clean = sets.clean if sets.corrupted is None else Concatenated([sets.clean, sets.corrupted])
    total = len(clean) + sum(len(twins) for twins in sets.attacked.values())
    done = 0

    def count(images: int) -> None:
        nonlocal done
        done += images
        told(done / total)

    attacked = {name: features(signature, twins.pixels, count) for name, twins in sets.attacked.items()}
    twins = {name: twins.index for name, twins in sets.attacked.items()}
    return Table(features(signature, clean, count), attacked, len(sets.clean), twins, rounded(signature, sets.clean))


def _key(signature: Signature, sets: Sets) -> str:
    classifier = signature.classifier
    logits: Any = classifier.logits(classifier.probe()).detach().cpu().numpy()
    images = {name: sets.attacked[name].pixels for name in sets.attacked} | {_CLEAN: sets.clean}
    state = signature.state_dict().items()
    return digest(
        format=_FORMAT,
        version=VERSION,
        classifier=[classifier.fingerprint(), np.round(logits, 2).tolist(), classifier.bounds, classifier.sites],
        signature=signature.names,
        learned={name: value.detach().cpu().numpy() for name, value in state if not name.startswith("classifier.")},
        images={name: [x.shape, identities(x)] for name, x in images.items()},
        corrupted=None if sets.corrupted is None else [sets.corrupted.shape, identities(sets.corrupted)],
    )
